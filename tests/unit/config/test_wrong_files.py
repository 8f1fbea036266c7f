"""Every wrong configuration is refused by file, line, key and remedy."""

import re
from datetime import date
from typing import Any

import pytest

from pcgrelay import config
from pcgrelay.config.examples import EXAMPLES
from pcgrelay.errors import ConfigError
from tests.support.documented_config import DOCUMENTED, PAPER, PATH, approved, documented, written

ARRAYS = {"bearer", "listen", "link", "export", "import", "direct", "drill", "caller"}


def with_key(table: str, key: str, value: Any) -> str:
    values = approved() if table == "approvals" else documented()
    entry = values.setdefault(table, {})
    (entry[0] if table in ARRAYS else entry)[key] = value
    return written(values)


def without_key(table: str, key: str) -> str:
    values = approved() if table == "approvals" else documented()
    entry = values[table]
    del (entry[0] if table in ARRAYS else entry)[key]
    return written(values)


REQUIRED = {
    "node": ["name", "organisation", "realm", "role"],
    "identity": ["certificate", "key", "trust"],
    "listen": ["address"],
    "link": ["peer", "address"],
    "export": ["service", "target"],
    "import": ["service", "listen"],
    "bearer": ["name"],
    "caller": ["organisation", "networks"],
    "direct": ["service", "name", "address"],
    "drill": ["kind", "every"],
    "approvals": ["signers"],
    "fleet": ["store", "endpoints"],
}
MIDNIGHT = "T00:00:00"  # a date with a time is none, where a date is wanted
BAD_NAMES = ["", "Kent", "kent_1", "-kent", "kent-", "k" * 64, "ké", "a b", "a\n", "*"]
BAD_DOTTED = ["", ".", "Kent.example", "kent..example", ".kent", "kent.", "a." * 127 + "a", "a b.example"]
BAD_ADDRESSES = [
    "", "127.0.0.1", ":7400", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x", "127.0.0.1:-1",
    "::1:7400", "[::1]", "[::g]:7400", "127.0.0.256:7400", "a b:7400", "127.0.0.1:7400 ", "[]:1", "x:٧",
]  # fmt: skip
BAD_PATHS = ["unix:", "unix:run/x", "unix:/", "unix:/run/", "unix:/a\nb", "unix:/" + "x" * 102, "unix://" + "é" * 60]
BAD_SOURCES = [
    "", "10.9.9", "here.example", "0.0.0.0", "::", "::1", "fe80::1%eth0", "10.9.9.9:1", 1, ["10.9.9.9", "10.9.9.9"],
    ["10.9.9.9", "::1"], [1], [f"10.9.9.{number}" for number in range(9)],
]  # fmt: skip
BAD_OWNERS = ["", "j.smith", "j smith@kent.example", "@kent.example", "j@", "j@k@x", "é@kent.example", 1]
BAD_LINES = ["", " ", "a\nb", "x" * 201, 1]
BAD_DAYS = ["2027-03-31", 2027, date(9999, 12, 31)]
BAD_VALUES: dict[str, list[Any]] = {
    "node.name": [*BAD_NAMES, "a.b"],
    "node.organisation": [*BAD_DOTTED, "*"],
    "node.realm": BAD_DOTTED,
    "node.role": ["", "Edge", "hub", "relay "],
    "node.workers": [-1, 65, 10**20],
    "node.lanes": [-1, 65],
    "node.memory": ["", "256", "256MB", "1.5GiB", "-1MiB", "0MiB", "1MiB", "9999999GiB", "256 mib", "²MiB"],
    "node.admin": ["", "/" + "x" * 102, "a\0b"],
    "node.admin_group": ["", "no such group", "a\0b", 1],
    "identity.certificate": ["", "a\0"],
    "identity.key": [""],
    "identity.trust": [""],
    "identity.crl": [""],
    "policy.post_quantum": ["", "Required", "no", "optional"],
    "policy.suites": [[], ["AES"], ["aes-256-gcm"], ["AES-256-GCM", "AES-256-GCM"], [1], [["AES-256-GCM"]]],
    "policy.members": [["**"], ["*kent"], ["*."], ["a.*"], [""], ["Kent"], ["*", "*"], [1]],
    "policy.clearances": [
        "OFFICIAL",
        ["hub.example"],
        {"Hub": "OFFICIAL"},
        {"hub.example": "TOP"},
        {"*": "SECRET"},
        {"a": 1},
    ],
    "policy.transit": [
        "psn",
        ["psn"],
        [["psn"]],
        [["psn", "psn"]],
        [["a", "b"], ["b", "a"]],
        [["a", "b", "c"]],
        [["A", "b"]],
    ],
    "policy.relays": [["**"], ["*kent"], [""], ["Kent"], ["hub.example", "hub.example"], [1], "hub.example"],
    "policy.handshake_deadline_ms": [0, -1, 3_600_001],
    "policy.half_open_total": [0, 1_000_001],
    "policy.half_open_per_source": [0, 257],
    "policy.rekey_bytes": ["", "64", "63KiB", "65GiB", 65536],
    "policy.rekey_frames": [0, 15, 4_194_305],
    "policy.rekey_s": [0, 121],
    "policy.renewal_interval_s": [0, 43_201],
    "policy.renewal_age_s": [1, 7_199, 86_401],
    "policy.path_wait_ms": [0, 3_600_001],
    "policy.half_closed_s": [0, -1, 604_801, "3600"],
    "policy.max_streams_per_organisation": [-1, 1_000_001, "1"],
    "policy.new_streams_per_second": [-1, 0.5],
    "policy.probe_interval_ms": [0, 74, 5_001],
    "listen.address": BAD_ADDRESSES,
    "listen.bearer": BAD_NAMES,
    "link.peer": ["", "relay-1", "relay-1.", ".hub.example", "Relay.hub.example", "kent-1.kent.police.example"],
    "link.address": [*BAD_ADDRESSES, "0.0.0.0:7400", "[::]:7400"],
    "link.bearer": ["", "P"],
    "link.precedence": ["", "Preferred", "backup", 1],
    "link.weight": [-1, 101, "50"],
    "listen.precedence": ["", "back_up"],
    "listen.weight": [-1, 101],
    "export.service": [*BAD_NAMES, "custody@kent.police.example", "a.b"],
    "export.target": [*BAD_ADDRESSES, *BAD_PATHS, "0.0.0.0:5432"],
    "export.source": BAD_SOURCES,
    "export.proxy": ["", "v1", "V2", True],
    "export.max_streams_per_organisation": [-1, 1_000_001, "1"],
    "export.new_streams_per_second": [-1, 0.5],
    "export.rate": ["", "1", "1023B", "1.5MiB", "2MB", "1025MiB", "0B", 65536],
    "export.idle_timeout_s": [-1, 31_536_001, "1h"],
    "export.max_duration_s": [-1, 31_536_001],
    "link.source": BAD_SOURCES,
    "export.allow": [["*"], ["*.police.example"], [""], ["met.example", "met.example"], [7]],
    "export.marking": ["", "official", "TOP SECRET"],
    "export.precedence": ["", "first", 1],
    "export.weight": [-1, 101, 0.5],
    "export.priority": ["", "high", 2],
    "export.probe": ["", "expect", "tcp"],
    "export.probe_send": ["PING"],
    "export.probe_expect": ["PONG"],
    "export.connect_timeout_ms": [0],
    "import.priority": ["", "urgent"],
    "import.service": ["", "custody", "custody@", "@kent.example", "a@b@c", "Custody@kent.example"],
    "import.new_streams_per_second": [-1],
    "import.idle_timeout_s": [-1],
    "import.max_duration_s": [-1],
    "import.mode": ["0660"],
    "import.group": ["adm"],
    "import.listen": [*BAD_ADDRESSES, *BAD_PATHS, "127.0.0.1:7400", "0.0.0.0:7400"],
    "import.outlet": ["", "psnp", "Gateway", 1],
    "import.also": ["127.0.0.1:9", [""], ["127.0.0.1:15432"], ["127.0.0.1:7400"], ["10.20.30.50:1", "10.20.30.50:1"]],
    "import.careful": ["yes", 1],
    "import.exercise": [-0.5, 0.3, 10.5, "1", True],
    "node.state": ["", "a\0b", 1],
    "node.inventory": ["", "a\0b", 1],
    "bearer.name": BAD_NAMES,
    "bearer.marking": ["", "official", "TOP SECRET"],
    "bearer.supported_until": ["", "2031-01-31", "soon", 20310131],
    "direct.service": ["", "custody", "other@kent.police.example", "Custody@kent.example"],
    "direct.name": [*BAD_NAMES, "gateway", "a.b"],
    "direct.address": [*BAD_ADDRESSES, *BAD_PATHS, "0.0.0.0:5432", "127.0.0.1:15432", "127.0.0.1:7400"],
    "direct.bearer": BAD_NAMES,
    "direct.source": BAD_SOURCES,
    "direct.connect_timeout_ms": [0, 99, 60_001],
    "direct.probe": ["", "expect", "tcp"],
    "direct.probe_send": ["PING"],
    "direct.probe_expect": ["PONG"],
    "direct.probe_interval_ms": [199, 3_600_001],
    "export.also": ["10.20.30.60:5432", ["x"], ["127.0.0.1:7400"]],
    "caller.organisation": ["", "-", 1],
    "caller.networks": ["10.1.0.0/16", [], ["10.1.0.1/16"], ["x"]],
    "drill.kind": ["", "relay_loss", 1],
    "drill.service": ["", "custody", "other@kent.police.example"],
    "drill.relay": ["relay-1.hub.example"],
    "drill.bearer": ["psn"],
    "drill.every": ["", "90", "0d", "1.5d", "90 days", "9999d", 90],
    "drill.window": ["sunday", "sun 05:00-03:00", "sun 3-5", "xyz 03:00-05:00"],
    "drill.zone": ["", "Mars", "../etc/passwd"],
    "drill.auto": ["yes", True],
    "drill.for": ["0s", "25h", "a while"],
    "drill.share": [0, 33.3, 100.5, "half"],
    "log.level": ["", "INFO", "trace"],
    "policy.paper": [{**PAPER, "owner": "j.smith"}, {**PAPER, "end": 1}, {**PAPER, "until": "2027-03-31"}],
    "approvals.signers": ["", "a\0", 1],
    "approvals.needs": [0, -1, 17, "2"],
    "approvals.roles": [
        {"": ["a@b"]}, {"x" * 65: ["a@b"]}, {"assurer": []}, {"assurer": ["a@b", "a@b"]}, {"assurer": ["*@b"]}, ["a@b"],
        {f"role {number}": ["a@b"] for number in range(17)}, {"é": ["a@b"]},
    ],
    "approvals.revoked": ["", "a\0"],
    "approvals.holds": ["yes", 1],
    "approvals.most_days": [0, 3_661],
    "fleet.store": ["", "redis"],
    "fleet.endpoints": [[], ["http://127.0.0.1:2379"], ["https://127.0.0.1"], ["https://0.0.0.0:2379"], [1]],
    "fleet.certificate": ["", "a.pem"],
    "fleet.key": ["a.key"],
    "fleet.trust": ["", "a\0"],
    "fleet.user": ["kent-1", "a b"],
    "fleet.password": ["password"],
    **{f"{table}.owner": BAD_OWNERS for table in ("listen", "link", "export", "import", "direct")},
    **{f"{table}.reason": BAD_LINES for table in ("listen", "link", "export", "import", "direct")},
    **{f"{table}.change": BAD_LINES for table in ("listen", "link", "export", "import", "direct")},
    **{f"{table}.until": BAD_DAYS for table in ("listen", "link", "export", "import", "direct")},
}  # fmt: skip


def bad_files() -> list[tuple[str, str, str]]:
    """Each with what it does and the key that the refusal must name."""
    found = []
    for dotted in EXAMPLES:
        table, _, key = dotted.partition(".")
        shown = f"{table}[1].{key}" if table in ARRAYS else dotted
        if not key:
            continue
        found.append((f"misspelt {dotted}", with_key(table, key + "x", "a"), shown + "x"))
        found.append(
            (
                f"a date as {dotted}",
                with_key(table, key, 1).replace(f"{key} = 1\n", f"{key} = 2026-01-01{MIDNIGHT}\n"),
                shown,
            )
        )
        if dotted != "approvals.roles":
            found.append((f"a table as {dotted}", with_key(table, key, {}), shown))
        for value in BAD_VALUES.get(dotted, ()):
            found.append((f"{value!r} as {dotted}", with_key(table, key, value), shown))
    for table, keys in REQUIRED.items():
        for key in keys:
            shown = f"{table}[1].{key}" if table in ARRAYS else f"{table}.{key}"
            found.append((f"no {table}.{key}", without_key(table, key), shown))
    return found


BAD_FILES = bad_files()


def test_there_are_at_least_two_hundred_wrong_files() -> None:
    assert len(BAD_FILES) >= 200
    assert len({text for _, text, _ in BAD_FILES}) == len(BAD_FILES)


@pytest.mark.parametrize(("text", "key"), [pytest.param(text, key, id=name) for name, text, key in BAD_FILES])
def test_a_wrong_file_is_refused_by_file_line_and_key(text: str, key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config.parse(text, PATH)
    sentence = str(refused.value)
    # Nothing is said of what only follows from it.
    assert refused.value.sentences == (sentence,)
    assert re.match(rf"{re.escape(str(PATH))}:\d+: ", sentence)
    assert key in sentence
    assert sentence.endswith(".")
    assert sentence.isprintable()
    # The line is that of the key, or, where the key is missing, of its table.
    line = text.splitlines()[int(sentence.split(":")[1]) - 1]
    assert line.startswith(key.rpartition(".")[2] + " = ") or "this is missing" in sentence


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('post_quantum = "required"', 'post_quantom = "required"', "nearest that there is: post_quantum"),
        ("[policy]", "[polcy]", "nearest that there is: policy"),
        ("[[import]]", "[[inport]]", "nearest that there is: import"),
        ("[[export]]", "[export]", r"write \[\[export\]\]"),
        ("[node]", "[[node]]", r"write \[node\]"),
        ('name = "kent-1"', "name = kent-1", "not valid TOML"),
        ("[node]", "[node", "not valid TOML"),
        ('role = "edge" ', 'role = "edge"\nrole = "edge" ', "not valid TOML"),
        ('role = "edge"', 'role = "relay"', "a relay offers and uses no services"),
        ("workers = 0", 'workers = "four"', "must be a whole number; write for example: workers = 0"),
        ("[[listen]]", "[[listen]]\naddress = '[::]:15432'\n[[listen]]", r"taken by listen\[1\]\.address"),
        (
            "[[link]]",
            "[[link]]\npeer='relay-1.hub.example'\naddress='127.0.0.1:7400'\n[[link]]",
            r"already in link\[1\]",
        ),
        ("[[export]]", "[[export]]\nservice='custody'\ntarget='a:1'\n[[export]]", r"already in export\[1\]"),
        (
            "[[import]]",
            "[[import]]\nservice='custody@kent.police.example'\nlisten='a:1'\n[[import]]",
            r"in import\[1\]",
        ),
        ("127.0.0.1:15432", "0.0.0.0:7400", r"taken by listen\[1\]"),
    ],
)
def test_what_a_refusal_says(old: str, new: str, words: str) -> None:
    assert old in DOCUMENTED
    with pytest.raises(ConfigError, match=words) as refused:
        config.parse(DOCUMENTED.replace(old, new, 1), PATH)
    assert str(refused.value).startswith(str(PATH))


def test_a_node_that_nothing_reaches_is_refused() -> None:
    bare = re.sub(r"(?ms)^\[\[listen\]\].*?(?=^\[\[export)", "", DOCUMENTED)
    # With a direct outlet an edge is a plain proxy, which needs no neighbour.
    bare = re.sub(r"(?ms)^\[\[direct\]\].*?(?=^\[|\Z)", "", bare)
    bare = re.sub(r"(?m)^outlet = .*\n", "", bare)
    with pytest.raises(ConfigError, match="neither"):
        config.parse(bare, PATH)


@pytest.mark.parametrize("missing", ["node", "identity"])
def test_a_missing_table_is_named(missing: str) -> None:
    values = documented()
    del values[missing]
    with pytest.raises(ConfigError, match=rf"{missing}: this is missing; write for example: \[{missing}\]"):
        config.parse(written(values), PATH)


def test_the_line_is_that_of_the_second_entry() -> None:
    text = DOCUMENTED + '\n[[import]]\nservice = "b@c.example"\n# a comment = 3\nlisten = "nowhere"\n'
    with pytest.raises(ConfigError, match=rf":{len(text.splitlines())}: import\[2\]\.listen: "):
        config.parse(text, PATH)
