"""A process that writes an audit log and is killed at one of its steps, or by a power failure."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

from pcgrelay.audit.disk import AppendFile, Disk
from pcgrelay.audit.lines import Queued
from pcgrelay.audit.writer import Hooks, LogWriter
from pcgrelay.log.events import NodeDrainUndone
from tests.support.written_logs import NODE, Endorser, LyingDisk

NOW = datetime(2026, 11, 3, tzinfo=UTC)
ENDORSER = Endorser()
UP = NodeDrainUndone(node="kent-1")
FAR = 10_000


class Killed(BaseException):
    """The process has ended. Nothing of it goes on, so nothing catches this."""


class DyingDisk(LyingDisk):
    """A disk under a process that is killed at one of its steps."""

    def __init__(self, chance: random.Random, steps: int = FAR) -> None:
        super().__init__(chance)
        self.steps = steps

    def step(self) -> None:
        if not self.steps:
            raise Killed
        self.steps -= 1

    def open(self, path: Path, size: int) -> AppendFile:
        self.step()
        file = super().open(path, size)
        for name in ("append", "sync"):
            self._count(file, name)
        return file

    def _count(self, file: AppendFile, name: str) -> None:
        does = getattr(file, name)

        def counted(*arguments: bytes) -> None:
            self.step()
            does(*arguments)

        setattr(file, name, counted)

    def write_end(self, path: Path, at: int, data: bytes) -> None:
        self.step()
        super().write_end(path, at, data)

    def replace(self, path: Path, data: bytes) -> None:
        self.step()
        super().replace(path, data)

    def rename(self, path: Path, to: Path) -> None:
        self.step()
        super().rename(path, to)

    def remove(self, path: Path) -> None:
        self.step()
        super().remove(path)


class Clocks:
    """Both clocks, each set by itself."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now
        self.ms = 0

    def wall(self) -> datetime:
        return self.now

    def monotonic_ms(self) -> int:
        return self.ms


def process(folder: Path, disk: Disk, clock: Clocks | None = None) -> LogWriter:
    """A writer without its thread."""
    clock = clock or Clocks()
    hooks = Hooks(ENDORSER, lambda record: None, lambda note: None, lambda: None)
    writer = LogWriter(folder, NODE, hooks, clock, disk)
    writer._loop = SimpleNamespace(call_soon_threadsafe=lambda function, *arguments: function(*arguments))  # type: ignore[assignment]
    return writer


def begin(folder: Path, disk: Disk, clock: Clocks | None = None) -> LogWriter:
    """A process that begins; it writes when it is told to."""
    writer = process(folder, disk, clock)
    writer._open()
    return writer


def write(writer: LogWriter, count: int) -> None:
    """Write so many records, and sign them."""
    for _ in range(count):
        writer.put(Queued(UP, writer._clock.wall(), ""))
    writer._drain()
    writer.sign()
