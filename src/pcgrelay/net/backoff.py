"""Back-off between attempts: exponential, capped, with full jitter, without end.

However an attempt ended, the next one waits. Only two things shorten the wait: what the attempt brought lasted for
STEADY_MS, or there is news that makes success likely. The peer that refuses can also cause news, so news is limited by
a token bucket.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection
from contextlib import suppress
from typing import Generic, TypeVar

from pcgrelay.clock import Clock
from pcgrelay.net.ratelimit import TokenBucket

FIRST_MS = 200
# A stream waits 30 s for a path (`path_wait_ms` by default): a neighbour that is back must be found well within that.
CAP_MS = 3_000
# After what has lasted this long, the back-off starts again from the first wait.
STEADY_MS = 10_000
# After this long without an attempt, it starts again from the first wait, however the last attempt ended.
FORGET_MS = 60_000
# How often news may end a wait early: a few times at once, because several things may happen together, then seldom.
NEWS_AT_ONCE = 4
NEWS_EACH_SECOND = 0.5

_random = random.SystemRandom()
K = TypeVar("K")


def backoff_ms(attempt: int, first_ms: int = FIRST_MS, cap_ms: int = CAP_MS) -> float:
    """Return the wait in milliseconds before attempt number `attempt` (from 1).

    It is random between 0 and the bound (full jitter), so that many nodes do not try at the same time.
    """
    return _random.uniform(0, min(cap_ms, first_ms * 2 ** min(attempt - 1, 20)))


class Retry:
    """The back-off of one thing. It outlives the task that makes the attempts: a new task does not reset it."""

    def __init__(self, clock: Clock, first_ms: int = FIRST_MS, cap_ms: int = CAP_MS) -> None:
        self.attempts = 0  # since the last success that lasted for STEADY_MS
        self._clock = clock
        self._first_ms = first_ms
        self._cap_ms = cap_ms
        now = clock.monotonic_ms()
        self._began_ms = now
        self._due_ms: float = now
        self._news = asyncio.Event()
        self._bucket = TokenBucket(NEWS_AT_ONCE, NEWS_EACH_SECOND, now)

    def kick(self) -> None:
        """End the wait because success has become likely, unless that happened too often."""
        self._news.set()

    def may_begin(self) -> bool:
        """Whether an attempt may begin now."""
        now = self._clock.monotonic_ms()
        if now < self._due_ms and self._news.is_set():
            self._news.clear()
            if self._bucket.spend(now):
                self._due_ms = now
        return now >= self._due_ms

    async def due(self) -> None:
        """Wait until an attempt may begin."""
        while not self.may_begin():
            with suppress(TimeoutError):
                # The clock counts whole milliseconds: wait one more, so as not to wake within the same one.
                async with asyncio.timeout((self._due_ms - self._clock.monotonic_ms() + 1) / 1000):
                    await self._news.wait()

    def begun(self) -> None:
        """Note that an attempt begins. The next one waits even if `failed` or `ended` is never called."""
        now = self._clock.monotonic_ms()
        if now - self._began_ms > FORGET_MS:
            self.attempts = 0
        self.attempts += 1
        self._began_ms = now
        self._news.clear()
        self._put_off()

    def failed(self) -> None:
        """Note that the attempt failed. News that came while it ran still counts."""
        self._put_off()

    def ended(self, lasted_ms: int) -> None:
        """Note that a success, of this side's attempt or of the peer's, has ended after lasted_ms."""
        if lasted_ms >= STEADY_MS:
            self.attempts = 0
            self._due_ms = self._clock.monotonic_ms()
        else:
            self._put_off()
        self._news.clear()

    def is_forgotten(self) -> bool:
        """Whether the last attempt is so old that the back-off starts again from the first wait anyway."""
        return self._clock.monotonic_ms() - self._began_ms > FORGET_MS

    def _put_off(self) -> None:
        wait_ms = backoff_ms(max(self.attempts, 1), self._first_ms, self._cap_ms)
        self._due_ms = self._clock.monotonic_ms() + wait_ms


class Retries(Generic[K]):
    """The back-offs of several things, by key. One that is no longer wanted is kept for FORGET_MS: it may return."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._retries: dict[K, Retry] = {}

    def of(self, key: K) -> Retry:
        """Return the back-off of this key; make it if there is none."""
        retry = self._retries.get(key)
        if retry is None:
            retry = self._retries[key] = Retry(self._clock)
        return retry

    def ended(self, key: K, lasted_ms: int) -> None:
        """Note that a success for this key has ended after lasted_ms."""
        if key in self._retries:
            self._retries[key].ended(lasted_ms)

    def keep(self, keys: Collection[K]) -> None:
        """Forget the back-offs of all other keys that were not tried lately."""
        for key in [key for key, retry in self._retries.items() if key not in keys and retry.is_forgotten()]:
            del self._retries[key]
