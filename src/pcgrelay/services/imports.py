"""An edge's imports: the sessions that a new stream may use, and the state of each import.

The plan is a pure function of the catalogue, which says who exports the service, and of the states of sessions. The
core gets the result: a state and routes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from pcgrelay.catalogue.entries import STATE_READY, Catalogue, Offer
from pcgrelay.model import NodeId, Precedence, Priority, ServiceName, Transport

# After this many failed set-ups in a row, applications no longer wait for the next attempt.
FAILURES_BEFORE_DOWN = 2
# An edge in hold-down ranks after all others, whatever its precedence, until it has been healthy for a while.
SETTLING = Precedence.BACK_UP
# At most this many edges share the streams of one import (ROUTE_ROUTES of the core). An organisation may have more of
# them, and alone decides how many.
ROUTES_MOST = 64


class SessionHealth(Enum):
    """State of the session with an exporter."""

    NONE = auto()  # none yet
    SETTING_UP = auto()
    UP = auto()
    STALLED = auto()  # its path is lost and path recovery is running


class ImportState(Enum):
    """What happens to a new application connection."""

    DOWN = auto()  # is closed at once
    PENDING = auto()  # waits for a limited time
    LIVE = auto()  # is opened over a route


@dataclass(frozen=True, slots=True)
class Exporter:
    """An edge that offers an imported service, according to the catalogue."""

    edge: NodeId
    marking: int
    precedence: int
    weight: int
    priority: int = 0  # the class of streams to it


@dataclass(frozen=True, slots=True)
class SessionFact:
    """State of a session with one edge, in one class."""

    health: SessionHealth
    number: int  # the core's number; zero if there is none
    failures: int  # set-ups in a row that failed
    is_steady: bool = True  # it has never failed, or has been up for long enough since


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """State and routes of one import, as they are published."""

    state: ImportState
    marking: int
    routes: tuple[tuple[int, int, int], ...]  # (session, precedence, weight)
    priority: int = 0
    left_out: frozenset[int] = frozenset()  # sessions beyond the most routes that an import may have
    is_barred: bool = False  # it is down because no way to its exporters is cleared for its marking


def offers_of(catalogue: Catalogue, services: Iterable[ServiceName]) -> dict[ServiceName, list[tuple[NodeId, Offer]]]:
    """Return what edges offer of each service, including offers that are down.

    The owner of a service is the edge's organisation. All services are handled in one pass, because there may be a
    thousand imports here and a thousand offers at one edge.
    """
    found: dict[ServiceName, list[tuple[NodeId, Offer]]] = {}
    by_owner: dict[str, dict[str, list[tuple[NodeId, Offer]]]] = {}
    for service in services:
        found[service] = by_owner.setdefault(service.organisation, {}).setdefault(service.service, [])
    for owner, owned in by_owner.items():
        for edge in catalogue.edges_of(owner):
            newest = catalogue.newest(edge)
            for offer in newest.offers if newest else ():
                if offer.service in owned:
                    owned[offer.service].append((edge, offer))
    return found


def exporters_of(
    offers: Iterable[tuple[NodeId, Offer]], most: int = Priority.CRITICAL, transport: int = Transport.STREAM
) -> list[Exporter]:
    """Return the offering edges that accept new streams, best precedence first.

    most: the highest class of streams at this importer; the exporter sets one too, and the lower one applies.
    transport: what the importer carries; an edge that offers the service as something else is none.
    """
    found = [
        Exporter(edge, offer.marking, offer.precedence, offer.weight, min(offer.priority, most))
        for edge, offer in offers
        if offer.state == STATE_READY and offer.transport == transport
    ]
    return sorted(found, key=lambda exporter: (exporter.precedence, exporter.edge))


def import_plan(
    exporters: Sequence[Exporter],
    facts: Callable[[Exporter], Iterable[SessionFact]],
    *,
    starting: bool,
    is_barred: Callable[[Exporter], bool | None] = lambda exporter: False,
) -> ImportPlan:
    """Return state and routes of one import.

    starting: the node started so recently that an unknown service may still be announced. is_barred: whether clearances
    alone keep a session with an exporter from a path; None: no way leads there at all. If there are more edges than an
    import can have, those of the best precedence and the greatest weight remain.
    """
    routes: list[tuple[int, int, int]] = []
    hopeful = starting and not exporters
    for exporter in exporters:
        for fact in facts(exporter):
            if fact.health is SessionHealth.UP:
                precedence = exporter.precedence + (0 if fact.is_steady else SETTLING)
                routes.append((fact.number, precedence, exporter.weight))
                break  # one session with each edge is enough for an import
            if fact.health is SessionHealth.STALLED or fact.failures < FAILURES_BEFORE_DOWN:
                hopeful = True
    # An OPEN with a marking below the service's own is refused, a higher one is accepted.
    marking = max((exporter.marking for exporter in exporters), default=1)
    priority = max((exporter.priority for exporter in exporters), default=0)
    state = ImportState.LIVE if routes else ImportState.PENDING if hopeful else ImportState.DOWN
    if len(routes) > ROUTES_MOST:
        routes.sort(key=lambda route: (route[1], -route[2]))
    left_out = frozenset(session for session, _, _ in routes[ROUTES_MOST:])
    barred = {is_barred(exporter) for exporter in exporters} if state is ImportState.DOWN else set()
    return ImportPlan(
        state, marking, tuple(routes[:ROUTES_MOST]), priority, left_out, True in barred and False not in barred
    )
