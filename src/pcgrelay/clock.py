"""The two clocks of the control plane, passed in as a value, so that tests can set the time.

Wall time is for certificates and records. Monotonic time is for deadlines: it never jumps.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """A source of time, passed to everything that needs one."""

    def wall(self) -> datetime:
        """Return the time of day, as an aware datetime in UTC."""

    def monotonic_ms(self) -> int:
        """Return milliseconds since a fixed moment; only differences are meaningful."""


class SystemClock:
    """The clocks of this machine."""

    def wall(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000


class SetClock:
    """A clock that moves only when it is advanced; for tests."""

    def __init__(self, wall: datetime, monotonic_ms: int = 0) -> None:
        if wall.tzinfo is None:
            raise ValueError("a wall time needs its time zone")
        self._wall = wall
        self._monotonic_ms = monotonic_ms

    def wall(self) -> datetime:
        return self._wall

    def monotonic_ms(self) -> int:
        return self._monotonic_ms

    def advance(self, milliseconds: int) -> None:
        """Advance both clocks. ValueError: milliseconds is negative."""
        if milliseconds < 0:
            raise ValueError("monotonic time does not go back")
        self._wall += timedelta(milliseconds=milliseconds)
        self._monotonic_ms += milliseconds


SYSTEM_CLOCK = SystemClock()
