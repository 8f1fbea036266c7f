"""A table of signed values below one prefix: loaded at a revision, and watched from the next one on.

It takes a value only if its signature holds and its epoch is not below the one known for that key. A store that is
silent changes nothing in it. That a key is gone is told by a store that answers; whoever holds something that must not
end with its key does not act on it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import aclosing

from pcgrelay.clock import Clock
from pcgrelay.fleet import errors
from pcgrelay.fleet.client import KEYS_MOST, Found, Loaded, StoreClient
from pcgrelay.fleet.errors import StoreProblem, StoreRefused
from pcgrelay.fleet.values import Judge, SignedValue, ValueRefused, open_value

AGAIN_LEAST_S, AGAIN_MOST_S = 0.2, 2.0
# A signature costs a quarter of a millisecond: after so many of them the event loop has a turn.
AT_ONCE = 16

Changed = Callable[[str, SignedValue | None], None]


class Follower:
    """What is believed of the keys below one prefix. `run` is its task; all else is called from the event loop."""

    def __init__(
        self,
        client: StoreClient | None,
        prefix: str,
        judge: Judge,
        clock: Clock,
        changed: Changed,
        refused: Counter[str] | None = None,
    ) -> None:
        """changed: called with a key and its new value; None: a store that answers says that it is gone.

        client: None if `use` says later which. refused: counts of refused values, by reason.
        """
        self.values: dict[str, SignedValue] = {}
        self.refused: Counter[str] = Counter() if refused is None else refused
        self.loaded = False  # everything was known once
        self.heard_ms: int | None = None  # when the store last said anything of this prefix
        self._client = client
        self._prefix = prefix
        self._judge = judge
        self._clock = clock
        self._changed = changed
        self._revision = 0  # up to which everything is known; 0: load
        self._ends = False  # whether the watch that runs ends at its next word, so that everything is loaded again
        self._raw: dict[str, bytes] = {}  # of values that are believed
        self._known: dict[str, tuple[int, int]] = {}  # epoch and revision that were taken last, also of what is gone

    def use(self, client: StoreClient) -> None:
        """Follow by another client from the next `run` on; what is known stays, and older values are still refused."""
        self._client, self._revision, self.loaded = client, 0, False

    async def run(self) -> None:
        """Follow for as long as the task lives."""
        again_s = AGAIN_LEAST_S
        while True:
            heard_ms = self.heard_ms
            try:
                await self._follow()
            except StoreRefused as refused:
                if refused.reason == errors.COMPACTED:
                    self._revision = 0
            except StoreProblem:
                pass
            again_s = AGAIN_LEAST_S if self.heard_ms != heard_ms else min(again_s * 2, AGAIN_MOST_S)
            await asyncio.sleep(again_s)

    def judge_again(self) -> None:
        """Load and verify everything again, because trust has changed. What is not trusted any more ends at once."""
        self._revision, self._ends = 0, True
        for key, raw in list(self._raw.items()):
            try:
                open_value(key, raw, self.values[key].revision, self._judge)
            except ValueRefused as refused:
                self.refused[refused.reason] += 1
                self._forget(key)

    def forget_all(self) -> None:
        """Forget what is there, without a word; older values are still refused. It is loaded again by `run`."""
        self._raw.clear()
        self.values.clear()
        self._revision, self._ends, self.loaded = 0, True, False

    async def _follow(self) -> None:
        assert self._client is not None
        self._ends = False
        if not self._revision:
            loaded = await self._client.load(self._prefix)
            self._heard()
            await self._take_all(loaded)
            if self._ends:
                return
            self._revision, self.loaded = loaded.revision, True
        async with aclosing(self._client.watch(self._prefix, self._revision + 1)) as watch:
            async for told in watch:
                self._heard()
                if self._ends:
                    return
                if told.began and told.revision < self._revision:
                    # Another store, or a member that lags: what the majority has is asked for.
                    self._revision = 0
                    return
                for change in told.changes:
                    if change.found is None:
                        self._forget(change.key)
                    else:
                        self._take(change.key, change.found)
                    self._revision = max(self._revision, change.revision)
                if not told.began:
                    self._revision = max(self._revision, told.revision)

    def _heard(self) -> None:
        self.heard_ms = self._clock.monotonic_ms()

    async def _take_all(self, loaded: Loaded) -> None:
        for key in [key for key in self.values if key not in loaded.values]:
            self._forget(key)
        for number, (key, found) in enumerate(loaded.values.items(), 1):
            self._take(key, found)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)

    def _take(self, key: str, found: Found) -> None:
        if self._raw.get(key) == found.value:
            return
        try:
            value = open_value(key, found.value, found.revision, self._judge)
            if (value.epoch, value.revision) <= self._known.get(key, (-1, 0)):
                raise ValueRefused("value_old_epoch")
            if key not in self._known and len(self._known) >= KEYS_MOST:
                raise ValueRefused("value_too_many")
        except ValueRefused as refused:
            self.refused[refused.reason] += 1
            return
        self._known[key] = (value.epoch, value.revision)
        self._raw[key], self.values[key] = found.value, value
        self._changed(key, value)

    def _forget(self, key: str) -> None:
        self._raw.pop(key, None)
        if self.values.pop(key, None) is not None:
            self._changed(key, None)
