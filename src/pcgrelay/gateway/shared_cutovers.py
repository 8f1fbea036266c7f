"""Cut-overs that edges of one organisation share, through the store of the fleet.

What the store says goes to `CutoverSharing` and is in force with the next look, which follows at once. What this edge
tells (a step forward while it has the seat, a step back, its figures) is written by one task. The keys are

    cutover/ORGANISATION/SERVICE/state     the newest decision
    cutover/ORGANISATION/SERVICE/seat      who decides, under a lease of two seconds
    counts/ORGANISATION/NODE/cutover/SERVICE    what one edge has counted, under the same lease
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec
from msgspec import Struct

from pcgrelay.cutover import shared
from pcgrelay.cutover.phases import Phase
from pcgrelay.cutover.shared import Joining, Mine, SharedState, Write
from pcgrelay.cutover.shared_figures import EdgeFigures
from pcgrelay.errors import PcgrelayError, RuleProblem, RunError
from pcgrelay.fleet.client import Put, StoreClient
from pcgrelay.fleet.errors import UNREACHABLE, StoreProblem, StoreSilent
from pcgrelay.fleet.follower import Changed, Follower
from pcgrelay.fleet.lease import KeptLease
from pcgrelay.fleet.values import COUNTS, CUTOVER, SignedValue, ValueRefused, open_value
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.cutover import Cutover
from pcgrelay.gateway.cutover_looks import Forward
from pcgrelay.gateway.cutover_sharing import CutoverSharing
from pcgrelay.gateway.role import NodeParts
from pcgrelay.gateway.tasks import spawn
from pcgrelay.log.events import Failure

T = TypeVar("T")

SEAT_TTL_S = 2
WORK_EVERY_S = 0.25
FIGURES_EVERY_S = 1.0
# So long a start waits for the seat that another edge is about to give up.
SEAT_WAIT_S = 4.0
# And keeps it until its state is written.
START_MOST_S = 20.0
SERVICES_MOST = 256
DECIDING = frozenset({Phase.SOAKING, Phase.PAUSED})


class SharedStore(Protocol):
    """The store of the fleet, as a node has it."""

    @property
    def client(self) -> StoreClient | None:
        """None: the configuration names no store, or the node has not begun."""

    @property
    def is_wanted(self) -> bool:
        """Whether the configuration names a store."""

    def follow(self, prefix: str, changed: Changed) -> Follower:
        """Follow the keys below a prefix, from the start of the node on."""

    def sign(self, key: str, body: bytes, epoch: int) -> bytes:
        """Return the value of a key, signed by this node."""


class Seat(Struct, frozen=True, kw_only=True):
    """Who decides a service's cut-over."""

    node: str


@dataclass(slots=True)
class _Seen:
    """What the store says of a service, whether or not this edge moves it."""

    state: SharedState | None = None
    revision: int = 0
    decider: str = ""


class SharedCutovers:
    """All of them at one edge. Everything is called from the event loop."""

    def __init__(
        self,
        store: SharedStore,
        node: NodeParts,
        cutovers: Callable[[], Iterator[Cutover]],
        look: Callable[[Cutover], None],
    ) -> None:
        """look: called with a cut-over of which the store has said something new."""
        self.refused: Counter[str] = Counter()  # records that were not taken, by reason
        self._store, self._node, self._clock, self._emit = store, node, node.clock, node.emit
        self._cutovers, self._look = cutovers, look
        self._id = node.local.config.node.id
        self._seen: dict[str, _Seen] = {}
        self._published: dict[str, tuple[float, bytes]] = {}
        self._number = 0
        self._client: StoreClient | None = None
        self._lease: KeptLease | None = None
        self._leasing: asyncio.Task[None] | None = None
        self._working: asyncio.Task[None] | None = None
        self._work = asyncio.Event()
        store.follow(f"{CUTOVER}/{self._id.organisation}/", self._state_changed)
        store.follow(f"{COUNTS}/{self._id.organisation}/", self._count_changed)

    def apply(self) -> None:
        """Share with the others if the configuration names a store; else each edge goes by itself."""
        if self._working is None:
            self._working = spawn(self._run(), "cutover", self._emit)
        for cutover in self._cutovers():
            self.attach(cutover)

    async def stop(self) -> None:
        """End it. Another edge decides at once."""
        tasks = [task for task in (self._working, self._leasing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._lease is not None:
            await self._lease.end()

    def _use(self, client: StoreClient | None) -> None:
        """Keep a lease at the store that there is now."""
        if client is self._client:
            return
        if self._leasing is not None:
            self._leasing.cancel()
        self._client, self._lease, self._leasing = client, None, None
        self._forget_seats()
        if client is not None:
            self._lease = KeptLease(client, self._clock, SEAT_TTL_S, self._lease_renewed)
            self._leasing = spawn(self._lease.run(), "cutover", self._emit)

    # -- what the store says -------------------------------------------------------------------------------------

    def attach(self, cutover: Cutover) -> None:
        """Have a cut-over share, from what is kept of it and from what the store has said, or go by itself."""
        if not self._store.is_wanted:
            cutover.share(None)
            return
        sharing = cutover.sharing or CutoverSharing(str(self._id), cutover.plan, cutover.state.shared)
        cutover.share(sharing)
        seen = self._seen.get(cutover.service)
        if seen is not None:
            self._take(sharing, seen)

    def _state_changed(self, key: str, value: SignedValue | None) -> None:
        service, _, kind = key.removeprefix(f"{CUTOVER}/{self._id.organisation}/").rpartition("/")
        if service not in self._seen and len(self._seen) >= SERVICES_MOST:
            return
        seen = self._seen.setdefault(service, _Seen())
        if kind == "seat":
            holder = None if value is None else _decoded(value.body, Seat)
            seen.decider = "" if holder is None or value is None else str(value.signer)
        elif kind == "state":
            seen.state = None if value is None else _decoded(value.body, SharedState)
            seen.revision = 0 if value is None else value.revision
        self._tell_cutover(service, seen)

    def _tell_cutover(self, service: str, seen: _Seen) -> None:
        for cutover in self._cutovers():
            if cutover.service == service and cutover.sharing is not None:
                self._take(cutover.sharing, seen)
                self._look(cutover)
                self._work.set()

    def _take(self, sharing: CutoverSharing, seen: _Seen) -> None:
        sharing.decider = seen.decider
        known, why = shared.take(sharing.known, sharing.plan.service, seen.state, seen.revision, self._now_s())
        if why is not None:
            self.refused[why.value] += 1
        sharing.known = known
        sharing.mine = shared.settle(sharing.mine, known)

    def _count_changed(self, key: str, value: SignedValue | None) -> None:
        node, _, rest = key.removeprefix(f"{COUNTS}/{self._id.organisation}/").partition("/")
        kind, _, service = rest.partition("/")
        if kind != "cutover" or node == self._id.name:
            return
        figures = None if value is None else _decoded(value.body, EdgeFigures)
        for cutover in self._cutovers():
            sharing = cutover.sharing
            if cutover.service != service or sharing is None:
                continue
            if figures is None:
                sharing.others.lose(node)
            elif (figures.service, figures.plan_sha256) == (service, cutover.state.plan_sha256):
                sharing.others.see(node, figures)

    # -- what is told --------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(WORK_EVERY_S):
                    await self._work.wait()
            except TimeoutError:
                pass
            self._work.clear()
            self._use(self._store.client)
            for cutover in list(self._cutovers()):
                if cutover.sharing is not None:
                    try:
                        await self._tend(cutover, cutover.sharing)
                    except StoreProblem:
                        continue
                    except PcgrelayError as error:
                        self._emit(Failure(where="cutover", error=type(error).__name__))

    async def _tend(self, cutover: Cutover, sharing: CutoverSharing) -> None:
        self._know_silence(sharing)
        if self._client is None or self._lease is None:
            return
        if self._now_s() < sharing.starts_until_s:
            return
        if not sharing.is_joined:
            await self._leave_seat(sharing, self._lease)
            return
        write = shared.to_tell(sharing.mine, sharing.known, sharing.node)
        if write is not None:
            await self._write(cutover, sharing, write)
        if cutover.phase in DECIDING and not self._node.draining:
            await self._keep_seat(sharing, self._lease)
            await self._publish(cutover, sharing, self._lease)
        else:
            await self._leave_seat(sharing, self._lease)

    def _know_silence(self, sharing: CutoverSharing) -> None:
        client = self._client
        live = client is not None and client.state.live
        since_ms = self._node.started_ms if client is None else client.state.since_ms
        sharing.silent_since_s = None if live else since_ms / 1_000
        if self._lease is None or not self._lease.is_held():
            sharing.seat = 0

    @property
    def _there(self) -> StoreClient:
        """The store. StoreSilent: there is none yet."""
        client = self._store.client
        if client is None:
            raise StoreSilent(UNREACHABLE)
        return client

    async def _write(self, cutover: Cutover, sharing: CutoverSharing, write: Write) -> bool:
        """Write a record if the store still has what is known; if it has not, look what it has. StoreProblem."""
        key = self._key(sharing.plan.service, "state")
        created = {self._key(sharing.plan.service, "seat"): write.seat} if write.seat else {}
        value = self._store.sign(key, msgspec.msgpack.encode(write.record), write.record.epoch)
        revision = await self._there.swap(created, {key: write.revision}, [Put(key, value)])
        if revision:
            self._learn(cutover, sharing, write.record, revision)
            return True
        if write.seat:
            sharing.seat = 0
        await self._load(cutover, sharing)
        return False

    async def _load(self, cutover: Cutover | None, sharing: CutoverSharing) -> None:
        """Take what the majority of the store has now. StoreProblem."""
        state, revision = await self._found(sharing.plan.service)
        self._learn(cutover, sharing, state, revision)

    async def _found(self, service: str) -> tuple[SharedState | None, int]:
        key = self._key(service, "state")
        found = await self._there.get(key)
        if found is None:
            return None, 0
        try:
            value = open_value(key, found.value, found.revision, self._node.local)
        except ValueRefused as refused:
            self.refused[refused.reason] += 1
            return None, found.revision
        return _decoded(value.body, SharedState), found.revision

    def _learn(
        self, cutover: Cutover | None, sharing: CutoverSharing, state: SharedState | None, revision: int
    ) -> None:
        seen = self._seen.setdefault(sharing.plan.service, _Seen())
        seen.state, seen.revision = state, revision
        self._take(sharing, seen)
        if cutover is not None:
            self._look(cutover)

    # -- the seat ------------------------------------------------------------------------------------------------

    async def _lease_renewed(self, lease: int) -> None:
        # The seats of the lease before are gone with it; `_keep_seat` claims what is free.
        self._forget_seats()

    def _forget_seats(self) -> None:
        for cutover in self._cutovers():
            if cutover.sharing is not None:
                cutover.sharing.seat = 0
        self._published.clear()

    async def _keep_seat(self, sharing: CutoverSharing, lease: KeptLease) -> None:
        """Claim the seat if nobody has it. StoreProblem."""
        if sharing.seat or sharing.decider not in ("", sharing.node) or not lease.is_held():
            return
        key = self._key(sharing.plan.service, "seat")
        if sharing.decider == sharing.node:
            # Claimed by this process with an answer that was lost, or by the one before it, whose lease ends soon.
            found = await self._there.get(key)
            if found is not None:
                sharing.seat = found.created if found.lease == lease.number else 0
                return
        value = self._store.sign(key, msgspec.msgpack.encode(Seat(node=sharing.node)), 0)
        number = lease.number
        token = await self._there.swap({key: 0}, puts=[Put(key, value, number)])
        if token and lease.number == number:
            sharing.seat, sharing.decider = token, sharing.node

    async def _leave_seat(self, sharing: CutoverSharing, lease: KeptLease) -> None:
        """Give the seat back, if it is this edge's. StoreProblem."""
        token, sharing.seat = sharing.seat, 0
        key = self._key(sharing.plan.service, "seat")
        if not token and sharing.decider == sharing.node:
            # It was given up in mind while the lease could not be counted on, and the lease lives: nobody else gets it.
            found = await self._there.get(key)
            token = found.created if found is not None and found.lease == lease.number else 0
        if token:
            await self._there.swap({key: token}, deletes=[key])

    async def _publish(self, cutover: Cutover, sharing: CutoverSharing, lease: KeptLease) -> None:
        """Publish what this edge has counted, once a second if it has changed. StoreProblem."""
        now_s, service = self._now_s(), sharing.plan.service
        last_s, last = self._published.get(service, (0.0, b""))
        if now_s - last_s < FIGURES_EVERY_S or not lease.is_held():
            return
        body = msgspec.msgpack.encode(sharing.figures(cutover.state, held=cutover.is_held))
        if body == last:
            return
        # Also the process after this one writes what is newer.
        self._number = max(self._number + 1, round(self._clock.wall().timestamp() * 1_000))
        key = f"{COUNTS}/{self._id.organisation}/{self._id.name}/cutover/{service}"
        await self._there.put(key, self._store.sign(key, body, self._number), lease.number)
        self._published[service] = now_s, body

    # -- what people ask for, and steps --------------------------------------------------------------------------

    async def prepare_start(self, cutover: Cutover) -> None:
        """What a start needs: the store, and for a new run the seat. RunError, RuleProblem: it cannot be."""
        sharing = cutover.sharing
        if sharing is None:
            return
        await self._load(None, sharing)
        what = self._joining(cutover, sharing)
        record = sharing.known.record
        if what is Joining.OTHER_PLAN and record is not None:
            raise RuleProblem(
                f"{record.node} moves {sharing.plan.service} by another plan (SHA-256 {record.plan_sha256[:12]}); all "
                "edges of an organisation move a service by one."
            )
        if what is Joining.RUNS and cutover.phase is not Phase.PLANNED:
            raise RunError("What happened here is being told to the other edges; try again in a moment.")
        if what is Joining.NEW_RUN:
            sharing.starts_until_s = self._now_s() + START_MOST_S
            try:
                async with asyncio.timeout(SEAT_WAIT_S):
                    while not sharing.seat:
                        if self._lease is not None:
                            await self._keep_seat(sharing, self._lease)
                        await asyncio.sleep(WORK_EVERY_S / 2)
            except TimeoutError:
                who = f"{sharing.decider} decides" if sharing.decider else "another edge decides"
                raise RuleProblem(f"{who} {sharing.plan.service} just now; start it there, or try again.") from None

    def _joining(self, cutover: Cutover, sharing: CutoverSharing) -> Joining:
        return shared.joining(sharing.known, sharing.mine.run, cutover.state.plan_sha256)

    async def tell(self, cutover: Cutover, forward: Forward) -> Mine | None:
        """Write a step forward to the store before it is in force here; the part of this edge after it.

        StoreProblem, RunError: it was not written, and is not to be in force.
        """
        sharing = cutover.sharing
        if sharing is None or forward.is_led or forward.state.progress.phase is Phase.RETIRED:
            return None
        is_start = forward.answer.decisions and forward.answer.decisions[-1].what == "started"
        if not is_start and not sharing.is_joined:
            return None
        run = sharing.mine.run
        if is_start:
            record = sharing.known.record
            if record is not None and self._joining(cutover, sharing) is not Joining.NEW_RUN:
                return Mine(record.run)
            run = 1 if record is None else record.run + 1
        if not sharing.seat:
            raise RunError("Another edge of the organisation decides.")
        if not await self._write(cutover, sharing, sharing.step(forward.state, run)):
            raise RunError("The other edges of the organisation have decided something else meanwhile.")
        return Mine(run)

    async def resume(self, cutover: Cutover, actor: Actor) -> bool:
        """End a pause for all edges, and here with it; whether it was one of all. StoreProblem, RunError: it stays."""
        sharing = cutover.sharing
        write = None if sharing is None else sharing.resume(actor.by, actor.reason, self._clock.wall())
        if sharing is None or write is None:
            return False
        if not await self._write(cutover, sharing, write):
            raise RunError("The other edges of the organisation have decided something else meanwhile.")
        return True

    # -- parts ---------------------------------------------------------------------------------------------------

    def _key(self, service: str, what: str) -> str:
        return f"{CUTOVER}/{self._id.organisation}/{service}/{what}"

    def _now_s(self) -> float:
        return self._clock.monotonic_ms() / 1_000


def _decoded(body: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return None
