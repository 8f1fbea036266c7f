"""A lease that is kept: what is written under it is there for as long as this process lives and reaches the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from pcgrelay.clock import Clock
from pcgrelay.fleet.client import StoreClient
from pcgrelay.fleet.errors import StoreProblem

TTL_S = 5
# Kept so many times in its life; a try that fails leaves time for another.
KEPT_TIMES = 4
# Clocks of two machines do not run alike, and a request may wait: this much before its end it is not counted on.
MARGIN_MS = 1_000
END_S = 1.0


async def _nothing(lease: int) -> None:
    """The default of `renewed`."""


class KeptLease:
    """One lease after the other, each granted when the one before has expired."""

    def __init__(
        self,
        client: StoreClient,
        clock: Clock,
        ttl_s: int = TTL_S,
        renewed: Callable[[int], Awaitable[None]] = _nothing,
    ) -> None:
        """renewed: called with each new lease; writes the keys under it. It may raise StoreProblem."""
        self.number = 0  # of the lease; 0: none yet
        self._client = client
        self._clock = clock
        self._ttl_s = ttl_s
        self._renewed = renewed
        self._asked_ms = 0  # when the request was sent that kept it last

    def is_held(self) -> bool:
        """Return whether the lease surely exists now. It may still exist when this says no."""
        end_ms = self._asked_ms + self._ttl_s * 1000 - MARGIN_MS
        return self.number != 0 and self._clock.monotonic_ms() < end_ms

    async def run(self) -> None:
        """Keep it for as long as the task lives."""
        while True:
            with suppress(StoreProblem):
                await self.keep()
            await asyncio.sleep(self._ttl_s / KEPT_TIMES)

    async def keep(self) -> None:
        """Renew it, or get a new one. Raises StoreProblem."""
        asked_ms = self._clock.monotonic_ms()
        if self.number and await self._client.keep(self.number):
            self._asked_ms = asked_ms
            return
        self.number = 0
        asked_ms = self._clock.monotonic_ms()
        number = await self._client.grant(self._ttl_s)
        self.number, self._asked_ms = number, asked_ms
        try:
            await self._renewed(number)
        except StoreProblem:
            # Without its keys it is worth nothing: the next one is granted at once.
            self.number = 0
            raise

    async def end(self) -> None:
        """Give it back, and with it all keys under it; without an answer it expires by itself."""
        number, self.number = self.number, 0
        if number:
            with suppress(StoreProblem, TimeoutError):
                async with asyncio.timeout(END_S):
                    await self._client.revoke(number)
