"""The store of a fleet as one node uses it: its report under a lease, orders to it, and tables that it follows.

Nothing of the node waits for the store. Without `[fleet]` nothing here runs.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from pcgrelay import __version__
from pcgrelay.clock import Clock
from pcgrelay.config import FleetSettings
from pcgrelay.errors import PcgrelayError
from pcgrelay.fleet import errors, values
from pcgrelay.fleet.client import StoreAccess, StoreClient, StoreState
from pcgrelay.fleet.errors import StoreProblem
from pcgrelay.fleet.follower import Changed, Follower
from pcgrelay.fleet.lease import KeptLease
from pcgrelay.fleet.lock import is_token, lock_key
from pcgrelay.fleet.report import UPGRADE, NodeReport, Order, order_key, read_body
from pcgrelay.fleet.values import SignedValue, ValueRefused, node_key, open_value, root_of, signing_as
from pcgrelay.gateway.change_lock import ChangeLock
from pcgrelay.gateway.tasks import spawn
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.identity.store_tls import StoreCredentials, store_context
from pcgrelay.log.events import Emit
from pcgrelay.log.fleet_events import (
    FleetOrder,
    FleetOrderRefused,
    FleetStoreLive,
    FleetStoreRefuses,
    FleetStoreSilent,
)

LOOK_S = 1.0
FIGURES_S = 10.0  # figures alone are written so often
YOUNG_S = 60.0  # a node that has just begun is looked at each LOOK_S: somebody may wait until it is ready
WANTED_MS = 60_000  # the table of nodes is followed for so long after somebody has asked for it


@dataclass(frozen=True, slots=True)
class Facts:
    """What a node reports of itself, and `gateway` does not know."""

    condition: str
    ready: bool
    streams: int


class NodeFleet:
    """The store as one node uses it. Its methods are called from the event loop."""

    def __init__(self, local: LocalIdentity, emit: Emit, clock: Clock) -> None:
        self.refused: Counter[str] = Counter()
        # Set by the daemon before the node begins: what is reported, whether it drains, and how this process is
        # replaced, which returns why it was not.
        self.facts: Callable[[], Facts] = lambda: Facts("", False, 0)
        self.draining: Callable[[], bool] = lambda: False
        self.upgrade: Callable[[], Awaitable[str]] | None = None
        self.process = secrets.token_hex(8)
        self.client: StoreClient | None = None
        self._local = local
        self._emit = emit
        self._clock = clock
        self._in_use: tuple[FleetSettings | None, StoreCredentials | None] = (None, None)
        self._is_started = False
        self._followers: list[Follower] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._lease: KeptLease | None = None
        self._reported: NodeReport | None = None
        self._reported_at = 0.0
        self._facts: Facts | None = None
        self._facts_at = self._began = time.monotonic()
        self._used_s = (time.process_time(), time.monotonic())
        self._load_percent = 0
        self._epoch = 0
        self._order: tuple[int, str] = (0, "")
        self._obeying: asyncio.Task[None] | None = None
        self._wanted_ms: int | None = None
        self.changes = ChangeLock(local, lambda: self.client, self.refused, emit, clock)
        own = local.config.node.id
        self.follow(order_key(own).rpartition("/")[0] + "/", self._ordered)
        self.nodes = self._follower(f"{values.NODES}/", _nothing)
        self.locks = self._follower(f"{values.LOCKS}/{own.organisation}/", _nothing)
        self._shown_tasks: list[asyncio.Task[None]] = []

    # -- what others use ---------------------------------------------------------------------------------------

    def follow(self, prefix: str, changed: Changed) -> Follower:
        """Follow the keys below a prefix, from the start of the node on. To be called before that."""
        follower = self._follower(prefix, changed)
        self._followers.append(follower)
        return follower

    @property
    def is_wanted(self) -> bool:
        """Whether the configuration names a store."""
        return self._local.written.fleet is not None

    @property
    def state(self) -> StoreState | None:
        """Whether the store is heard of; None: there is none."""
        return None if self.client is None else self.client.state

    def sign(self, key: str, body: bytes, epoch: int) -> bytes:
        """Return a value for a key, signed by this node."""
        return signing_as(self._local)(key, body, epoch)

    def want(self) -> None:
        """Follow the nodes of the realm for a while: somebody looks."""
        self._wanted_ms = self._clock.monotonic_ms()
        if self.client is not None and not self._shown_tasks:
            self._shown_tasks = [spawn(each.run(), "fleet", self._emit) for each in (self.nodes, self.locks)]

    # -- life --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin: the node is ready."""
        self._is_started = True
        self.apply()

    def apply(self) -> None:
        """Use the store that the configuration names, if that is another one, or the files for it are others."""
        if not self._is_started:
            return
        settings = self._local.written.fleet
        try:
            wanted = (settings, self._local.store_credentials)
            if wanted == self._in_use:
                return
            access = None if settings is None or wanted[1] is None else self._access(settings, wanted[1])
        except PcgrelayError:
            # `check` has found the files good, and they have changed since. A node that was taken over must go on.
            wanted, access = (settings, None), None
            self._emit(FleetStoreSilent(reason=errors.TLS))
        self._in_use = wanted
        self._end()
        if access is None:
            return
        client = self.client = StoreClient(access, self._clock, self._told)
        self._lease = KeptLease(client, self._clock, renewed=self._renewed)
        for follower in (*self._followers, self.nodes, self.locks):
            follower.use(client)
        running = [self._lease.run(), self._report(), *(follower.run() for follower in self._followers)]
        self._tasks = [spawn(each, "fleet", self._emit) for each in running]

    def trust_changed(self) -> None:
        """Judge again what is believed."""
        for follower in self._followers:
            follower.judge_again()
        # These are only shown, and there may be thousands: they are loaded again.
        for follower in (self.nodes, self.locks):
            follower.forget_all()

    def tick(self) -> None:
        """Do what is due once a second."""
        if self._wanted_ms is not None and self._clock.monotonic_ms() - self._wanted_ms > WANTED_MS:
            self._wanted_ms = None
            _cancel(self._shown_tasks)
            self.nodes.forget_all()
            self.locks.forget_all()

    async def stop(self) -> None:
        """End: the node is gone from the store at once, if the store answers."""
        self._is_started = False
        lease, client = self._lease, self.client
        if self._obeying is not None:
            self._obeying.cancel()
        await self.changes.stop()
        tasks = self._end(closes=False)
        await asyncio.gather(*tasks, *self._closing, return_exceptions=True)
        if lease is not None:
            await lease.end()
        if client is not None:
            await client.close()

    def _end(self, *, closes: bool = True) -> list[asyncio.Task[None]]:
        """Stop using the store. closes: its connections too, beside the event loop."""
        tasks = [*self._tasks, *self._shown_tasks]
        _cancel(self._tasks)
        _cancel(self._shown_tasks)
        client, self.client, self._lease, self._reported = self.client, None, None, None
        if closes and client is not None:
            # Not among the others: those are cancelled.
            closing = spawn(client.close(), "fleet", self._emit)
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        return tasks

    def _access(self, settings: FleetSettings, credentials: StoreCredentials) -> StoreAccess:
        return StoreAccess(
            endpoints=settings.endpoints,
            root=root_of(self._local.config.node.id.realm),
            context=store_context(credentials),
            user=settings.user,
            password=credentials.password,
        )

    def _follower(self, prefix: str, changed: Changed) -> Follower:
        return Follower(None, prefix, self._local, self._clock, changed, self.refused)

    def _told(self, state: StoreState) -> None:
        if not state.live:
            self._emit(FleetStoreSilent(reason=state.reason))
        elif state.refused:
            self._emit(FleetStoreRefuses(reason=state.refused))
        else:
            self._emit(FleetStoreLive(silent_ms=self._clock.monotonic_ms() - state.since_ms))

    # -- the own report ----------------------------------------------------------------------------------------

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            lease, report = self._lease, self._made()
            last = self._reported
            is_due = last is None or report.tells_more(last) or time.monotonic() - self._reported_at > FIGURES_S
            if is_due and lease is not None and lease.number:
                try:
                    await self._write(report, lease.number)
                except StoreProblem:
                    continue

    async def _renewed(self, lease: int) -> None:
        await self._write(self._made(), lease)

    async def _write(self, report: NodeReport, lease: int) -> None:
        client, key = self.client, node_key(self._local.config.node.id)
        if client is None:
            return
        if self._epoch == 0:
            # A clock that was set back meanwhile must not make what is written now older than what stands there.
            self._epoch = await self._epoch_there(client, key)
        self._epoch = max(self._epoch + 1, int(self._clock.wall().timestamp() * 1000))
        await client.put(key, self.sign(key, msgspec.msgpack.encode(report), self._epoch), lease)
        self._reported, self._reported_at = report, time.monotonic()

    async def _epoch_there(self, client: StoreClient, key: str) -> int:
        found = await client.get(key)
        if found is None:
            return 1
        try:
            return open_value(key, found.value, found.revision, self._local).epoch
        except ValueRefused:
            return 1

    def _made(self) -> NodeReport:
        now, config = time.monotonic(), self._local.config
        is_young = now - self._began < YOUNG_S or self._order[0] != 0
        if self._facts is None or is_young or now - self._facts_at > FIGURES_S:
            self._facts, self._facts_at = self.facts(), now
            self._load_percent = self._load(now)
        facts = self._facts
        return NodeReport(
            process=self.process,
            role=config.node.role.title,
            version=__version__,
            at_s=round(self._clock.wall().timestamp(), 1),
            condition="draining" if self.draining() else facts.condition,
            ready=facts.ready and not self.draining(),
            draining=self.draining(),
            streams=facts.streams,
            load_percent=self._load_percent,
            certificate_end_s=int(self._local.credentials.leaf.not_valid_after_utc.timestamp()),
            order=self._order[0],
            order_reason=self._order[1],
        )

    def _load(self, now: float) -> int:
        used, at = self._used_s
        self._used_s = (time.process_time(), now)
        return max(0, round(100 * (self._used_s[0] - used) / max(now - at, 0.1)))

    # -- orders ------------------------------------------------------------------------------------------------

    def _ordered(self, key: str, value: SignedValue | None) -> None:
        order = None if value is None else read_body(value, Order)
        if value is None or key != order_key(self._local.config.node.id):
            return
        if order is None or order.act != UPGRADE:
            self.refused["order_malformed"] += 1
            return
        # One for another process is done, or comes from somebody who takes this one for a process that is gone.
        if order.process != self.process or order.token == self._order[0]:
            return
        if self._obeying is not None and not self._obeying.done():
            self.refused["order_busy"] += 1
            return
        self._obeying = spawn(self._obey(order, value.signer.dotted), "fleet", self._emit)

    async def _obey(self, order: Order, by: str) -> None:
        try:
            if self.client is None or self.upgrade is None:
                return
            if not await is_token(self.client, lock_key(self._local.config.node.id.organisation), order.token):
                self.refused["order_stale"] += 1
                self._refuse(order, by, "the lock is held by somebody else, or by nobody")
                return
        except StoreProblem:
            # Nobody can say whether the lock is still held: it is not done.
            self.refused["order_unproved"] += 1
            self._refuse(order, by, "the store does not say whether the lock is held")
            return
        self._emit(FleetOrder(act=order.act, by=by, token=order.token))
        try:
            reason = await self.upgrade()
        except PcgrelayError as error:
            reason = str(error)
        # Else another process goes on, and this one is gone.
        self._refuse(order, by, reason or "it was not done")

    def _refuse(self, order: Order, by: str, reason: str) -> None:
        self._order = (order.token, reason[:300])
        self._emit(FleetOrderRefused(act=order.act, by=by, token=order.token, reason=reason))


def _nothing(key: str, value: SignedValue | None) -> None:
    """What follows a table that is only shown."""


def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    tasks.clear()
