"""The service manager that supervises this node, if there is one: notifications, and who may replace this process.

A service manager identifies a service by the control group that it made for it. If a process of another group replaced
this one, the service manager would see the service end and start a second node beside one that it can neither see nor
stop nor reload. A supervised node is therefore handed over within its own group only.
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
    """A systemd service; an empty name means that it is unknown."""

    name: str
    of_user: bool = False


class Keeper:
    """What this process knows about its service manager (sd_notify(3), systemd.exec(5))."""

    def __init__(self, environment: Mapping[str, str] = os.environ, proc: Path = PROC) -> None:
        self.notify_socket = environment.get(_NOTIFY, "")
        self.is_kept = _is_kept(environment, os.getpid())
        self._proc = proc

    def restore(self, is_kept: bool, notify_socket: str) -> None:
        """Restore how the previous process was supervised; this process's own environment takes precedence."""
        self.is_kept = self.is_kept or is_kept
        self.notify_socket = self.notify_socket or notify_socket

    def tell(self, state: str) -> None:
        """Send a state to the service manager (sd_notify(3)), without blocking; errors are ignored."""
        where = self.notify_socket
        if not where:
            return
        address = "\0" + where[1:] if where.startswith("@") else where
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            sock.sendto(state.encode(), address)

    def refusal(self, asker: int) -> str:
        """Return why the process with PID asker must not replace this one, or an empty string.

        asker is the PID that the kernel reports for the peer of the socket.
        """
        if not self.is_kept:
            return ""
        mine = _group(self._proc, os.getpid())
        if not mine or not _is_near(self._proc, asker) or _group(self._proc, asker) != mine:
            return f"this node is {_outside(mine)}"
        if unit_of(mine).name and not self.notify_socket:
            return (
                f"{unit_of(mine).name} could not be notified of the new process and would end it; "
                "set Type=notify and NotifyAccess=all in that unit"
            )
        return ""


def reloading() -> str:
    """Return the sd_notify(3) message that a reload begins now.

    The time is in microseconds: the service manager ignores a message that is older than its own signal.
    """
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1_000}"


def refusal_to_take(owner: int, proc: Path = PROC) -> str:
    """Return why this process must not replace the process owner, or an empty string.

    The incoming process checks too, because the running one may be of a version that does not.
    """
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
    """Return the service that a control group belongs to; group is the text of /proc/PID/cgroup (pure)."""
    for line in group.splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        services = [part for part in path.split("/") if part.endswith(".service")]
        if controllers in ("", "name=systemd") and services:
            # A user's service is below that user's own service manager, which is itself a service.
            return Unit(services[-1], of_user=len(services) > 1 and services[0].startswith("user@"))
    return Unit("")


def _is_kept(environment: Mapping[str, str], pid: int) -> bool:
    return bool(environment.get(_NOTIFY)) or environment.get(_EXECUTED) == str(pid)


def _is_near(proc: Path, pid: int) -> bool:
    """Return whether pid belongs to this process's PID namespace, so that /proc describes the same process."""
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
