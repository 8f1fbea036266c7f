"""The outlets of an edge's imports: made by the configuration, planned with each publication, looked at each second.

Shares that somebody sets by hand hold at once. Forward, away from the outlet that the configuration names: they are
written first, and published then, so that a node which loses its power never wakes up further than was written.
Backward: published first, for whoever goes back is in a hurry; a write that fails is tried again each second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

from msgspec import structs

from pcgrelay.config import GATEWAY, Address, Config
from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.errors import PcgrelayError
from pcgrelay.figures import OutletFigures
from pcgrelay.gateway.edge_services import EdgeServices
from pcgrelay.gateway.exercises import Exercises
from pcgrelay.gateway.governors import Decider, Governed, ShareGovernor
from pcgrelay.gateway.outlet_watch import OutletWatch
from pcgrelay.gateway.prepared import Prepared
from pcgrelay.gateway.role import NodeParts
from pcgrelay.gateway.tasks import spawn
from pcgrelay.handover.node import NodeHandover, OutletHandover, OutletsHandover
from pcgrelay.log.events import Record, TablesRefused
from pcgrelay.log.outlet_events import StateUnreadable, StateUnwritten
from pcgrelay.model import ServiceName
from pcgrelay.policy.in_force import has_ended
from pcgrelay.services.outlet_meter import OutletMeter
from pcgrelay.services.outlet_plan import OutletPlan
from pcgrelay.services.outlets import DirectOutlet, ImportOutlets
from pcgrelay.services.services import Imported
from pcgrelay.services.shares import NAME, OutletsState, Shares
from pcgrelay.services.targets import Target
from pcgrelay.state.file import Found

# Meters that are read in one turn of the clock; where there are more, each has its turn.
READ_AT_ONCE = 32


class EdgeOutlets:
    """The outlets of one edge."""

    def __init__(self, node: NodeParts, services: EdgeServices, changed: Callable[[], None]) -> None:
        """changed is called when a target has other addresses or another health, and when time changes a plan."""
        self.shares = Shares()
        self.governors: list[ShareGovernor] = []  # the first that governs a service decides
        self.is_lost: Callable[[ServiceName], bool] = lambda service: False  # whether its cut-over's file is
        self.watch = OutletWatch(node.emit, node.clock)
        self.exercises = Exercises(node.clock)
        self.reason = ""  # why shares could not be written
        self._node = node
        self._services = services
        self._changed = changed
        self._known: dict[int, ImportOutlets] = {}  # by the import's number
        self._left: dict[int, OutletsHandover] = {}  # by the process before this one, as long as it is not taken up
        self._listeners: tuple[Address, ...] = ()
        self._is_loaded = False
        self._lock = asyncio.Lock()  # around each change of the file
        self._writing: asyncio.Task[None] | None = None
        self._turn = 0

    def with_outlets(self) -> Iterator[tuple[Imported, ImportOutlets]]:
        """Return the imports that have outlets beside the gateway."""
        for imported in self._services.imports:
            if imported.outlets is not None:
                yield imported, imported.outlets

    # -- a configuration ---------------------------------------------------------------------------------------

    async def prepare(self, config: Config, prepared: Prepared) -> None:
        """Look the targets up that are new, beside what runs."""
        known = {
            (imported.settings.service, name): direct
            for imported, outlets in self.with_outlets()
            for name, direct in outlets.directs.items()
        }
        for settings in config.directs:
            key = (settings.service, settings.name)
            old = known.get(key)
            if old is None or not old.target.serves(settings):
                # What it has to say is told of the outlet (`outlet_watch`).
                fresh = prepared.directs[key] = Target(settings, self._changed, _silent)
                if old is not None and old.settings.target == settings.target:
                    fresh.remember(old.target.addresses)
        await asyncio.gather(*(target.settled() for key, target in prepared.directs.items() if key in known))

    def apply(self, config: Config, prepared: Prepared) -> None:
        """Have the outlets that the configuration says."""
        self._load()
        self._listeners = (
            *(listen.address for listen in config.listens),
            *(address for entry in config.imports for address in entry.listeners),
            *(address for export in config.exports for address in export.also),
        )
        # First those that are gone: a new import may have the number of one of them.
        living = [outlets for _, outlets in self.with_outlets()]
        for number in [number for number, outlets in self._known.items() if outlets not in living]:
            self._close(number)
        for imported in self._services.imports:
            self._configure(config, prepared, imported)
        self._left = {}

    def _load(self) -> None:
        """Read the shares, once. Before the first tables there is time for that."""
        if self._is_loaded or self._node.state is None:
            return
        self._is_loaded = True
        self.shares.load(self._node.state.path)
        if self.shares.found in (Found.BEFORE, Found.LOST):
            self._node.emit(StateUnreadable(file=NAME, lost=self.shares.found is Found.LOST))

    def _configure(self, config: Config, prepared: Prepared, imported: Imported) -> None:
        service = imported.settings.service
        settings = config.directs_of(service)
        outlets = imported.outlets
        if outlets is None:
            left = self._left.get(imported.number)
            if not settings and (left is None or all(each.name in ("", GATEWAY) for each in left.outlets)):
                return
            try:
                outlets = ImportOutlets(OutletMeter(self._node.plane))
            except DataPlaneRefused as refused:
                imported.refusal = str(refused)
                self._node.emit(TablesRefused(part=f"import {service.service}", reason=str(refused)))
                return
            imported.outlets = self._known[imported.number] = outlets
            self._take_up(imported.number, outlets)
            if outlets.marking is None:
                outlets.marking = self.shares.state.markings.get(str(service))
        fresh = {name: target for (owner, name), target in prepared.directs.items() if owner == service}
        outlets.configure(settings, config.bearer, fresh)
        self._probe(outlets, self.wanted(imported, outlets))

    def _probe(self, outlets: ImportOutlets, governed: Governed) -> None:
        """Look up and probe the targets that may be used. Over an outlet that is retired not even a probe goes."""
        for direct in outlets.directs.values():
            if direct.settings.name in governed.without:
                direct.left()
            elif direct.task is None:
                direct.task = spawn(direct.target.run(), "target", self._node.emit)

    def _close(self, number: int) -> None:
        outlets = self._known.pop(number)
        for direct in outlets.directs.values():
            direct.left()
        outlets.meter.close()

    async def stop(self) -> None:
        """Look no target up any more, and finish what is being written."""
        for outlets in self._known.values():
            await outlets.stop()
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)

    # -- what is published, and each second --------------------------------------------------------------------

    def replan(self) -> None:
        """Look at each outlet once more, now that the imports were."""
        now, now_ms = self._node.clock.wall(), self._node.clock.monotonic_ms()
        # Of what is written: from what is in force an end is taken only after a reload that is under way.
        over = {(each.service, each.name) for each in self._node.local.written.directs if has_ended(each.paper, now)}
        for imported, outlets in self.with_outlets():
            service = imported.settings.service
            outlets.replan(
                imported.plan,
                imported.marking,
                self.wanted(imported, outlets),
                imported.settings.outlet,
                self._listeners,
                now.date(),
                now_ms,
                {name for name in outlets.names if (service, name) in over},
            )

    def wanted(self, imported: Imported, outlets: ImportOutlets) -> Governed:
        """Return how streams are to be dealt: as a governor says, or by hand, or as the configuration has it."""
        service = imported.settings.service
        for governor in self.governors:
            governed = governor.governs(service)
            if governed is not None:
                by_hand = self.shares.set_since(service, governed.yields_since) if governed.yields_since else None
                return governed if by_hand is None else replace(governed, shares=by_hand, decided_by=Decider.HAND)
        is_lost = self.shares.found is Found.LOST or self.is_lost(service)
        configured = outlets.directs.get(imported.settings.outlet)
        shares = self.shares.wanted(
            service,
            imported.settings.outlet,
            is_supported=configured is None or self._lasts(configured),
            is_lost=is_lost,
        )
        if self.shares.is_set(service):
            return Governed(shares, decided_by=Decider.HAND)
        # Where nobody knows what was set, nothing is added to it.
        exercise = 0.0 if is_lost else imported.settings.exercise
        return Governed(shares, exercise=exercise, decided_by=Decider.CONFIGURATION)

    def why_not_by_hand(self, service: ServiceName) -> str:
        """Return why nobody may set the shares of a service now; empty: anybody may."""
        reasons = (governor.why_not_by_hand(service) for governor in self.governors)
        return next((reason for reason in reasons if reason), "")

    def _lasts(self, direct: DirectOutlet) -> bool:
        until = direct.bearer.supported_until
        return until is None or self._node.clock.wall().date() <= until

    def tick(self) -> None:
        """Once a second: read meters, tell what fails, publish what time alone has changed, write what is behind."""
        found = list(self.with_outlets())
        now_ms = self._node.clock.monotonic_ms()
        for step in range(min(len(found), READ_AT_ONCE)):
            found[(self._turn + step) % len(found)][1].meter.look(now_ms)
        self._turn = (self._turn + READ_AT_ONCE) % max(len(found), 1)
        before: list[OutletPlan] = [outlets.plan for _, outlets in found]
        for imported, outlets in found:
            self._probe(outlets, self.wanted(imported, outlets))
        self.replan()
        if before != [outlets.plan for _, outlets in found]:
            self._changed()
        self.exercises.look(imported for imported, _ in found)
        if not self._node.draining:
            self.watch.look([imported for imported, _ in found])
        self._let_go()
        self._note_markings()
        if self.shares.is_behind and (self._writing is None or self._writing.done()):
            self._writing = spawn(self._write_again(), "state", self._node.emit)

    def _let_go(self) -> None:
        """Leave an import the gateway alone once the streams of its last direct outlet have ended."""
        for imported, outlets in list(self.with_outlets()):
            if not outlets.directs:
                outlets.meter.look_again()
            if not outlets.directs and not any(outlets.meter.figures(index)[0].active for index in outlets.given_up):
                imported.outlets = None
                self._close(imported.number)
                self._changed()

    def _note_markings(self) -> None:
        """Keep what services are marked, so that a start without the gateway puts none on a network below it."""
        if not self.shares.has_home or self.shares.found is Found.LOST:
            return
        told = {
            str(imported.settings.service): outlets.marking
            for imported, outlets in self.with_outlets()
            if outlets.marking is not None
        }
        state = self.shares.state
        if any(state.markings.get(service) != marking for service, marking in told.items()):
            self.shares.state = structs.replace(state, markings={**state.markings, **told})

    # -- the file ----------------------------------------------------------------------------------------------

    async def write(self, state: OutletsState) -> None:
        """Have the file say this, which does not hold yet; PcgrelayError if that cannot be."""
        async with self._lock:
            await self._node.writes.run(self.shares.write, state)
            self.reason = ""

    async def write_held(self) -> str:
        """Write what holds; answers why that failed, or nothing."""
        try:
            await self.write(self.shares.state)
        except PcgrelayError as error:
            if not self.reason:
                self._node.emit(StateUnwritten(reason=str(error)))
            self.reason = str(error)
        return self.reason

    async def forget_shares(self, service: ServiceName) -> None:
        """Have no shares by hand of a service any more: something else decides them from now on."""
        if self.shares.is_set(service):
            self.shares.state = self.shares.without(service)
            await self.write_held()

    async def _write_again(self) -> None:
        await self.write_held()

    # -- a hand-over -------------------------------------------------------------------------------------------

    def to_handover(self) -> tuple[OutletsHandover, ...]:
        """Return the outlets with their figures; the core stands still."""
        found = []
        for imported, outlets in self.with_outlets():
            outlets.meter.look_again()
            found.append(
                OutletsHandover(
                    number=imported.number,
                    outlets=tuple(_outlet_handover(outlets, index) for index in range(len(outlets.names))),
                    marking=outlets.marking,
                    exercised=self.exercises.to_handover(imported.number),
                )
            )
        return tuple(found)

    def restore(self, handover: NodeHandover, prepared: Prepared) -> None:
        """Go on with indices, figures and addresses of the process before; `apply` follows."""
        self._load()
        self.shares.restore(handover.unwritten_shares)
        self._left = {each.number: each for each in handover.outlets}
        names = {each.number: ServiceName.parse(each.service) for each in handover.imports}
        for each in handover.outlets:
            for outlet in each.outlets:
                fresh = prepared.directs.get((names[each.number], outlet.name)) if each.number in names else None
                if fresh is not None and str(fresh.export.target) == outlet.target:
                    # The name service may be away just now.
                    fresh.remember(outlet.addresses)

    def _take_up(self, number: int, outlets: ImportOutlets) -> None:
        left = self._left.get(number)
        if left is None:
            return
        outlets.restore([outlet.name for outlet in left.outlets])
        outlets.marking = left.marking
        self.exercises.restore(number, left.exercised)
        for index, outlet in enumerate(left.outlets[: len(outlets.names)]):
            outlets.meter.restore(index, outlet.real, outlet.shadow)


def _outlet_handover(outlets: ImportOutlets, index: int) -> OutletHandover:
    real, shadow = outlets.meter.figures(index)
    direct = outlets.directs.get(outlets.name_of(index))
    return OutletHandover(
        name=outlets.name_of(index),
        real=real.minus(OutletFigures(active=real.active)),
        shadow=shadow,
        target="" if direct is None else str(direct.settings.target),
        addresses=() if direct is None else direct.target.addresses,
    )


def _silent(record: Record) -> None:
    """Report nothing."""
