"""Judges of the process, its sockets and its bounds."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pcgrelay.assure.facts import (
    AdminSocket,
    Attempt,
    FloodBounds,
    ListenerFact,
    Listeners,
    OpenPorts,
    Port,
    SecretSearch,
)
from pcgrelay.assure.judgement import FAILED, PASSED, TOLD, Judgement
from pcgrelay.assure.judges import host
from pcgrelay.assure.parameters import Parameters
from tests.support.good_facts import GOOD

P = Parameters()
PROCESS = replace(
    GOOD["process.read_process"], capabilities=("CAP_NET_BIND_SERVICE",), bounding=("CAP_NET_BIND_SERVICE",)
)
WAN = ListenerFact(side="wan", key="listen[1].address", host="192.0.2.1", is_loopback=False, is_wildcard=False)
LAN = replace(WAN, side="lan", key="import[1].listen", host="10.0.0.1")
SOCKET = AdminSocket(
    exists=True, is_socket=True, mode=0o600, folder_mode=0o750, folder_owner_is_trusted=True, group_named=False
)
PORT = Port(family="tcp", host="192.0.2.1", number=7400)
BOUNDS = FloodBounds(
    half_open_total=256,
    half_open_per_source=32,
    handshake_bytes=131_072,
    memory_bytes=256 << 20,
    refusals=1,
    cpu_ms=0.4,
)


def is_found(judgement: Judgement, said: str) -> None:
    assert judgement.outcome == (FAILED if said else PASSED), judgement
    assert said in judgement.observed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"core_limit_bytes": None}, "core dumps are on (no limit)"),
        ({"core_limit_bytes": 4096}, "core dumps are on (up to 4,096 bytes)"),
        ({"core_limit_bytes": None, "dumpable": False}, ""),
        ({"core_pipe": "systemd-coredump"}, ""),
        ({"core_pipe": "capture"}, "core dumps go to capture, whatever the limit"),
        ({"core_pipe": "capture", "core_limit_bytes": 1}, ""),
        ({"core_memory": True}, "a core dump would hold memory"),
        ({"core_memory": True, "dumpable": False}, ""),
        ({"swap": ("/dev/sda2",)}, "1 swap area is on"),
        ({"swap": ("/dev/sda2",), "locked": True}, ""),
    ],
)
def test_memory(change: dict[str, object], said: str) -> None:
    is_found(host.memory_stays_in_memory(replace(PROCESS, **change), P), said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"uid": 0}, "it runs as root"),
        ({"capabilities": ("CAP_NET_BIND_SERVICE", "CAP_SYS_ADMIN")}, "it has CAP_SYS_ADMIN"),
        ({"capabilities": ()}, ""),
        ({"no_new_privileges": False}, "NoNewPrivs is off"),
        ({"seccomp": False}, "seccomp is off"),
        ({"root_read_only": False}, "can be written"),
    ],
)
def test_rights(change: dict[str, object], said: str) -> None:
    is_found(host.process_has_no_rights(replace(PROCESS, **change), P), said)


BARE = replace(PROCESS, unit="", uid=0, no_new_privileges=False, seccomp=False, root_read_only=False)


def test_what_a_person_starts_in_a_shell_is_a_question() -> None:
    found = host.process_has_no_rights(BARE, P)
    assert found.outcome == TOLD
    assert "by hand" in found.observed
    assert "it runs as root; NoNewPrivs is off; seccomp is off" in found.observed


@pytest.mark.parametrize(
    "change", [{"unit": "kent.service"}, {"seccomp": True}, {"no_new_privileges": True}, {"root_read_only": True}]
)
def test_what_something_confines_a_little_is_a_failure(change: dict[str, object]) -> None:
    is_found(host.process_has_no_rights(replace(BARE, **change), P), "it runs as root")


def test_who_needs_no_unit_to_be_confined_passes() -> None:
    is_found(host.process_has_no_rights(replace(PROCESS, unit=""), P), "")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (LAN, ""),
        (replace(LAN, host="192.0.2.1"), "listen[1].address (links) and import[1].listen (applications) meet"),
        (replace(LAN, host="0.0.0.0", is_wildcard=True), "meet"),
        (replace(LAN, host="127.0.0.1", is_loopback=True), ""),
        (replace(WAN, key="listen[2].address"), ""),
    ],
)
def test_sides(other: ListenerFact, said: str) -> None:
    is_found(host.sides_do_not_meet(Listeners(listeners=(WAN, other)), P), said)


def test_ports() -> None:
    facts = OpenPorts(open=(PORT,), named=(PORT,))
    is_found(host.no_other_port_is_open(facts, P), "")
    is_found(host.no_other_port_is_open(replace(facts, named=(replace(PORT, host=""),)), P), "")
    is_found(host.no_other_port_is_open(replace(facts, named=()), P), "port 7400 is open")
    other = replace(facts, open=(PORT, replace(PORT, host="0.0.0.0")))
    is_found(host.no_other_port_is_open(other, P), "port 7400 is open")
    told = Attempt(listener="listen[1]", offered="no certificate", wanted=False, answer="taken", told_bytes=7)
    is_found(host.no_other_port_is_open(replace(facts, attempts=(told,)), P), "listen[1] sent 7 bytes")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"mode": 0o660}, "its mode is 0660"),
        ({"mode": 0o660, "group_named": True}, ""),
        ({"mode": 0o666, "group_named": True}, "its mode is 0666"),
        ({"folder_mode": 0o777}, "others may write its folder (mode 0777)"),
        ({"folder_mode": 0o1777}, ""),
        ({"folder_owner_is_trusted": False}, "belongs to another user"),
        ({"exists": False}, "there is no admin socket"),
        ({"is_socket": False}, "there is no admin socket"),
    ],
)
def test_the_admin_socket(change: dict[str, object], said: str) -> None:
    is_found(host.admin_socket_is_private(replace(SOCKET, **change), P), said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ""),
        ({"cpu_ms": None}, ""),
        ({"half_open_total": 2048}, "2,048 of them may need 256 MiB of 256"),
        ({"half_open_per_source": 256}, "one source may have all"),
    ],
)
def test_bounds_of_floods(change: dict[str, object], said: str) -> None:
    is_found(host.floods_are_bounded(replace(BOUNDS, **change), P), said)


@pytest.mark.parametrize(
    ("change", "said"),
    [({}, ""), ({"found": 1}, "1 copies"), ({"control_found": 0}, "not even"), ({"secrets": 0}, "not even")],
)
def test_secrets(change: dict[str, int], said: str) -> None:
    facts = SecretSearch(secrets=4, found=0, control_found=1, searched_bytes=1 << 24)
    is_found(host.secrets_are_wiped(replace(facts, **change), P), said)
