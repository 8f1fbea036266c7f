"""Records as JSON lines on standard error, one write for each."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TextIO

import msgspec

from pcgrelay.audit.record import LEVELS, Record
from pcgrelay.clock import SYSTEM_CLOCK, Clock

_encoder = msgspec.json.Encoder()


def line_of(record: Record, now: datetime) -> str:
    """One line of the log, without its end."""
    head = {
        "ts": now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03d}Z",
        "level": record.LEVEL,
        "event": record.EVENT,
    }
    fields = _encoder.encode(record)
    text = _encoder.encode(head)
    return (text if fields == b"{}" else text[:-1] + b"," + fields[1:]).decode()


class Log:
    """Where records go. A sink that no longer takes them is left alone: the log never stops the node."""

    def __init__(self, level: str = "info", sink: TextIO | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._least = LEVELS.index(level)
        self._sink = sink
        self._clock = clock
        self.lost_total = 0

    def set_level(self, level: str) -> None:
        """Leave out what is below this level from now on."""
        self._least = LEVELS.index(level)

    def say(self, record: Record) -> None:
        """Write a record, unless its level is below what is wanted."""
        if LEVELS.index(record.LEVEL) < self._least:
            return
        try:
            (self._sink or sys.stderr).write(line_of(record, self._clock.wall()) + "\n")
            (self._sink or sys.stderr).flush()
        except (OSError, ValueError):
            self.lost_total += 1
