"""How long to wait before trying again: exponential, capped, with full jitter, for ever.

Whatever ended an attempt, the next one waits. Only two things shorten the wait: what was tried had been well for long,
or there is news that makes success likely. News can be made by who refuses, so it counts only so often.
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
# A stream waits 30 s for a way (`path_wait_ms`, unless told): a neighbour that is back must be found well within it.
CAP_MS = 3_000
# What has lasted this long was well; the next failure starts from the beginning.
STEADY_MS = 10_000
# What was not tried for this long starts from the beginning, however its last attempt ended.
FORGET_MS = 60_000
# So often news ends a wait early: once for each of a few things that happen together, then now and then.
NEWS_AT_ONCE = 4
NEWS_EACH_SECOND = 0.5

_random = random.SystemRandom()
K = TypeVar("K")


def backoff_ms(attempt: int, first_ms: int = FIRST_MS, cap_ms: int = CAP_MS) -> float:
    """The wait before the attempt of that number, from 1: anywhere up to the bound, so that a crowd spreads out."""
    return _random.uniform(0, min(cap_ms, first_ms * 2 ** min(attempt - 1, 20)))


class Retry:
    """When one thing may be tried next. It outlives whoever tries, so that nobody begins again by starting again."""

    def __init__(self, clock: Clock, first_ms: int = FIRST_MS, cap_ms: int = CAP_MS) -> None:
        self.attempts = 0  # since it was last well for long
        self._clock = clock
        self._first_ms = first_ms
        self._cap_ms = cap_ms
        now = clock.monotonic_ms()
        self._began_ms = now
        self._due_ms: float = now
        self._news = asyncio.Event()
        self._bucket = TokenBucket(NEWS_AT_ONCE, NEWS_EACH_SECOND, now)

    def kick(self) -> None:
        """Something has changed for the better: do not wait any longer, unless that was said too often."""
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
                # A clock of whole milliseconds must not be asked again within one.
                async with asyncio.timeout((self._due_ms - self._clock.monotonic_ms() + 1) / 1000):
                    await self._news.wait()

    def begun(self) -> None:
        """An attempt begins. The next one waits although nobody may say how this one ended."""
        now = self._clock.monotonic_ms()
        if now - self._began_ms > FORGET_MS:
            self.attempts = 0
        self.attempts += 1
        self._began_ms = now
        self._news.clear()
        self._put_off()

    def failed(self) -> None:
        """The attempt came to nothing. What was news while it ran still is."""
        self._put_off()

    def ended(self, lasted_ms: int) -> None:
        """What an attempt brought, or somebody else's, has ended after so long."""
        if lasted_ms >= STEADY_MS:
            self.attempts = 0
            self._due_ms = self._clock.monotonic_ms()
        else:
            self._put_off()
        self._news.clear()

    def is_forgotten(self) -> bool:
        """Whether it was not tried for so long that the next attempt begins from the beginning anyway."""
        return self._clock.monotonic_ms() - self._began_ms > FORGET_MS

    def _put_off(self) -> None:
        wait_ms = backoff_ms(max(self.attempts, 1), self._first_ms, self._cap_ms)
        self._due_ms = self._clock.monotonic_ms() + wait_ms


class Retries(Generic[K]):
    """The retries of things with names. That of one which is no longer wanted is kept for a while: it may come back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._retries: dict[K, Retry] = {}

    def of(self, key: K) -> Retry:
        """That of one thing; a new one if it was not tried lately."""
        retry = self._retries.get(key)
        if retry is None:
            retry = self._retries[key] = Retry(self._clock)
        return retry

    def ended(self, key: K, lasted_ms: int) -> None:
        """What was made for it, by whomever, has ended after so long."""
        if key in self._retries:
            self._retries[key].ended(lasted_ms)

    def keep(self, keys: Collection[K]) -> None:
        """Forget those of others that were not tried lately."""
        for key in [key for key, retry in self._retries.items() if key not in keys and retry.is_forgotten()]:
            del self._retries[key]
