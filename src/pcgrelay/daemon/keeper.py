"""The service manager that keeps this node, if one does: what it is told, and who may take this process's place.

A service manager knows a service by the control group that it made for it. A process of another group that took this
one's place would be outside: the service manager would see the service end, and would start a second node beside one
that it neither sees nor stops nor reloads. So a node that is kept is handed over within its own group alone.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
_NOTIFY, _EXECUTED = "NOTIFY_SOCKET", "SYSTEMD_EXEC_PID"


class Unit(NamedTuple):
    """A service of systemd; without a name it is not known."""

    name: str
    of_user: bool = False


class Keeper:
    """What this process knows of its service manager (sd_notify(3), systemd.exec(5))."""

    def __init__(self, environment: Mapping[str, str] = os.environ, proc: Path = PROC) -> None:
        self.notify_socket = environment.get(_NOTIFY, "")
        self.is_kept = _is_kept(environment, os.getpid())
        self._proc = proc

    def restore(self, is_kept: bool, notify_socket: str) -> None:
        """The process before this one was kept so. What this one was told itself comes first."""
        self.is_kept = self.is_kept or is_kept
        self.notify_socket = self.notify_socket or notify_socket

    def tell(self, state: str) -> None:
        """Say something to the service manager, if it listens; who does not is not waited for."""
        where = self.notify_socket
        if not where:
            return
        address = "\0" + where[1:] if where.startswith("@") else where
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            sock.sendto(state.encode(), address)

    def refusal(self, asker: int) -> str:
        """Why the process with that number, as the kernel names it, may not take this one's place; or nothing."""
        if not self.is_kept:
            return ""
        mine = _group(self._proc, os.getpid())
        if not mine or not _is_near(self._proc, asker) or _group(self._proc, asker) != mine:
            return f"this node is {_outside(mine)}"
        if unit_of(mine).name and not self.notify_socket:
            return (
                f"{unit_of(mine).name} could not be told of the new process and would end it; "
                "set Type=notify and NotifyAccess=all in that unit"
            )
        return ""


def reloading() -> str:
    """A reload begins now. To the microsecond: what is older than its own signal the service manager ignores."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1_000}"


def refusal_to_take(owner: int, proc: Path = PROC) -> str:
    """Why this process may not take the place of that one, which may be of a version that does not look itself."""
    try:
        lines = (proc / str(owner) / "environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    environment = dict(os.fsdecode(line).partition("=")[::2] for line in lines)
    theirs = _group(proc, owner)
    if not _is_kept(environment, owner) or theirs == _group(proc, os.getpid()):
        return ""
    return f"this node is {_outside(theirs)}"


def unit_of(group: str) -> Unit:
    """The service that a control group belongs to, from the text of /proc/PID/cgroup (pure)."""
    for line in group.splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        services = [part for part in path.split("/") if part.endswith(".service")]
        if controllers in ("", "name=systemd") and services:
            # A service of a user stands below that user's own service manager, which is a service as well.
            return Unit(services[-1], of_user=len(services) > 1 and services[0].startswith("user@"))
    return Unit("")


def _is_kept(environment: Mapping[str, str], pid: int) -> bool:
    return bool(environment.get(_NOTIFY)) or environment.get(_EXECUTED) == str(pid)


def _is_near(proc: Path, pid: int) -> bool:
    """Whether that number means a process of this process's own namespace, so that what /proc says is said of it."""
    try:
        if pid <= 0 or os.readlink(proc / "self") != str(os.getpid()):
            return False
        status = (proc / str(pid) / "status").read_text()
    except OSError:
        return False
    numbers = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
    return numbers == [str(pid)]


def _group(proc: Path, pid: int) -> str:
    try:
        return (proc / str(pid) / "cgroup").read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _outside(group: str) -> str:
    unit = unit_of(group)
    command = f"systemctl {'--user ' if unit.of_user else ''}reload {unit.name or 'UNIT'}"
    return (
        f"kept by {unit.name or 'a service manager'}, and a process from outside of it may not take its place; "
        f"run: {command} (with pcgrelay upgrade as its ExecReload=)"
    )
