"""Processes of the bench: started on a processor and in a network namespace, watched in /proc, ended by their pids."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from benches.settings import HOST

T = TypeVar("T")
LISTENING = "0A"


class BenchError(Exception):
    """Something that a measurement needs did not come about; the measurement is left out and the report says so."""


def until(true: Callable[[], T], seconds: float, what: str) -> T:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > deadline:
            raise BenchError(f"within {seconds:g} s it never came true: {what}")
        time.sleep(0.02)
    return found


_given: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel gives to outgoing connections (`own_network`)."""
    for _ in range(200):
        port = random.randrange(2_000, 10_000)
        with socket.socket() as sock:
            try:
                sock.bind((HOST, port))
            except OSError:
                continue
        if port not in _given:
            _given.add(port)
            return port
    raise BenchError("no port is free")


class Process:
    """One process of a chain, with the processes that it starts itself."""

    def __init__(
        self,
        role: str,
        command: Sequence[str | Path],
        log: Path,
        *,
        cpu: int | None = None,
        net: str | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.role = role
        self.log = log
        prefix = ["ip", "netns", "exec", net] if net else []
        # taskset and ip become the program that they start, so the pid stays.
        prefix += ["taskset", "-c", str(cpu)] if cpu is not None else []
        with log.open("wb") as out:
            self.popen = subprocess.Popen(
                [*prefix, *map(str, command)], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def tree(self) -> list[int]:
        return [self.pid, *descendants(self.pid)]

    def check(self) -> None:
        """A process that has ended is told with its last words."""
        if self.popen.poll() is not None:
            raise BenchError(f"{self.role} has ended: {self.log.read_text(errors='replace')[-2000:]}")

    def listens(self, port: int) -> bool:
        self.check()
        return port in listening_ports(self.pid)

    def end(self) -> None:
        tree = self.tree()
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(3)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait(5)
        for pid in tree[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def descendants(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            yield child
            yield from descendants(child)


def listening_ports(pid: int) -> set[int]:
    """The ports that somebody listens on in the network namespace of the process."""
    found = set()
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTENING:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return found


def memory_bytes(pids: Sequence[int]) -> int:
    """What the processes hold in memory, shared pages counted by shares."""
    total = 0
    for pid in pids:
        match = re.search(r"^Pss:\s+(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        total += int(match[1]) << 10 if match else 0
    return total


def cpu_seconds(roles: Mapping[int, str]) -> dict[str, float]:
    """User and system time that the processes have used, by role."""
    found: dict[str, float] = {}
    for pid, role in roles.items():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        found[role] = found.get(role, 0.0) + ticks / os.sysconf("SC_CLK_TCK")
    return found
