"""How much of something a neighbour may have: so much at once, and so much each second after that (pure)."""

from __future__ import annotations

# What a bucket gains in many small steps may be less than the sum by so much.
ROUNDING = 1e-9


class TokenBucket:
    """A bucket that fills by itself."""

    def __init__(self, at_once: int, each_second: float, now_ms: int) -> None:
        self._at_once = at_once
        self._each_second = each_second
        self._left = float(at_once)
        self._since_ms = now_ms

    def spend(self, now_ms: int) -> bool:
        """Take one; false if none is left."""
        self._fill(now_ms)
        if self._left < 1 - ROUNDING:
            return False
        self._left -= 1
        return True

    def has(self, amount: float, now_ms: int) -> bool:
        """Whether so much is left."""
        self._fill(now_ms)
        return self._left >= amount

    def part_left(self, now_ms: int) -> float:
        """How much is left of what may be taken at once, from zero to one."""
        self._fill(now_ms)
        return max(0.0, self._left) / self._at_once

    def owe(self, amount: float, now_ms: int) -> float:
        """Take so much, be it there or not; answers in how many milliseconds it will be."""
        self._fill(now_ms)
        self._left -= amount
        return max(0.0, -self._left) * 1000 / self._each_second

    def left(self, now_ms: int) -> float:
        """How many may be taken."""
        self._fill(now_ms)
        return self._left

    def is_whole(self, now_ms: int) -> bool:
        """Whether all may be taken at once again."""
        self._fill(now_ms)
        return self._left >= self._at_once - ROUNDING

    def _fill(self, now_ms: int) -> None:
        self._left += (now_ms - self._since_ms) * self._each_second / 1000
        self._left = min(self._left, self._at_once)
        self._since_ms = now_ms
