"""What a new configuration differs in, told in the words of the file; and the numbers that services keep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay import config
from pcgrelay.config import Config, admin_path, differences, restart_reason
from pcgrelay.errors import ConfigError
from pcgrelay.health.state import Health, HealthState
from pcgrelay.model import ServiceName
from pcgrelay.services.services import NUMBERS_COUNTED, Numbers

BASE = """
[node]
name = "kent-1"
organisation = "kent.police.example"
realm = "police.example"
role = "edge"
workers = 1
[identity]
certificate = "a.pem"
key = "a.key"
trust = "ca.pem"
[policy]
members = ["hub.example"]
[[listen]]
address = "127.0.0.1:7400"
[[export]]
service = "custody"
target = "127.0.0.1:5432"
[log]
level = "info"
"""


def read(text: str) -> Config:
    return config.parse(text, Path("kent-1.toml"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("hub.example", "*", "policy.members changed"),
        ('"a.pem"', '"b.pem"', "identity.certificate changed"),
        ("5432", "5433", "export custody@kent.police.example changed (target)"),
        ("7400", "7401", "listen 127.0.0.1:7400 removed"),
        ("7400", "7401", "listen 127.0.0.1:7401 added"),
        ("info", "debug", "log.level changed"),
        ("[log]", '[[import]]\nservice = "a@b"\nlisten = "127.0.0.1:1"\n[log]', "import a@b added"),
        ("[policy]", '[policy]\npost_quantum = "preferred"', "policy.post_quantum changed"),
        ("[policy]", "[policy]\nprobe_interval_ms = 75", "policy.probe_interval_ms changed"),
        ("workers = 1", "workers = 1\nlanes = 2", "node.lanes changed"),
        ("[log]", "until = 2027-03-31\n[log]", "export custody@kent.police.example changed (until)"),
        ("[policy]", "[policy]\npaper = { until = 2027-03-31 }", "policy.paper changed"),
    ],
)
def test_differences_are_told_in_the_words_of_the_file(old: str, new: str, words: str) -> None:
    assert words in differences(read(BASE), read(BASE.replace(old, new)))
    assert restart_reason(read(BASE), read(BASE.replace(old, new))) is None


def test_the_same_configuration_has_no_differences() -> None:
    assert differences(read(BASE), read(BASE)) == ()


@pytest.mark.parametrize(
    ("old", "new", "keys"),
    [
        ('name = "kent-1"', 'name = "kent-2"', "node.name and node.admin have"),
        ('"police.example"', '"other.example"', "node.realm has"),
        ("workers = 1", "workers = 2", "node.workers has"),
        ("workers = 1", 'workers = 1\nmemory = "16MiB"', "node.memory has"),
        ("workers = 1", 'workers = 1\nadmin = "/x"', "node.admin has"),
    ],
)
def test_what_needs_a_restart_says_so(old: str, new: str, keys: str) -> None:
    reason = restart_reason(read(BASE), read(BASE.replace(old, new)))
    assert reason == f"kent-1.toml: {keys} changed, which a running node cannot take; restart it."


@given(st.lists(st.booleans()))
def test_two_failures_in_a_row_fail_and_one_success_heals(looks: list[bool]) -> None:
    state = HealthState()
    for look in looks:
        state = state.after(look)
    if looks and looks[-1]:
        assert state == HealthState(Health.OK)
    elif looks[-2:] == [False, False]:
        assert state.health is Health.FAILING
        assert not state.is_doubtful
    elif looks:
        # One failure alone changes nothing but that it is looked again soon.
        assert state.health is (Health.OK if len(looks) > 1 else Health.UNKNOWN)
        assert state.is_doubtful


NAMES = [ServiceName(f"s{number}", "o.example") for number in range(8)]


@given(st.lists(st.sets(st.sampled_from(NAMES))))
def test_services_keep_their_numbers(rounds: list[set[ServiceName]]) -> None:
    numbers = Numbers()
    known: dict[ServiceName, int] = {}
    for wanted in rounds:
        gone = numbers.keep(wanted)
        assert sorted(gone) == sorted(known[name] for name in known if name not in wanted)
        now = {name: numbers.take(name) for name in wanted}
        assert all(known[name] == number for name, number in now.items() if name in known)
        assert len(set(now.values())) == len(now)
        for name, number in now.items():
            assert numbers.name_of(number) == name
        known = now


def test_a_number_that_was_given_up_is_the_last_to_come_again() -> None:
    numbers = Numbers()
    first = numbers.take(NAMES[0])
    numbers.keep([])
    seen = []
    for index in range(NUMBERS_COUNTED):
        seen.append(numbers.take(ServiceName(f"n{index}", "o.example")))
        numbers.keep([])
    assert seen[-1] == first
    assert first not in seen[:-1]
    assert max(seen) < NUMBERS_COUNTED


def test_more_services_than_the_core_counts_have_numbers_too() -> None:
    numbers = Numbers()
    taken = {numbers.take(ServiceName(f"n{index}", "o.example")) for index in range(NUMBERS_COUNTED + 5)}
    assert len(taken) == NUMBERS_COUNTED + 5


def test_the_admin_socket_of_a_refused_configuration(tmp_path: Path) -> None:
    path = tmp_path / "kent-1.toml"
    path.write_text(BASE.replace("members", "membres"))
    assert admin_path(path) == Path("/run/pcgrelay/kent-1.sock")
    path.write_text(BASE.replace("members", "membres").replace("workers = 1", 'admin = "unix:x.sock"'))
    assert admin_path(path) == tmp_path / "x.sock"
    path.write_text("[node]\n")
    with pytest.raises(ConfigError):
        admin_path(path)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda text: text + "[[export\n",
        lambda text: text + "this is no TOML",
        lambda text: "= 1\n" + text,
        lambda text: text.replace("workers = 1", 'workers = "1'),
        lambda text: text.replace("[node]", "[node] # \udcff"),
        lambda text: text + "[policy]\n",
        lambda text: text + f"x = {'9' * 5_000}\n",
        lambda text: text + f"x = {'[' * 5_000}\n",
        lambda text: text + "#" * (1 << 20),
        lambda text: text.replace("[node]", "  [ node ]  # this one"),
        lambda text: text.replace("\n", "\r\n") + "x",
        lambda text: text.replace("\nname", "\n'name'") + "x",
    ],
)
def test_a_node_is_found_whatever_is_wrong_with_its_new_file(tmp_path: Path, wrong: Callable[[str], str]) -> None:
    path = tmp_path / "node.toml"
    for keys, admin in (("", Path("/run/pcgrelay/kent-1.sock")), ('admin = "x.sock"\n', tmp_path / "x.sock")):
        path.write_bytes(wrong(BASE.replace("role =", f"{keys}role =")).encode("utf-8", "surrogateescape"))
        assert admin_path(path) == admin


@pytest.mark.parametrize(
    "text", ["", "x", "[node]\nname = 1\n", "[node]\nadmin = ''\n", '[node]\nadmin = "a\\u0000"\n']
)
def test_without_a_name_the_file_is_refused_by_what_is_wrong(tmp_path: Path, text: str) -> None:
    path = tmp_path / "node.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        admin_path(path)
