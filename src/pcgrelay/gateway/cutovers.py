"""The cut-overs of an edge: looked at four times a second, kept in files, and asked by people.

Forward: persist, then publish. Backward: publish, then persist. So no crash ever wakes up further forward than was
written, and nobody who goes back waits for a disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec import structs

from pcgrelay.cutover.alarm import Pair
from pcgrelay.cutover.canary import Now
from pcgrelay.cutover.fitting import fits
from pcgrelay.cutover.phases import Event, Phase, after_restart
from pcgrelay.cutover.plan import Plan, parse_plan
from pcgrelay.cutover.requests import Request
from pcgrelay.cutover.state import CutoverState, KeptDecision
from pcgrelay.dataplane.events import SetupEnded
from pcgrelay.errors import ConfigError, PcgrelayError, RuleProblem, RunError
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.cutover import Cutover
from pcgrelay.gateway.cutover_files import CutoverFiles
from pcgrelay.gateway.cutover_looks import Forward, Look, Seen
from pcgrelay.gateway.days import Days
from pcgrelay.gateway.edge_outlets import EdgeOutlets
from pcgrelay.gateway.edge_services import EdgeServices
from pcgrelay.gateway.governors import Governed
from pcgrelay.gateway.nudges import Nudges
from pcgrelay.gateway.role import NodeParts
from pcgrelay.gateway.shadow_pairs import ShadowPairs
from pcgrelay.gateway.shadows import Shadows
from pcgrelay.gateway.shared_cutovers import SharedCutovers, SharedStore
from pcgrelay.gateway.tasks import spawn
from pcgrelay.handover.node import CutoverHandover
from pcgrelay.log.cutover_events import DECISIONS, CutoverRecord, CutoverRefused
from pcgrelay.log.events import Failure
from pcgrelay.log.outlet_events import StateUnreadable, StateUnwritten
from pcgrelay.model import ServiceName
from pcgrelay.services.publisher import TablePublisher

LOOK_EVERY_S = 0.25
# What is not under way can wait.
IDLE_LOOKS = 4
WRITE_EVERY_S = 60.0
WRITE_AGAIN_S = 1.0
# So long whoever asks waits for the disk.
STEP_MOST_S = 20.0
CUTOVERS_MOST = 256
FORWARD_EVENTS = frozenset({Event.START, Event.STEP, Event.RETIRE})
# What speaks against an outlet, as the core names it.
SPEAKS = frozenset({"refused", "silent", "denied"})
BREAKS = frozenset({"early", "cut"})


@dataclass(slots=True)
class _Kept:
    """One cut-over, and what is done about it."""

    cutover: Cutover
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # around each write
    writing: asyncio.Task[None] | None = None
    wrote_s: float = 0.0
    failed_s: float | None = None
    stepping: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class Requested:
    """What came of a request."""

    decisions: tuple[KeptDecision, ...]
    took_ms: int
    warnings: tuple[str, ...] = ()


class Cutovers:
    """All cut-overs of one edge. It decides the shares of their services."""

    def __init__(
        self,
        node: NodeParts,
        services: EdgeServices,
        outlets: EdgeOutlets,
        publisher: TablePublisher,
        days: Days,
        is_starting: Callable[[], bool],
    ) -> None:
        self.shadows = Shadows(node.plane, node.clock)
        self.nudges = Nudges(node, self.all)
        self.lost: dict[str, str] = {}  # services whose file cannot be read, and which file
        self._node = node
        self._services = services
        self._outlets = outlets
        self._publisher = publisher
        self._days = days
        self._is_starting = is_starting
        self._kept: dict[str, _Kept] = {}
        self._files: CutoverFiles | None = None
        self._left: dict[str, CutoverState] = {}  # by the process before this one
        self._pairs = ShadowPairs(self.shadows, node, self._paired)
        self._task: asyncio.Task[None] | None = None
        self._turn = 0
        self.shared: SharedCutovers | None = None  # with other edges of the organisation, through the fleet's store

    # -- what is there -----------------------------------------------------------------------------------------

    def get(self, service: ServiceName | str) -> Cutover | None:
        kept = self._kept.get(str(service))
        return None if kept is None else kept.cutover

    def all(self) -> Iterator[Cutover]:
        for kept in self._kept.values():
            yield kept.cutover

    @property
    def has_home(self) -> bool:
        return self._files is not None

    def find(self, subject: str) -> Cutover:
        """The cut-over of a service by its name, or by its first part if only one has it. RunError: there is none."""
        names = [name for name in self._kept if subject in (name, name.partition("@")[0])]
        if subject in self._kept or len(names) == 1:
            return self._kept[subject if subject in self._kept else names[0]].cutover
        if names:
            raise RunError(f"{subject} may be one of several; write its whole name: {', '.join(sorted(names))}.")
        if subject in self.lost:
            raise RunError(f"The cut-over of {subject} is lost: {self.lost[subject]} cannot be read; start it again.")
        known = f"there are: {', '.join(sorted(self._kept))}" if self._kept else "there are none"
        raise RunError(f"{subject} has no cut-over here; {known}. See pcgrelay cutover plan --help.")

    def not_quiet(self, plan: Plan) -> str | None:
        """Why the old outlet of a plan is not proven quiet; nothing if it is."""
        service = ServiceName.parse(plan.service)
        return self._days.why_not_quiet(service, plan.old, plan.quiet_days, self._days.today())

    def quiet_days(self, plan: Plan) -> int:
        """How many days of quiet of the old outlet are proven."""
        return self._days.quiet(ServiceName.parse(plan.service), plan.old).days

    # -- governing ---------------------------------------------------------------------------------------------

    def governs(self, service: ServiceName) -> Governed | None:
        """What a cut-over decides of a service's new streams."""
        kept = self._kept.get(str(service))
        return None if kept is None else kept.cutover.governed()

    def why_not_by_hand(self, service: ServiceName) -> str | None:
        """Why shares are not to be set by hand."""
        cutover = self.get(service)
        if cutover is None or cutover.phase in (Phase.PLANNED, Phase.RETIRED):
            return None
        return (
            f"the cut-over of {service} is {cutover.phase.value} and decides its shares; "
            f"see pcgrelay cutover status {service}, or go back with pcgrelay cutover back"
        )

    # -- a configuration ---------------------------------------------------------------------------------------

    def apply(self) -> None:
        """Go on with what is kept, for the imports that there are now."""
        if self._files is None and self._node.state is not None:
            self._files = CutoverFiles(self._node.state.path)
            self._load(self._files)
        imports = {str(each.settings.service): each for each in self._services.imports}
        for service, kept in self._kept.items():
            imported = imports.get(service)
            if kept.cutover.imported is not imported:
                kept.cutover.imported = imported
                kept.cutover.begin()
        if self.shared is not None:
            self.shared.apply()
        if self._task is None:
            self._task = spawn(self._run(), "cutover", self._node.emit)

    def _load(self, files: CutoverFiles) -> None:
        found, self.lost = files.read()
        for file in self.lost.values():
            self._node.emit(StateUnreadable(file=file, lost=True))
        for service, state in {**found, **self._left}.items():
            is_left = service in self._left
            try:
                plan, _ = parse_plan(state.plan_text, Path("plan"))
            except ConfigError:
                # Of a version that knew more.
                plan = None
            if plan is None or not fits(plan, state):
                self.lost[service] = files.name_of(service)
                self._node.emit(StateUnreadable(file=files.name_of(service), lost=True))
                continue
            if not is_left:
                state = structs.replace(state, progress=after_restart(state.progress))
            cutover = self._add(plan, state)
            cutover.written = found.get(service)
        self._left = {}

    def _add(self, plan: Plan, state: CutoverState) -> Cutover:
        imported = next((each for each in self._services.imports if str(each.settings.service) == plan.service), None)
        cutover = Cutover(plan, state, imported, self._node.local.config.policy.probe_interval_ms / 1_000)
        cutover.begin()
        cutover.resume_shares()
        if self.shared is not None:
            self.shared.attach(cutover)
        # The file, and what is being written to it, stay.
        self._kept.setdefault(plan.service, _Kept(cutover)).cutover = cutover
        self.lost.pop(plan.service, None)
        return cutover

    async def stop(self) -> None:
        """Look no more, and finish what is being written."""
        tasks = [task for kept in self._kept.values() for task in (kept.writing, kept.stepping) if task is not None]
        if self._task is not None:
            self._task.cancel()
            tasks.append(self._task)
        await self._pairs.stop()
        if self.shared is not None:
            await self.shared.stop()
        await asyncio.gather(*tasks, return_exceptions=True)

    def share(self, store: SharedStore) -> None:
        """Share cut-overs with other edges of the organisation where a store is configured; before the node begins."""
        self.shared = SharedCutovers(store, self._node, self.all, self._look_now)
        self._node.refused.register("shared_cutovers", self.shared.refused)

    def _look_now(self, cutover: Cutover) -> None:
        """Look at one of which the other edges have said something."""
        kept = self._kept.get(cutover.service)
        if kept is not None and kept.cutover is cutover and cutover.outlets is not None and not self._node.draining:
            cutover.outlets.meter.look_again()
            self._look(kept)

    # -- looks -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if not self._node.draining:
                self.look_all()

    def look_all(self) -> None:
        """One look at each that is under way, and now and then at the others."""
        self._turn += 1
        for kept in list(self._kept.values()):
            cutover = kept.cutover
            if cutover.outlets is None or not (cutover.is_under_way or self._turn % IDLE_LOOKS == 0):
                continue
            try:
                cutover.outlets.meter.look_again()
                self._look(kept)
                self._pairs.tend(cutover)
                self.nudges.tend(cutover, self._now())
                self._write_when_due(kept)
            except Exception as error:
                # The others are looked at all the same, and this one again in a moment.
                self._node.emit(Failure(where="cutover", error=type(error).__name__))

    def _now(self) -> Now:
        return Now(self._node.clock.wall(), self._node.clock.monotonic_ms() / 1_000)

    def _seen(self, cutover: Cutover) -> Seen:
        retained = 0
        if cutover.is_under_way and cutover.imported is not None:
            figures = self._node.plane.sessions()
            numbers = [route[0] for route in cutover.imported.plan.routes]
            retained = max((figures.get(number, {}).get("retained_bytes", 0) for number in numbers), default=0)
        is_asked = cutover.phase in (Phase.ARRIVED, Phase.QUIET)
        not_quiet = self.not_quiet(cutover.plan) if is_asked else "it has not arrived"
        return Seen(is_starting=self._is_starting(), retained_bytes=retained, not_quiet=not_quiet)

    def _look(self, kept: _Kept, request: Request | None = None, actor: Actor | None = None) -> Look:
        cutover = kept.cutover
        before = cutover.governed()
        look = cutover.look(self._now(), self._seen(cutover), request, actor)
        if look.forward is not None:
            kept.stepping = spawn(self._step(kept, look.forward), "cutover", self._node.emit)
            return look
        if cutover.governed() != before:
            self._publisher.attempt()
        self._tell(cutover, look.decisions)
        if look.decisions:
            self._write_soon(kept)
        return look

    def _paired(self, cutover: Cutover, pair: Pair) -> None:
        """A pair of shadows has ended."""
        kept = self._kept.get(cutover.service)
        if kept is None or kept.cutover is not cutover or cutover.outlets is None:
            return
        cutover.pairs.append(pair)
        if pair.new_failed != pair.old_failed:
            cutover.outlets.meter.look_again()
            self._look(kept)

    def setup_failed(self, event: SetupEnded) -> None:
        """A set-up of an application failed on an outlet, or a stream that was up broke there."""
        for kept in self._kept.values():
            cutover = kept.cutover
            if cutover.imported is None or cutover.imported.number != event.number or cutover.outlets is None:
                continue
            outlet = cutover.outlets.name_of(event.outlet)
            if event.outcome in BREAKS:
                cutover.stream_broke(outlet, event.client)
                continue
            cutover.waited(event.elapsed_us)
            if event.outcome in SPEAKS:
                cutover.setup_failed(outlet, event.client)
                self._pairs.tend(cutover)

    def _tell(self, cutover: Cutover, decisions: tuple[KeptDecision, ...]) -> None:
        for each in decisions:
            kind: type[CutoverRecord] = DECISIONS.get(each.what, CutoverRefused)
            self._node.emit(
                kind(
                    service=cutover.service,
                    phase=each.phase.value,
                    step=each.step + 1,
                    shares=each.shares,
                    sentence=each.sentence,
                    uid=each.uid,
                    by=each.by,
                    reason=each.reason,
                )
            )

    # -- writing -----------------------------------------------------------------------------------------------

    async def _step(self, kept: _Kept, forward: Forward) -> None:
        """Write a step forward, and have it in force then."""
        cutover = kept.cutover
        error: PcgrelayError | None = None
        mine = None
        try:
            if self.shared is not None and cutover.sharing is not None:
                mine = await self.shared.tell(cutover, forward)
                forward.state = structs.replace(forward.state, shared=cutover.sharing.part(mine))
            await self._write(kept, forward.state)
        except PcgrelayError as problem:
            error = problem
        if cutover.sharing is not None:
            cutover.sharing.starts_until_s = 0.0
            cutover.sharing.mine = cutover.sharing.mine if mine is None or error is not None else mine
        decisions = cutover.settle(forward, error)
        self._publisher.attempt()
        self._tell(cutover, decisions)
        if cutover.written is not forward.state or error is not None or not decisions:
            self._write_soon(kept)

    async def _write(self, kept: _Kept, state: CutoverState) -> None:
        """Write a state; PcgrelayError if that cannot be."""
        if self._files is None:
            raise RunError("The node has no folder for state ([node] state).")
        async with kept.lock:
            try:
                await self._node.writes.run(self._files.write, state)
            except PcgrelayError as error:
                if not kept.cutover.reason:
                    self._node.emit(StateUnwritten(reason=str(error)))
                kept.cutover.reason = str(error)
                raise
            kept.cutover.written, kept.cutover.reason = state, ""
            kept.wrote_s = self._now().monotonic_s

    async def write_now(self, cutover: Cutover) -> None:
        """Write what holds; PcgrelayError if that cannot be."""
        await self._write(self._kept[cutover.service], cutover.to_keep())

    def _write_soon(self, kept: _Kept) -> None:
        if self._files is not None and (kept.writing is None or kept.writing.done()):
            kept.writing = spawn(self._write_held(kept), "cutover", self._node.emit)

    async def _write_held(self, kept: _Kept) -> None:
        """Write what holds, until the file has it."""
        while True:
            held = kept.cutover.to_keep()
            try:
                await self._write(kept, held)
            except PcgrelayError:
                # Tried again by the next look, a second later.
                kept.failed_s = self._now().monotonic_s
                return
            kept.failed_s = None
            now = kept.cutover
            if (held.progress.phase, held.progress.step, len(held.decisions)) == (
                now.phase, now.progress.step, len(now.state.decisions),
            ):  # fmt: skip
                return

    def _write_when_due(self, kept: _Kept) -> None:
        now_s = self._now().monotonic_s
        if kept.failed_s is not None and now_s - kept.failed_s < WRITE_AGAIN_S:
            return
        if kept.failed_s is not None or now_s - kept.wrote_s >= WRITE_EVERY_S:
            kept.wrote_s = now_s
            self._write_soon(kept)

    # -- requests ----------------------------------------------------------------------------------------------

    async def request(self, cutover: Cutover, request: Request, actor: Actor) -> Requested:
        """Do what a person asks of a cut-over; RuleProblem if it is refused."""
        kept = self._kept[cutover.service]
        began_ms = self._node.clock.monotonic_ms()
        if request.event in FORWARD_EVENTS:
            await _within(cutover.stepped())
        if cutover.outlets is None:
            raise RunError(f"{cutover.service} is not imported here with outlets; see pcgrelay outlet.")
        if self.shared is not None and request.event is Event.START:
            await self.shared.prepare_start(cutover)
        if self.shared is not None and request.event is Event.RESUME and await self.shared.resume(cutover, actor):
            return Requested(cutover.state.decisions[-1:], self._node.clock.monotonic_ms() - began_ms)
        cutover.outlets.meter.look_again()
        look = self._look(kept, request, actor)
        decisions = look.decisions
        if look.forward is not None:
            await _within(cutover.stepped())
            decisions = tuple(each for each in cutover.state.decisions if each in look.decisions)
            if not decisions:
                reason = cutover.reason or "something has led back meanwhile"
                raise RunError(f"No step forward was taken: {reason.rstrip('.')}.")
        for each in decisions:
            if each.what in ("refused", "nowhere"):
                raise RuleProblem(each.sentence)
        took_ms = self._node.clock.monotonic_ms() - began_ms
        await self._told(kept)
        warnings = (f"It holds, and is not written ({cutover.reason.rstrip('.')}).",) if cutover.reason else ()
        return Requested(decisions, took_ms, warnings)

    async def _told(self, kept: _Kept) -> None:
        """Give what holds a moment to be written, so that whoever asked hears if it is not."""
        if kept.writing is not None:
            await asyncio.wait([kept.writing], timeout=STEP_MOST_S / 4)

    def begin(self, plan: Plan, state: CutoverState) -> Cutover:
        """Have a cut-over with a plan, which `request` starts then."""
        if plan.service not in self._kept and len(self._kept) >= CUTOVERS_MOST:
            raise RunError(f"There are {CUTOVERS_MOST} cut-overs on this node, which is the most.")
        return self._add(plan, state)

    def forget(self, service: str, last: Cutover | None) -> None:
        """Have what was there before `begin`, because the start was refused."""
        kept = self._kept.get(service)
        if kept is None:
            return
        if last is None:
            del self._kept[service]
            self.nudges.forget(service)
        else:
            kept.cutover = last

    # -- a hand-over -------------------------------------------------------------------------------------------

    def to_handover(self) -> tuple[CutoverHandover, ...]:
        """All of them with figures up to now; the core stands still, and the meters were read."""
        found = []
        for service, kept in self._kept.items():
            kept.cutover.count(self._now().monotonic_s)
            found.append(CutoverHandover(service=service, state=msgspec.json.encode(kept.cutover.to_hand())))
        return tuple(found)

    def restore(self, handed: tuple[CutoverHandover, ...]) -> None:
        """Go on with what the process before this one knew; `apply` follows."""
        for each in handed:
            try:
                self._left[each.service] = msgspec.json.decode(each.state, type=CutoverState)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                # Its file has the last minute's state.
                continue


async def _within(waiting: asyncio.Future[None] | object) -> None:
    try:
        async with asyncio.timeout(STEP_MOST_S):
            await waiting  # type: ignore[misc]
    except TimeoutError:
        raise RunError("The disk does not take the state in time; nothing has changed.") from None
