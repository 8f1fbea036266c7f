"""An edge's table of imports: which sessions a new stream may take, and in what state the import is.

It is a pure function of what is known: the catalogue says who exports the service, the sessions say how they are. The
result is what the core gets: a state and routes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from pcgrelay.catalogue.entries import STATE_READY, Catalogue, Offer
from pcgrelay.model import NodeId, Precedence, Priority, ServiceName

# After so many set-ups in a row that failed, applications are no longer made to wait for the next one.
FAILURES_BEFORE_DOWN = 2
# An edge that was away comes after all others of whatever precedence, until it has been well for a while.
SETTLING = Precedence.BACK_UP
# So many edges share the streams of one import (ROUTE_ROUTES of the core). An organisation may have more of them, and
# alone decides how many.
ROUTES_MOST = 64


class SessionHealth(Enum):
    """How the session with an exporter is."""

    NONE = auto()  # none yet
    SETTING_UP = auto()
    UP = auto()
    STALLED = auto()  # its path is lost and another one is looked for


class ImportState(Enum):
    """What happens to a new application connection."""

    DOWN = auto()  # closed at once
    PENDING = auto()  # waits a while
    LIVE = auto()  # goes out over a route


@dataclass(frozen=True, slots=True)
class Exporter:
    """An edge that offers an imported service, as the catalogue has it."""

    edge: NodeId
    marking: int
    precedence: int
    weight: int
    priority: int = 0  # the class that streams to it have


@dataclass(frozen=True, slots=True)
class SessionFact:
    """How a session with one edge and class is."""

    health: SessionHealth
    number: int  # the core's number; zero if there is none
    failures: int  # set-ups in a row that failed
    is_steady: bool = True  # it was never away, or has been well for long enough since


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """One import, as it is published."""

    state: ImportState
    marking: int
    routes: tuple[tuple[int, int, int], ...]  # (session, precedence, weight)
    priority: int = 0
    left_out: frozenset[int] = frozenset()  # sessions beyond the most routes that an import has


def offers_of(catalogue: Catalogue, services: Iterable[ServiceName]) -> dict[ServiceName, list[tuple[NodeId, Offer]]]:
    """What edges say of each service, also that it is down. The owner of a service is the edge's organisation.

    All at once, for both may have a thousand services: the ones that are asked for, and the ones that an edge has.
    """
    found: dict[ServiceName, list[tuple[NodeId, Offer]]] = {}
    by_owner: dict[str, dict[str, list[tuple[NodeId, Offer]]]] = {}
    for service in services:
        found[service] = by_owner.setdefault(service.organisation, {}).setdefault(service.service, [])
    for edge in catalogue.edges():
        owned = by_owner.get(edge.organisation)
        newest = catalogue.newest(edge) if owned else None
        for offer in newest.offers if newest else ():
            if owned and offer.service in owned:
                owned[offer.service].append((edge, offer))
    return found


def exporters_of(offers: Iterable[tuple[NodeId, Offer]], most: int = Priority.CRITICAL) -> list[Exporter]:
    """Who of those that offer a service takes new streams, best precedence first.

    most: the highest class that streams may have here; the owner says one too, and the lesser holds.
    """
    found = [
        Exporter(edge, offer.marking, offer.precedence, offer.weight, min(offer.priority, most))
        for edge, offer in offers
        if offer.state == STATE_READY
    ]
    return sorted(found, key=lambda exporter: (exporter.precedence, exporter.edge))


def import_plan(
    exporters: Sequence[Exporter],
    facts: Callable[[Exporter], Iterable[SessionFact]],
    *,
    starting: bool,
) -> ImportPlan:
    """State and routes of one import. With starting, the node is too young to know that nobody offers the service.

    Of more edges than an import can have, those of the best precedence and the greatest weight stay.
    """
    routes: list[tuple[int, int, int]] = []
    hopeful = starting and not exporters
    for exporter in exporters:
        for fact in facts(exporter):
            if fact.health is SessionHealth.UP:
                precedence = exporter.precedence + (0 if fact.is_steady else SETTLING)
                routes.append((fact.number, precedence, exporter.weight))
                break  # one session with an edge is enough for an import
            if fact.health is SessionHealth.STALLED or fact.failures < FAILURES_BEFORE_DOWN:
                hopeful = True
    # An OPEN below the service's own marking is refused, one above is not.
    marking = max((exporter.marking for exporter in exporters), default=1)
    priority = max((exporter.priority for exporter in exporters), default=0)
    state = ImportState.LIVE if routes else ImportState.PENDING if hopeful else ImportState.DOWN
    if len(routes) > ROUTES_MOST:
        routes.sort(key=lambda route: (route[1], -route[2]))
    left_out = frozenset(session for session, _, _ in routes[ROUTES_MOST:])
    return ImportPlan(state, marking, tuple(routes[:ROUTES_MOST]), priority, left_out)
