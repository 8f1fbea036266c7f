"""How long something has to be well before it is preferred again (pure).

What was never away is taken at once. What fell has to be well for a while, and for twice as long after each further
fall, so that something that flaps does not pull traffic to and fro. Falls are forgotten once it has long been well.
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
    since_ms: int = 0  # of that
    falls: int = 0  # that are not forgotten

    def after(self, is_well: bool, now_ms: int) -> FlapDamping:
        """The judgement after one more look."""
        was_long_well = self.is_well and now_ms - self.since_ms >= FORGET_MS
        falls = 0 if was_long_well else self.falls
        if is_well is self.is_well:
            return self if falls == self.falls else replace(self, falls=falls)
        return FlapDamping(is_well, now_ms, falls if is_well else falls + 1)

    @property
    def hold_ms(self) -> int:
        """How long it has to be well."""
        if not self.falls:
            return 0
        return min(HOLD_MS << min(self.falls - 1, DOUBLINGS_MOST), HOLD_MOST_MS)

    def left_ms(self, now_ms: int) -> int:
        """How long it still has to be well before it is preferred again; zero if it is steady, or not well."""
        return max(0, self.since_ms + self.hold_ms - now_ms) if self.is_well else 0

    def is_steady(self, now_ms: int) -> bool:
        """Whether it is well, and has been for long enough."""
        return self.is_well and self.left_ms(now_ms) == 0
