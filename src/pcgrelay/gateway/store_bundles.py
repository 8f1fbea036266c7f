"""The realm's bundle through the store of the fleet: the same bytes that neighbours tell each other, under one key.

The store is one more way by which a bundle comes, and is judged as any other: by its own signature, its dates and its
epoch. A node that has a newer one than the store writes it there. What the store has lost, or never had, costs nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import aclosing

from pcgrelay.fleet.client import Found, Put, StoreClient
from pcgrelay.fleet.errors import StoreProblem
from pcgrelay.gateway.bundles import RealmBundles
from pcgrelay.gateway.tasks import spawn
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.log.events import Emit
from pcgrelay.realm.bundle import BUNDLE_MOST_BYTES, BundleRefused, open_bundle

KEY = "bundle"
SOURCE = "the store of the fleet"  # in log and status
LOOK_S = 1.0
# Many nodes may have the same newer one: each waits a while of its own, and mostly finds that another was first.
SPREAD_S = 1.5
# What somebody writes over it again and again is put right so often.
WRITE_AGAIN_S = 5.0
_random = random.SystemRandom()


class StoreBundles:
    """Takes bundles from the store, and tells it of newer ones."""

    def __init__(
        self, client: Callable[[], StoreClient | None], bundles: RealmBundles, local: LocalIdentity, emit: Emit
    ) -> None:
        """client: the store that the node uses now; None: it uses none."""
        self._client = client
        self._bundles = bundles
        self._local = local
        self._emit = emit
        self._stored: tuple[int, int] = (0, 0)  # epoch and revision of what the store has; 0: nothing that is believed
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """Follow the store as long as the node runs."""
        if not self._tasks:
            self._tasks = [spawn(each, "bundle", self._emit) for each in (self._follow(), self._tell())]

    async def stop(self) -> None:
        """End it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            client = self._client()
            if client is not None:
                try:
                    await self._watch(client)
                except StoreProblem:
                    pass
            await asyncio.sleep(LOOK_S)

    async def _watch(self, client: StoreClient) -> None:
        """Take what is there, and what is written next, until the watch or the store ends. StoreProblem."""
        loaded = await client.load(KEY)
        await self._take(loaded.values.get(KEY))
        async with aclosing(client.watch(KEY, loaded.revision + 1)) as watch:
            async for told in watch:
                for change in told.changes:
                    if change.key == KEY:
                        await self._take(change.found)
                if client is not self._client():
                    return

    async def _take(self, found: Found | None) -> None:
        if found is None:
            self._stored = (0, 0)
            return
        epoch = await self._epoch_of(found.value)
        held = self._bundles.bundle
        if epoch == 0 or held is None or epoch > held.epoch:
            refused = await self._bundles.offer(found.value, SOURCE)
            epoch = 0 if refused else epoch
        self._stored = (epoch, found.revision)

    async def _epoch_of(self, data: bytes) -> int:
        """The epoch of a bundle that may be believed; 0: it is none."""
        if len(data) > BUNDLE_MOST_BYTES:
            return 0
        realm, credentials = self._local.config.node.id.realm, self._local.credentials
        try:
            return (await asyncio.to_thread(open_bundle, data, realm, credentials, None)).epoch
        except BundleRefused:
            return 0

    async def _tell(self) -> None:
        """Write what is newer here than in the store."""
        while True:
            await asyncio.sleep(LOOK_S)
            if not self._is_newer():
                continue
            await asyncio.sleep(_random.uniform(0, SPREAD_S))
            client, held = self._client(), self._bundles.bundle
            if client is None or held is None or not self._is_newer():
                continue
            try:
                await client.swap(written={KEY: self._stored[1]}, puts=[Put(KEY, held.data)])
            except StoreProblem:
                pass
            await asyncio.sleep(WRITE_AGAIN_S)

    def _is_newer(self) -> bool:
        client, held = self._client(), self._bundles.bundle
        return client is not None and client.state.live and held is not None and held.epoch > self._stored[0]
