"""The two clocks of the control plane, as a value that is handed in, so that a test can set the time.

Wall time judges certificates and stamps records. Monotonic time measures deadlines: it never jumps.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time; whatever needs to know it takes one of these."""

    def wall(self) -> datetime:
        """The time of day, in UTC and aware of it."""

    def monotonic_ms(self) -> int:
        """Milliseconds since some fixed moment; only differences mean anything."""


class SystemClock:
    """The clocks of this machine."""

    def wall(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000


class SetClock:
    """A clock that stands still until it is told to move; for tests."""

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
        """Move both clocks on together."""
        if milliseconds < 0:
            raise ValueError("monotonic time does not go back")
        self._wall += timedelta(milliseconds=milliseconds)
        self._monotonic_ms += milliseconds


SYSTEM_CLOCK = SystemClock()
