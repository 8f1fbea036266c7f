"""The lock of the organisation, as a node holds it while it is drained or a drill runs: one change at a time.

It is the lock of `pcgrelay fleet upgrade`, with its token. The node takes it, not the command, for a drain and a drill
outlast the command that began them. It is under a lease of its own, so it is free 15 s after a node that holds it has
died.

A node that cannot be sure of the lock any more ends its drill before the lease can have expired, for the next holder
may be another relay that all streams need. A drain goes on: to take new work again would help nobody. It takes the lock
again as soon as it can. Without `[fleet]` there is no lock, and nothing is asked.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from pcgrelay.clock import Clock
from pcgrelay.errors import RuleProblem, RunError
from pcgrelay.fleet.client import StoreClient
from pcgrelay.fleet.errors import DEADLINE, UNREACHABLE, StoreProblem, StoreSilent
from pcgrelay.fleet.lease import KeptLease
from pcgrelay.fleet.lock import (
    DRILL,
    LOCK_TTL_S,
    Holder,
    Lock,
    LockHeld,
    is_token,
    lock_key,
    release,
    rewrite,
    take,
)
from pcgrelay.fleet.values import signing_as
from pcgrelay.gateway.tasks import spawn
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.log.events import Emit
from pcgrelay.log.fleet_events import FleetLocked, FleetLockLost, FleetLockPassedOver, FleetUnlocked

TAKE_S = 6.0  # over all requests: longer than the members need for a new leader
GIVE_BACK_S = 1.0
STOP_MOST_S = 3.0
LOOK_S = 0.25
# The token is looked up so often. It waits less than the margin by which a lease is given up before its end.
PROVE_S = 3.0
PROOF_S = 0.5
AGAIN_S = 5.0
BY_MOST = 64
OPTION = "--without-lock"


class ChangeHeld(RuleProblem):
    """Somebody else holds the lock."""


class ChangeUnproved(RunError):
    """The store does not say who holds the lock."""


@dataclass(frozen=True, slots=True)
class _Held:
    """The lock, while it is held."""

    client: StoreClient
    lease: KeptLease
    number: int  # of that lease
    lock: Lock

    def is_sure(self) -> bool:
        """Whether nobody else can have it."""
        return self.lease.number == self.number and self.lease.is_held()


class ChangeLock:
    """The lock as one node has it. Its methods are called from the event loop."""

    def __init__(
        self,
        local: LocalIdentity,
        client: Callable[[], StoreClient | None],
        refused: Counter[str],
        emit: Emit,
        clock: Clock,
    ) -> None:
        """client: the store now; None: there is none, or its files are wrong."""
        # Set by an edge before it begins: ends the drill that runs, for that reason.
        self.end_drill: Callable[[str], None] = lambda reason: None
        self._local = local
        self._client = client
        self._refused = refused
        self._emit = emit
        self._clock = clock
        self._key = lock_key(local.config.node.id.organisation)
        self._acts: dict[str, str] = {}  # what it is held for, and by whose word
        self._held: _Held | None = None
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    @property
    def is_held(self) -> bool:
        """Whether this node surely holds the lock."""
        return self._held is not None and self._held.is_sure()

    async def take(self, act: str, by: str) -> None:
        """Hold the lock for an act. by: the user who asked. Without [fleet] nothing is done.

        Raises ChangeHeld, ChangeUnproved.
        """
        if self._local.written.fleet is None:
            return
        try:
            async with asyncio.timeout(TAKE_S), self._turn:
                await self._take(act, by)
                self._acts[act] = by
        except LockHeld as held:
            self._refused["lock_held"] += 1
            sentences = held.sentences(self._local.config.node.id.organisation, f"add {OPTION}")
            raise ChangeHeld(sentences) from None
        except (StoreProblem, TimeoutError) as error:
            self._refused["lock_unproved"] += 1
            problem = error if isinstance(error, StoreProblem) else StoreSilent(DEADLINE)
            raise ChangeUnproved(
                f"{problem} So nobody can say whether another node is being changed. Nothing was done; "
                f"add {OPTION} to go on all the same."
            ) from None
        if self._task is None or self._task.done():
            self._task = spawn(self._keep(), "fleet", self._emit)

    def pass_over(self, act: str, by: str) -> None:
        """Note that somebody goes on without the lock."""
        if self._local.written.fleet is not None:
            self._emit(FleetLockPassedOver(act=act, by=by))

    async def give_back(self, act: str) -> None:
        """End an act; the lock is free when the last one has ended. Nothing waits long for a silent store."""
        if self._acts.pop(act, None) is None or self._acts:
            return
        await self._end_keeping()
        async with self._turn:
            # Another act may have begun meanwhile.
            if not self._acts:
                await self._free()

    async def stop(self) -> None:
        """Give the lock back: the node ends."""
        self._acts.clear()
        await self._end_keeping()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_MOST_S), self._turn:
                await self._free()

    # -- taking ------------------------------------------------------------------------------------------------

    async def _take(self, act: str, by: str) -> None:
        holder = Holder(
            node=self._local.config.node.id.dotted,
            act=act,
            by=by[:BY_MOST],
            nonce=secrets.token_hex(8),
            since_s=int(self._clock.wall().timestamp()),
        )
        held, sign = self._held, signing_as(self._local)
        if held is not None and held.is_sure() and await rewrite(held.client, held.lock, held.number, holder, sign):
            return
        client = self._client()
        if client is None:
            raise StoreSilent(UNREACHABLE)
        lease = KeptLease(client, self._clock, LOCK_TTL_S)
        try:
            await lease.keep()
            lock = await take(client, self._key, lease.number, holder, sign, self._local)
        except BaseException:
            # What is cancelled in the middle may hold it: it ends with its lease.
            await lease.end()
            raise
        self._held = _Held(client, lease, lease.number, lock)
        self._emit(FleetLocked(act=act, by=by, token=lock.token))

    async def _end_keeping(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _free(self) -> None:
        held, self._held = self._held, None
        if held is None:
            return
        with suppress(StoreProblem, TimeoutError):
            async with asyncio.timeout(GIVE_BACK_S):
                await release(held.client, held.lock)
        await held.lease.end()
        self._emit(FleetUnlocked(token=held.lock.token))

    # -- keeping -----------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Keep the lock for as long as there is an act, and take it again if it was lost."""
        while self._acts:
            held = self._held
            if held is not None:
                await self._watch(held)
                await self._lost(held)
                continue
            await asyncio.sleep(AGAIN_S)
            act, by = next(iter(self._acts.items()))
            with suppress(LockHeld, StoreProblem, TimeoutError):
                async with asyncio.timeout(TAKE_S), self._turn:
                    if self._held is None:
                        await self._take(act, by)

    async def _watch(self, held: _Held) -> None:
        """Return when the lock is, or may be, somebody else's."""
        keeping = asyncio.create_task(held.lease.run())
        proved_ms = self._clock.monotonic_ms()
        try:
            while held.is_sure():
                await asyncio.sleep(LOOK_S)
                now_ms = self._clock.monotonic_ms()
                if now_ms - proved_ms < 1_000 * PROVE_S:
                    continue
                proved_ms = now_ms
                # A store that is silent says nothing against it, as long as the lease holds.
                with suppress(StoreProblem, TimeoutError):
                    async with asyncio.timeout(PROOF_S):
                        if not await is_token(held.client, self._key, held.lock.token):
                            return
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _lost(self, held: _Held) -> None:
        if self._held is held:
            self._held = None
            self._refused["lock_lost"] += 1
            for act in self._acts:
                self._emit(FleetLockLost(act=act, token=held.lock.token))
            if self._acts.pop(DRILL, None) is not None:
                self.end_drill("the lock of the fleet was lost, for the store is silent or somebody else has it")
        # A new lease may have been granted meanwhile.
        await held.lease.end()
