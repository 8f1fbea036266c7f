"""The outlets of one import: the gateway, and those that [[direct]] names.

An outlet keeps its index through every reload, since live streams and figures hang on it. An index that is given up is
the last to be used again.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from random import SystemRandom

from pcgrelay.config import GATEWAY, Address, BearerSettings, DirectSettings
from pcgrelay.cutover.slots import Dealing, deal
from pcgrelay.dataplane.adapter import OutletsRow, Plane, WayRow
from pcgrelay.health.state import Health
from pcgrelay.model import Marking
from pcgrelay.net.sockets import family_of, is_own_address
from pcgrelay.policy.rules import MARKING_NUMBERS
from pcgrelay.services.imports import ImportPlan, ImportState
from pcgrelay.services.outlet_meter import OutletMeter
from pcgrelay.services.outlet_plan import (
    OUTLETS_MOST,
    Away,
    Governed,
    OutletFact,
    OutletPlan,
    Way,
    outlet_plan,
)
from pcgrelay.services.targets import Target

# For the attempts on all outlets together.
DEADLINE_MS = 10_000

# Before anything is known.
NO_PLAN = OutletPlan((100.0,), (0,), (Way(True, Away.WAITING, 1),))
_GATEWAY_AWAY = {ImportState.LIVE: Away.NOT, ImportState.PENDING: Away.WAITING, ImportState.DOWN: Away.DOWN}


@dataclass(slots=True)
class DirectOutlet:
    """One direct outlet."""

    index: int
    settings: DirectSettings
    bearer: BearerSettings
    target: Target
    task: asyncio.Task[None] | None = None  # keeps the target's addresses and health fresh

    def left(self) -> None:
        """Look its target up, and probe it, no more."""
        if self.task is not None:
            self.task.cancel()
            self.task = None


@dataclass(slots=True)
class ImportOutlets:
    """All outlets of one import."""

    meter: OutletMeter
    names: list[str] = field(
        default_factory=lambda: [GATEWAY, *[""] * (OUTLETS_MOST - 1)]
    )  # by index; "": not used yet
    directs: dict[str, DirectOutlet] = field(default_factory=dict)  # in the order of the file
    # Indices that the configuration uses no more, the longest ago first, with what their networks were for.
    given_up: dict[int, Marking | None] = field(default_factory=dict)
    marking: int | None = None  # of the service, as it was last told
    plan: OutletPlan = field(default_factory=lambda: NO_PLAN)
    dealing: Dealing | None = None

    def index_of(self, name: str) -> int | None:
        """Return the index of an outlet that the configuration has."""
        if name == GATEWAY:
            return 0
        direct = self.directs.get(name)
        return None if direct is None else direct.index

    def name_of(self, index: int) -> str:
        """Return the outlet that has or last had an index."""
        return self.names[index] if 0 <= index < len(self.names) else ""

    def away(self, index: int) -> Away:
        """Return why an outlet takes no new stream, as it was planned last."""
        return self.plan.ways[index].away if index < len(self.plan.ways) else Away.WAITING

    def share(self, index: int) -> float:
        """Return what an outlet has of new streams, in percent."""
        return self.plan.shares[index] if index < len(self.plan.shares) else 0.0

    @property
    def all_names(self) -> list[str]:
        """The outlets that the configuration has, the gateway first."""
        return [GATEWAY, *self.directs]

    def configure(
        self,
        settings: Sequence[DirectSettings],
        bearer: Callable[[str], BearerSettings],
        fresh: Mapping[str, Target],
    ) -> None:
        """Have these direct outlets from now on. fresh: the targets that were made for them; all others go on."""
        wanted = {each.name for each in settings}
        for name in [name for name in self.directs if name not in wanted]:
            gone = self.directs.pop(name)
            gone.left()
            self.given_up[gone.index] = gone.bearer.marking
        known, self.directs = self.directs, {}
        for each in settings:
            direct, target = known.get(each.name), fresh.get(each.name)
            if direct is None:
                assert target is not None
                direct = DirectOutlet(self._index_for(each.name), each, bearer(each.bearer), target)
            elif target is not None:
                direct.left()
                direct.target = target
            direct.settings, direct.bearer = each, bearer(each.bearer)
            self.directs[each.name] = direct

    def _index_for(self, name: str) -> int:
        if name in self.names:
            # It is back, or the process before this one had it.
            index = self.names.index(name)
            self.given_up.pop(index, None)
            return index
        if "" in self.names:
            index = self.names.index("")
        else:
            index = next(iter(self.given_up))
            del self.given_up[index]
            self.meter.begin(index)
        self.names[index] = name
        return index

    def restore(self, names: Sequence[str]) -> None:
        """Have the indices that the process before this one had; `configure` follows."""
        for index, name in enumerate(names[:OUTLETS_MOST]):
            if index and name:
                self.names[index] = name
        self.given_up = {index: None for index, name in enumerate(self.names) if index and name}

    async def stop(self) -> None:
        """Look no target up and probe none any more."""
        tasks = [direct.task for direct in self.directs.values() if direct.task is not None]
        for direct in self.directs.values():
            direct.left()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- what is published -------------------------------------------------------------------------------------

    def replan(
        self,
        imported: ImportPlan,
        marking: int | None,
        governed: Governed,
        configured: str,
        listeners: Iterable[Address],
        today: date,
        now_ms: int,
        ended: Collection[str] = (),
    ) -> None:
        """Look at each outlet once more. marking: of the service; None: nobody has told of it yet.

        ended: those whose rule is over, be they still among the direct ones or given up already.
        """
        if marking is not None:
            self.marking = marking
        gateway = Away.UNCLEARED if imported.is_barred else _GATEWAY_AWAY[imported.state]
        facts = [
            OutletFact(GATEWAY, 0, gateway, patience_ms=self.meter.patience_ms(0, now_ms)),
            *(self._fact(direct, listeners, today, now_ms) for direct in self.directs.values()),
            *(
                OutletFact(self.names[index], index, Away.MARKING if self._is_below(marking) else Away.REMOVED)
                for index, marking in self.given_up.items()
            ),
        ]
        facts = [replace(fact, away=Away.ENDED) if fact.name in ended else fact for fact in facts]
        self.plan = outlet_plan(facts, governed, configured)
        self.dealing = deal(self.plan.shares, SystemRandom(), self.dealing)

    def _fact(self, direct: DirectOutlet, listeners: Iterable[Address], today: date, now_ms: int) -> OutletFact:
        settings, until = direct.settings, direct.bearer.supported_until
        addresses = reachable(direct.target.addresses, settings.sources)
        beside = [listener for listener in listeners if listener.transport is settings.target.transport]
        own = {where for where in addresses if is_listener(where, beside)}
        away = Away.NOT
        if self._is_below(direct.bearer.marking):
            away = Away.MARKING
        elif not addresses:
            away = Away.UNRESOLVED
        elif own:
            # With another address beside it too: nobody can say which one a stream would take.
            away = Away.LOOP
        elif settings.probe and direct.target.health is Health.FAILING:
            away = Away.FAILING
        return OutletFact(
            settings.name,
            direct.index,
            away,
            addresses,
            settings.sources,
            is_supported=until is None or today <= until,
            patience_ms=self.meter.patience_ms(direct.index, now_ms, settings.connect_timeout_ms),
        )

    def _is_below(self, marking: Marking | None) -> bool:
        """Return whether a network with this marking may not carry the service."""
        return marking is not None and self.marking is not None and MARKING_NUMBERS[marking] < self.marking

    def row(self, plane: Plane, *, careful: bool) -> OutletsRow:
        """Return the row for the core, as it was planned."""
        assert self.dealing is not None
        return (
            self.meter.number,
            careful,
            self.plan.leads_denied,
            DEADLINE_MS,
            self.plan.wait_ms,
            self.dealing.slots,
            bytes(self.plan.order),
            tuple(_way_row(plane, way) for way in self.plan.ways),
        )


def _way_row(plane: Plane, way: Way) -> WayRow:
    if way.is_gateway:
        return plane.OUTLET_GATEWAY, way.patience_ms, (), ()
    closed = {
        Away.REMOVED: plane.OUTLET_NONE,
        Away.RETIRED: plane.OUTLET_NONE,
        Away.MARKING: plane.OUTLET_FORBIDDEN,
        Away.ENDED: plane.OUTLET_ENDED,
    }
    if way.away in closed:
        return closed[way.away], way.patience_ms, (), ()
    return plane.OUTLET_DIRECT, way.patience_ms, way.addresses, way.sources


def reachable(addresses: Sequence[tuple[str, int]], sources: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Return those of a target's addresses that can be connected to from any of the sources (pure)."""
    if not sources:
        return tuple(addresses)
    families = {family_of(source) for source in sources}
    return tuple(where for where in addresses if family_of(where[0]) in families)


def is_listener(where: tuple[str, int], listeners: Iterable[Address]) -> bool:
    """Return whether a numeric address is one that this node listens on."""
    host, port = where
    for listener in listeners:
        if listener.port != port:
            continue
        if listener.host == host:
            return True
        if listener.is_unix:
            continue
        # A name, or all addresses of this machine: what is this machine's own is taken to be meant.
        if (listener.is_wildcard or not _is_number(listener.host)) and is_own_address(host):
            return True
    return False


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
