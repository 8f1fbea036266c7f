"""What a service manager is told, and who may take the place of a process that it keeps."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pcgrelay.daemon.keeper import Keeper, Unit, refusal_to_take, reloading, unit_of

MINE = "1:name=systemd:/system.slice/system-pcgrelay.slice/pcgrelay@kent-1.service\n0::/\n"
OTHER = "1:name=systemd:/user.slice/user-1000.slice/session-3.scope\n0::/\n"
ASKER = 4_711
KEPT = {"NOTIFY_SOCKET": "/run/systemd/notify"}


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc of this process in a unit."""
    folder = tmp_path / "proc"
    process(folder, os.getpid(), MINE)
    (folder / "self").symlink_to(str(os.getpid()))
    return folder


def process(proc: Path, pid: int, group: str | None, numbers: str = "", environment: bytes = b"") -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True, exist_ok=True)
    if group is not None:
        (folder / "cgroup").write_text(group)
    (folder / "status").write_text(f"Name:\tpcgrelay\nNSpid:\t{numbers or pid}\n")
    (folder / "environ").write_bytes(environment)


@pytest.mark.parametrize("kept", [KEPT, {"SYSTEMD_EXEC_PID": str(os.getpid())}])
@pytest.mark.parametrize(
    ("asker", "group", "numbers"),
    [
        (ASKER, OTHER, ""),  # from a shell
        (ASKER, MINE.replace("kent-1", "kent-2"), ""),  # of another node's unit
        (ASKER, MINE.replace(".service\n", ".service/below\n"), ""),  # below, which is another group
        (ASKER, MINE.replace("0::/\n", ""), ""),
        (ASKER, "", ""),
        (ASKER, None, ""),  # it cannot be read, or is gone
        (0, MINE, ""),  # the kernel does not know it here
        (-1, MINE, ""),
        (ASKER, MINE, f"{ASKER}\t7"),  # in a namespace of its own
        (ASKER, MINE, "7"),  # /proc speaks of another process
    ],
)
def test_a_node_that_is_kept_is_handed_over_within_its_unit_alone(
    proc: Path, kept: dict[str, str], asker: int, group: str | None, numbers: str
) -> None:
    process(proc, asker, group, numbers)
    words = Keeper(kept, proc).refusal(asker)
    assert "kept by pcgrelay@kent-1.service" in words
    assert "run: systemctl reload pcgrelay@kent-1.service" in words


def test_within_its_unit_it_is_handed_over(proc: Path) -> None:
    process(proc, ASKER, MINE)
    assert Keeper(KEPT, proc).refusal(ASKER) == ""


def test_a_unit_that_cannot_be_told_of_the_new_process_is_refused(proc: Path) -> None:
    """Its service manager would take the end of the old process for the end of the service."""
    process(proc, ASKER, MINE)
    words = Keeper({"SYSTEMD_EXEC_PID": str(os.getpid())}, proc).refusal(ASKER)
    assert "set Type=notify and NotifyAccess=all" in words


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"SYSTEMD_EXEC_PID": "1"}])
def test_who_was_started_by_hand_is_handed_over_to_anybody(proc: Path, environment: dict[str, str]) -> None:
    """SYSTEMD_EXEC_PID of a shell's own unit is inherited by all that is started from it."""
    process(proc, ASKER, OTHER)
    assert Keeper(environment, proc).refusal(ASKER) == ""


def test_a_proc_of_another_namespace_is_not_believed(proc: Path) -> None:
    process(proc, ASKER, MINE)
    (proc / "self").unlink()
    (proc / "self").symlink_to("1")
    assert Keeper(KEPT, proc).refusal(ASKER)


def test_what_the_process_before_was_told_goes_on(proc: Path, told: socket.socket) -> None:
    process(proc, ASKER, OTHER)
    keeper = Keeper({}, proc)
    keeper.restore(False, "")
    assert keeper.refusal(ASKER) == ""
    keeper.restore(True, str(told.getsockname()))
    assert "kept by pcgrelay@kent-1.service" in keeper.refusal(ASKER)
    keeper.tell("MAINPID=12")
    assert told.recv(100) == b"MAINPID=12"


def test_a_process_that_comes_looks_too_for_one_that_does_not(proc: Path) -> None:
    """The running one may be of a version that hands itself over to anybody."""
    process(proc, ASKER, MINE.replace("kent-1", "met-1"), environment=b"A=b\0NOTIFY_SOCKET=@x\0")
    assert "systemctl reload pcgrelay@met-1.service" in refusal_to_take(ASKER, proc)
    process(proc, ASKER, MINE, environment=b"NOTIFY_SOCKET=@x\0")
    assert refusal_to_take(ASKER, proc) == ""
    process(proc, ASKER, OTHER, environment=b"SYSTEMD_EXEC_PID=1\0")
    assert refusal_to_take(ASKER, proc) == ""
    assert refusal_to_take(ASKER + 1, proc) == ""


@pytest.mark.parametrize(
    ("group", "unit"),
    [
        (MINE, Unit("pcgrelay@kent-1.service")),
        ("0::/system.slice/pcgrelay.service\n", Unit("pcgrelay.service")),
        ("0::/system.slice/pcgrelay.service/node\n", Unit("pcgrelay.service")),
        ("0::/user.slice/user-1.slice/user@1.service/app.slice/relay.service\n", Unit("relay.service", of_user=True)),
        ("3:cpu:/system.slice/wrong.service\n0::/a.scope\n", Unit("")),
        ("4:memory:/x\n0::/\n", Unit("")),
        ("", Unit("")),
        ("nonsense\n::\n", Unit("")),
    ],
)
def test_the_unit_is_read_from_the_control_group(group: str, unit: Unit) -> None:
    assert unit_of(group) == unit


def test_without_a_unit_the_advice_is_general(proc: Path) -> None:
    process(proc, os.getpid(), "0::/\n")
    process(proc, ASKER, OTHER)
    assert "kept by a service manager" in (words := Keeper(KEPT, proc).refusal(ASKER))
    assert "run: systemctl reload UNIT" in words


@pytest.fixture
def told(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def test_a_reload_is_told_to_the_microsecond(told: socket.socket) -> None:
    """A service manager takes a time before its own signal for an old word: rounded to milliseconds, most are."""
    keeper = Keeper({"NOTIFY_SOCKET": str(told.getsockname())})
    for _ in range(200):
        before = time.monotonic_ns() // 1_000
        keeper.tell(reloading())
        after = time.monotonic_ns() // 1_000
        state, _, value = told.recv(200).decode().partition("\nMONOTONIC_USEC=")
        assert state == "RELOADING=1"
        assert before <= int(value) <= after


def test_a_service_manager_that_is_away_or_full_is_not_waited_for(tmp_path: Path, told: socket.socket) -> None:
    Keeper({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).tell("READY=1")
    keeper = Keeper({"NOTIFY_SOCKET": str(told.getsockname())})
    for _ in range(2_000):
        keeper.tell("STATUS=" + "x" * 4_000)


def test_an_abstract_socket_is_one_too() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"pcgrelay-test-{os.getpid()}"
        sock.bind(f"\0{name}")
        sock.settimeout(5)
        Keeper({"NOTIFY_SOCKET": f"@{name}"}).tell("READY=1")
        assert sock.recv(100) == b"READY=1"
