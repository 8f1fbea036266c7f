"""An edge's table of imports: which sessions a new stream may take, and in what state the import is.

It is a pure function of what is known: the catalogue says who exports the service, the sessions say how they are. The
result is what the core gets: a state and routes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from pcgrelay.model import NodeId, ServiceName
from pcgrelay.routing.catalogue import STATE_READY, Catalogue

# After so many set-ups in a row that failed, applications are no longer made to wait for the next one.
FAILURES_BEFORE_DOWN = 2


class Health(Enum):
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


@dataclass(frozen=True, slots=True)
class SessionFact:
    """How a session with one edge and class is."""

    health: Health
    number: int  # the core's number; nought if there is none
    failures: int  # set-ups in a row that failed


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """One import, as it is published."""

    state: ImportState
    marking: int
    routes: tuple[tuple[int, int, int], ...]  # (session, precedence, weight)


def exporters_of(catalogue: Catalogue, service: ServiceName) -> list[Exporter]:
    """Who offers the service and takes new streams, best precedence first. Its owner is the edge's organisation."""
    found = []
    for edge in catalogue.edges():
        if edge.organisation != service.organisation:
            continue
        newest = catalogue.newest(edge)
        for offer in newest.offers if newest else ():
            if offer.service == service.service and offer.state == STATE_READY:
                found.append(Exporter(edge, offer.marking, offer.precedence, offer.weight))
    return sorted(found, key=lambda exporter: (exporter.precedence, exporter.edge))


def is_known(catalogue: Catalogue, service: ServiceName) -> bool:
    """Whether an edge says anything of the service, be it that it is down."""
    for edge in catalogue.edges():
        newest = catalogue.newest(edge) if edge.organisation == service.organisation else None
        if newest is not None and any(offer.service == service.service for offer in newest.offers):
            return True
    return False


def import_plan(
    exporters: Sequence[Exporter],
    facts: Callable[[Exporter], Iterable[SessionFact]],
    *,
    starting: bool,
) -> ImportPlan:
    """State and routes of one import. With starting, the node is too young to know that nobody offers the service."""
    routes: list[tuple[int, int, int]] = []
    hopeful = starting and not exporters
    for exporter in exporters:
        for fact in facts(exporter):
            if fact.health is Health.UP:
                routes.append((fact.number, exporter.precedence, exporter.weight))
                break  # one session with an edge is enough for an import
            if fact.health is Health.STALLED or fact.failures < FAILURES_BEFORE_DOWN:
                hopeful = True
    # An OPEN below the service's own marking is refused, one above is not.
    marking = max((exporter.marking for exporter in exporters), default=1)
    if routes:
        return ImportPlan(ImportState.LIVE, marking, tuple(routes))
    return ImportPlan(ImportState.PENDING if hopeful else ImportState.DOWN, marking, ())
