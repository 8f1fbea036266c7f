"""Rate limiting by token buckets (pure)."""

from __future__ import annotations

# A bucket that is filled in many small steps may hold less than the exact sum by this much.
ROUNDING = 1e-9


class TokenBucket:
    """A token bucket: at most at_once tokens, refilled by each_second a second. Times are monotonic milliseconds."""

    def __init__(self, at_once: int, each_second: float, now_ms: int) -> None:
        self._at_once = at_once
        self._each_second = each_second
        self._left = float(at_once)
        self._since_ms = now_ms

    def spend(self, now_ms: int) -> bool:
        """Take one token; False if there is none."""
        self._fill(now_ms)
        if self._left < 1 - ROUNDING:
            return False
        self._left -= 1
        return True

    def has(self, amount: float, now_ms: int) -> bool:
        """Whether so many tokens are left."""
        self._fill(now_ms)
        return self._left >= amount

    def part_left(self, now_ms: int) -> float:
        """The part of at_once that is left, from 0 to 1."""
        self._fill(now_ms)
        return max(0.0, self._left) / self._at_once

    def owe(self, amount: float, now_ms: int) -> float:
        """Take so many tokens even if there are fewer; return the milliseconds until the debt is paid (0: none)."""
        self._fill(now_ms)
        self._left -= amount
        return max(0.0, -self._left) * 1000 / self._each_second

    def left(self, now_ms: int) -> float:
        """How many tokens are left; negative after `owe` took more than there were."""
        self._fill(now_ms)
        return self._left

    def is_whole(self, now_ms: int) -> bool:
        """Whether the bucket is full."""
        self._fill(now_ms)
        return self._left >= self._at_once - ROUNDING

    def _fill(self, now_ms: int) -> None:
        self._left += (now_ms - self._since_ms) * self._each_second / 1000
        self._left = min(self._left, self._at_once)
        self._since_ms = now_ms
