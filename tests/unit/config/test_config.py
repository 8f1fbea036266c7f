"""The configuration: the documented file means what it says, from a file as from a text, and no text does harm."""

import re
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pcgrelay import config
from pcgrelay.catalogue.entries import SERVICES_MOST
from pcgrelay.config import Address, schema
from pcgrelay.config.build import EXPORTS_MOST
from pcgrelay.config.examples import EXAMPLES
from pcgrelay.config.values import memory_bytes
from pcgrelay.errors import ConfigError, PcgrelayError, PermissionProblem
from pcgrelay.model import Marking, NodeId, Precedence, Priority, Role, ServiceName, Suite
from tests.support.documented_config import DOCUMENTED, PATH

PAPER = "".join(f"{line}\n" for line in schema.PAPER.values())


def test_the_documented_file_means_what_it_says() -> None:
    settings = config.parse(DOCUMENTED, PATH)
    assert settings.node.id == NodeId("police.example", "kent.police.example", "kent-1")
    assert settings.node.role is Role.EDGE
    assert settings.node.workers >= 1
    assert settings.node.lanes == settings.node.workers
    assert settings.node.memory_bytes == 256 * 1024 * 1024
    assert settings.node.admin == Path("/run/pcgrelay/kent-1.sock")
    assert settings.identity.certificate == Path("/etc/pcgrelay/kent-1.pem")
    assert settings.identity.crl == Path("/etc/pcgrelay/realm.crl")
    assert settings.policy.post_quantum_required
    assert settings.policy.suites == (Suite.AES_256_GCM, Suite.AES_128_GCM, Suite.CHACHA20_POLY1305)
    assert settings.policy.admits("met.police.example")
    assert settings.policy.admits("hub.example")
    assert not settings.policy.admits("police.example")
    assert not settings.policy.admits("a.hub.example")
    assert settings.listens[0].address == Address("127.0.0.1", 7400)
    assert settings.links[0].peer == NodeId("police.example", "hub.example", "relay-1")
    assert settings.links[0].bearer == "psn"
    assert settings.exports[0].service == ServiceName("custody", "kent.police.example")
    assert settings.exports[0].marking is Marking.OFFICIAL_SENSITIVE
    assert settings.exports[0].allow == ("met.police.example",)
    assert settings.imports[0].listen == Address("127.0.0.1", 15432)


def test_what_is_left_out_is_safe() -> None:
    bare = re.sub(r"(?ms)^\[policy\].*?(?=^\[\[listen)", "", DOCUMENTED)
    bare = re.sub(r"(?m)^(workers|memory|admin|crl|allow|marking|bearer) .*$", "", bare)
    settings = config.parse(bare, PATH)
    assert settings.policy.post_quantum_required
    assert settings.policy.suites == tuple(Suite)
    assert settings.policy.members == ()
    assert settings.policy.relays is None
    assert not settings.policy.admits("kent.police.example")
    assert settings.exports[0].allow == ()
    assert settings.exports[0].marking is Marking.OFFICIAL
    assert settings.node.admin == Path("/run/pcgrelay/kent-1.sock")
    assert settings.identity.crl is None


def test_the_order_of_suites_is_kept() -> None:
    text = re.sub(r"suites = .*", 'suites = ["CHACHA20-POLY1305", "AES-256-GCM"]', DOCUMENTED)
    assert config.parse(text, PATH).policy.suites == (Suite.CHACHA20_POLY1305, Suite.AES_256_GCM)


def test_each_key_has_an_example_that_works() -> None:
    values = tables()
    known = set()
    for name, table in schema.TABLES.items():
        known |= {name, *(f"{name}.{field.encode_name}" for field in msgspec.structs.fields(table))}
    assert set(EXAMPLES) == known
    # A drill is of one of the three. Who comes the old way has no name to tell, and only a unix socket has a mode.
    drills = {"drill.relay": "relay-loss", "drill.bearer": "bearer-loss"}
    others = {*drills, "export.proxy", "import.mode", "import.group", "link.discover", "link.links", "link.peers"}
    of_datagrams = {
        "export": ("protocol", "wait_ms", "rate"),
        "import": ("protocol", "sources", "max_streams_per_source", "wait_ms", "rate"),
    }
    others |= {f"{table}.{key}" for table, keys in of_datagrams.items() for key in keys}
    text = "".join(
        f"{EXAMPLES[name]}\n"
        + "".join(f"{line}\n" for key, line in EXAMPLES.items() if key.startswith(f"{name}.") and key not in others)
        for name in values
    )
    for key, kind in drills.items():
        text += f'[[drill]]\nkind = "{kind}"\nevery = "1d"\n{EXAMPLES[key]}\n'
    text += f'[[export]]\nservice = "other"\ntarget = "unix:/run/db.sock"\n{EXAMPLES["export.proxy"]}\n{PAPER}'
    rights = f"{EXAMPLES['import.mode']}\n{EXAMPLES['import.group']}\n"
    text += "[[link]]\n" + "".join(f"{EXAMPLES[f'link.{key}']}\n" for key in ("discover", "links", "peers")) + PAPER
    text += f'[[import]]\nservice = "other@met.police.example"\nlisten = "unix:/run/other.sock"\n{rights}{PAPER}'
    for table, keys in of_datagrams.items():
        lines = "".join(f"{EXAMPLES[f'{table}.{key}']}\n" for key in keys)
        place = 'target = "127.0.0.1:53"' if table == "export" else 'listen = "127.0.0.1:10053"'
        name = "names" if table == "export" else "names@met.police.example"
        text += f'[[{table}]]\nservice = "{name}"\n{place}\n{lines}{PAPER}'
    assert config.parse(text, PATH).node.id.name == "kent-1"


def test_each_key_is_in_the_reference() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "configuration.md").read_text(encoding="utf-8")
    for dotted in EXAMPLES:
        table, _, key = dotted.partition(".")
        section = page.partition(f"## `{EXAMPLES[table]}`")[2].partition("\n## ")[0]
        assert section, table
        assert not key or f"| `{key}` |" in section, dotted


def tables() -> dict[str, Any]:
    """Each table of the schema with its first entry."""
    import tomllib

    whole = msgspec.convert(tomllib.loads(DOCUMENTED), schema.FileTable)
    return {field.encode_name: getattr(whole, field.name) for field in msgspec.structs.fields(schema.FileTable)}


def probed(send: str, expect: str) -> config.ExportSettings:
    words = f'target = "127.0.0.1:5432"\nprobe = "expect"\nprobe_send = {send}\nprobe_expect = {expect}'
    return config.parse(DOCUMENTED.replace('target = "127.0.0.1:5432"', words), PATH).exports[0]


def test_the_words_of_a_probe_are_bytes() -> None:
    export = probed(r"'PING\r\n\\'", r"'\x00\xffé'")
    assert (export.probe_send, export.probe_expect) == (b"PING\r\n\\", b"\x00\xff\xc3\xa9")
    assert probed('""', "'x'").probe_send == b""


@pytest.mark.parametrize(
    ("send", "expect", "words"),
    [
        (r"'\q'", "'x'", r'"\q" is no escape'),
        ("'\\'", "'x'", "is no escape"),
        (r"'\x0'", "'x'", "is no escape"),
        ("'x'", "''", "this is missing"),
        (f"'{1025 * 'x'}'", "'x'", "1024 is the most"),
        ("'x'", f"'{257 * 'x'}'", "256 is the most"),
    ],
)
def test_the_words_of_a_probe_are_bounded(send: str, expect: str, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        probed(send, expect)


def test_precedence_weight_and_priority() -> None:
    text = DOCUMENTED.replace(
        'marking = "OFF', 'precedence = "back-up"\nweight = 0\npriority = "critical"\nmarking = "OFF'
    )
    export = config.parse(text, PATH).exports[0]
    assert (export.precedence, export.weight, export.priority) == (Precedence.BACK_UP, 0, Priority.CRITICAL)
    plain = config.parse(DOCUMENTED, PATH)
    assert (plain.links[0].precedence, plain.links[0].weight) == (Precedence.DEFAULT, 100)
    assert (plain.exports[0].priority, plain.imports[0].priority) == (Priority.NORMAL, None)


# --- files ---------------------------------------------------------------------------------------------------------


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(DOCUMENTED.replace("/run/pcgrelay/", "unix:"), encoding="utf-8")
    settings = config.load(path)
    assert settings.node.admin == tmp_path / "kent-1.sock"
    assert settings.identity.key == tmp_path / "kent-1.key"
    assert settings.path == path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b'[node]\nname = "\xff"', ":2: the configuration is not UTF-8"),
        (b"#" * (1 << 20) + b"#", "larger than 1024 KiB"),
    ],
)
def test_a_file_that_cannot_be_text_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(words)):
        config.load(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no configuration at this path"):
        config.load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="is a folder"):
        config.load(tmp_path)


def test_an_unreadable_file_is_a_matter_of_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(PermissionProblem, match="may not read the configuration"):
        config.load(tmp_path / "node.toml")


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(ConfigError):
        config.parse("a = " + "[" * 100_000, PATH)


# --- parsers -------------------------------------------------------------------------------------------------------


def refusal_of(text: str) -> str:
    """The sentence, or the path if there is nothing to refuse. Any other exception fails the test."""
    try:
        return str(config.parse(text, PATH).path)
    except PcgrelayError as refused:
        return str(refused)


@given(st.text(max_size=200))
@example("[node]\nname = 1979-05-27T07:32:00Z")
@example("node.name = 'a'")
@example('[[listen]]\n"address" = 1')
@example("[node]\n[node.name]\nx = 1")
@example("listen = [1]")
@example('"\\u001b[2J" = 1')
@example('[[link]]\npeer = "a\\nb.c"\naddress = "a\\u0007:1"')
@example("node = 3")
def test_no_text_gets_more_than_a_sentence(text: str) -> None:
    for whole in (text, DOCUMENTED + text):
        sentence = refusal_of(whole)
        assert sentence.startswith(str(PATH))
        assert sentence.isprintable()


@given(st.ip_addresses().map(str) | st.just("relay.hub.example"), st.integers(1, 65535))
def test_an_address_survives_its_spelling(host: str, port: int) -> None:
    address = Address.parse(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    assert address.port == port
    assert Address.parse(str(address)) == address


@given(st.text(max_size=40))
def test_an_address_is_read_or_refused(text: str) -> None:
    try:
        address = Address.parse(text)
    except ValueError:
        return
    assert Address.parse(str(address)) == address


@given(st.integers(1, 999_999), st.sampled_from(["B", "KiB", "MiB", "GiB"]))
def test_sizes(number: int, unit: str) -> None:
    assert memory_bytes(f"{number}{unit}") == number * 1024 ** ["B", "KiB", "MiB", "GiB"].index(unit)


HOSTS = st.sampled_from(["127.0.0.1", "127.0.0.2", "0.0.0.0", "[::]", "[::1]", "kent"])


@given(st.lists(st.builds("{}:{}".format, HOSTS, st.integers(80, 82)), min_size=2, max_size=5))
@example(["127.0.0.1:80", "0.0.0.0:80"])
@example(["[::]:80", "127.0.0.2:81", "127.0.0.1:80"])
@example(["127.0.0.1:80", "127.0.0.2:80", "127.0.0.1:81", "0.0.0.0:82"])
def test_listeners_that_collide(texts: list[str]) -> None:
    def collide(one: Address, other: Address) -> bool:
        either_is_wildcard = {"0.0.0.0", "::"} & {one.host, other.host}
        return one.port == other.port and (one.host == other.host or bool(either_is_wildcard))

    tables = "\n".join(f"[[listen]]\naddress = '{text}'" for text in texts)
    text = DOCUMENTED.replace("[[listen]] ", f"{tables}\n[[listen]] ").replace("15432", "99").replace("7400", "98")
    addresses = [Address.parse(text) for text in texts]
    pairs = [(i, j) for j in range(len(texts)) for i in range(j) if collide(addresses[i], addresses[j])]
    if not pairs:
        assert [entry.address for entry in config.parse(text, PATH).listens[:-1]] == addresses
        return
    first, second = pairs[0]
    words = f"listen[{second + 1}].address: {addresses[second]} is taken by listen[{first + 1}].address"
    with pytest.raises(ConfigError, match=re.escape(words)):
        config.parse(text, PATH)


@pytest.mark.parametrize("host", ["fe80::1%eth0", "::1%lo", "fe80::1%1", "fe80::1%25eth0"])
@pytest.mark.parametrize(
    ("before", "key"),
    [
        ('[[export]]\nservice = "new"\nprobe = "none"\ntarget', "export[2].target"),
        ("[[listen]]\naddress", "listen[2].address"),
        ('[[link]]\npeer = "relay-2.hub.example"\naddress', "link[2].address"),
        ('[[import]]\nservice = "a@met.police.example"\nlisten', "import[2].listen"),
    ],
)
def test_a_scope_id_is_refused_wherever_an_address_stands(host: str, before: str, key: str) -> None:
    sentence = refusal_of(f'{DOCUMENTED}\n{before} = "[{host}]:5433"\n')
    assert key in sentence
    assert "scope id" in sentence


def test_more_services_than_an_entry_of_the_catalogue_holds_are_refused() -> None:
    assert EXPORTS_MOST == SERVICES_MOST
    rows = [f"[[export]]\nservice = 's{number}'\ntarget = '127.0.0.1:1'\n" for number in range(EXPORTS_MOST)]
    assert len(config.parse(DOCUMENTED + "".join(rows[1:]), PATH).exports) == EXPORTS_MOST
    assert f"export[{EXPORTS_MOST + 1}]" in refusal_of(DOCUMENTED + "".join(rows))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, end: str) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(("\ufeff" + DOCUMENTED.replace("\n", end)).encode())
    assert config.load(path) == config.parse(DOCUMENTED, path)
    path.write_bytes(("\ufeff" + DOCUMENTED.replace("\n", end).replace("realm =", "ralm =")).encode())
    with pytest.raises(ConfigError, match=r"node.toml:5: node.ralm: this key is unknown"):
        config.load(path)


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-be"])
def test_text_of_another_encoding_is_told_as_such(tmp_path: Path, coding: str) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes((DOCUMENTED if coding == "utf-16" else "\ufeff" + DOCUMENTED).encode(coding))
    with pytest.raises(ConfigError, match="the configuration is UTF-16 text; save it as UTF-8"):
        config.load(path)


def test_a_host_may_be_named_whole(tmp_path: Path) -> None:
    """With the dot at its end that keeps a resolver from adding a domain."""
    assert Address.parse("db.kent.police.example.:5432") == Address("db.kent.police.example.", 5432)
    for text, words in (("127.0.0.1.:5432", "ends with a dot"), ("a..:1", "no host name"), (".:1", "ends with a dot")):
        with pytest.raises(ValueError, match=words):
            Address.parse(text)


def test_a_share_of_processors_that_has_changed_is_no_change_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "node.toml"
    monkeypatch.setattr(sys.modules["pcgrelay.config.build"], "processors", lambda: 4)
    old = config.parse(DOCUMENTED, path)
    assert (old.node.workers, old.node.lanes) == (4, 4)
    monkeypatch.setattr(sys.modules["pcgrelay.config.build"], "processors", lambda: 2)
    new = config.sized_as(old, config.parse(DOCUMENTED, path))
    assert (new.node.workers, new.node.lanes) == (4, 4)
    assert config.restart_reason(old, new) is None
    assert config.differences(old, new) == ()
    for count in (2, 3):
        told = config.parse(DOCUMENTED.replace("workers = 0 ", f"workers = {count} "), path)
        assert config.restart_reason(old, config.sized_as(old, told)) is not None
