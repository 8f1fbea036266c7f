"""How long something must be healthy before it is preferred again: hold-down, as in RFC 2439 (pure).

Something that never failed is preferred at once. After a failure it must be healthy for a while, and for twice as long
after each further one, so that something that flaps does not move traffic to and fro. Failures are forgotten once it
has been healthy for a long time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

HOLD_MS = 5_000
HOLD_MOST_MS = 300_000
FORGET_MS = 600_000
DOUBLINGS_MOST = 10


@dataclass(frozen=True, slots=True)
class FlapDamping:
    """The judgement so far."""

    is_well: bool = False
    since_ms: int = 0  # since when is_well has its value
    falls: int = 0  # failures that are not forgotten

    def after(self, is_well: bool, now_ms: int) -> FlapDamping:
        """Return the judgement after one more observation."""
        was_long_well = self.is_well and now_ms - self.since_ms >= FORGET_MS
        falls = 0 if was_long_well else self.falls
        if is_well is self.is_well:
            return self if falls == self.falls else replace(self, falls=falls)
        return FlapDamping(is_well, now_ms, falls if is_well else falls + 1)

    @property
    def hold_ms(self) -> int:
        """How long it has to be healthy."""
        if not self.falls:
            return 0
        return min(HOLD_MS << min(self.falls - 1, DOUBLINGS_MOST), HOLD_MOST_MS)

    def left_ms(self, now_ms: int) -> int:
        """Return the remaining hold-down; zero if it is over, or if it is not healthy now."""
        return max(0, self.since_ms + self.hold_ms - now_ms) if self.is_well else 0

    def is_steady(self, now_ms: int) -> bool:
        """Return whether it is healthy and its hold-down is over."""
        return self.is_well and self.left_ms(now_ms) == 0
