"""Which outlets of an import take new streams, in which shares, and what is tried after one that fails (pure).

An outlet is *away* if no stream can be set up over it now; its share stays, and each stream that is dealt to it goes to
the next in the order at once. One that is *forbidden*, for its network is below the service's marking, one that was
*removed*, one whose rule has *ended* and one that is *retired* have no share and no place in the order. A network that
is not supported any more is no back-up: what is dealt to it by a share goes there, and nothing is led on to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

OUTLETS_MOST = 4  # of an import, with the gateway
# How long an outlet may take to answer before the next one is tried: so many times what most of its set-ups took.
PATIENCE_TIMES = 8
PATIENCE_SHARE = 0.95
PATIENCE_LEAST_MS = 300
PATIENCE_MOST_MS = 3_000
# As long as there are too few set-ups to know.
PATIENCE_FIRST_MS = 1_000
PATIENCE_SETUPS_LEAST = 20


class Away(StrEnum):
    """Why an outlet takes no new stream."""

    NOT = ""
    # the gateway
    DOWN = "down"  # no edge with the service can be reached
    UNCLEARED = "uncleared"  # one can, but over nothing that is cleared for the service's marking
    WAITING = "waiting"  # a session is being set up
    # a direct one
    UNRESOLVED = "unresolved"  # its name leads nowhere
    LOOP = "loop"  # it leads to a listener of this node
    FAILING = "failing"  # its probe is not answered
    MARKING = "marking"  # its network is below the service's marking
    REMOVED = "removed"  # the configuration has it no more
    ENDED = "ended"  # its rule has ended
    RETIRED = "retired"  # a cut-over has ended, and nothing goes there any more


class Decider(StrEnum):
    """Who decides the shares of an import."""

    CONFIGURATION = "configuration"
    HAND = "hand"
    CUT_OVER = "cut-over"
    DRILL = "drill"


@dataclass(frozen=True, slots=True)
class Governed:
    """How the new streams of an import are dealt, and what becomes of a set-up that fails."""

    shares: Mapping[str, float]  # percent by outlet
    last: tuple[str, ...] = ()  # these stand last in the order, as they are named here
    leads_denied: bool = True  # what the exporter's rules deny is led on too
    wait_ms: int = 0  # how long a gateway whose session is being set up is waited for: something else is there
    without: frozenset[str] = frozenset()  # these direct outlets have no share and no place in the order
    decided_by: Decider = Decider.CUT_OVER
    # "" or a moment, UTC: what was set by hand after it wins, but for `without`.
    yields_since: str = ""
    exercise: float = 0.0  # so much of the configured one's share, in percent, the first back-up has that is well


@dataclass(frozen=True, slots=True)
class OutletFact:
    """What is known of one outlet."""

    name: str
    index: int
    away: Away = Away.NOT
    addresses: tuple[tuple[str, int], ...] = ()
    sources: tuple[str, ...] = ()
    is_supported: bool = True
    patience_ms: int = PATIENCE_FIRST_MS

    @property
    def is_gateway(self) -> bool:
        return self.index == 0

    @property
    def is_usable(self) -> bool:
        """Whether it may ever have a stream, as the configuration is."""
        return self.away not in (Away.MARKING, Away.REMOVED, Away.ENDED, Away.RETIRED)


@dataclass(frozen=True, slots=True)
class Way:
    """One outlet, as it is published."""

    is_gateway: bool
    away: Away
    patience_ms: int
    addresses: tuple[tuple[str, int], ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OutletPlan:
    """The outlets of one import; positions in shares and ways are their indices."""

    shares: tuple[float, ...]  # percent, together 100
    order: tuple[int, ...]  # what is tried after the outlet that a stream was dealt to
    ways: tuple[Way, ...]
    leads_denied: bool = True
    wait_ms: int = 0
    decided_by: Decider = Decider.CONFIGURATION
    exercised: int | None = None  # the back-up that has a share only so that it is known to work

    @property
    def is_served(self) -> bool:
        """Whether an application gets through over any of them."""
        places = {*self.order, *(index for index, share in enumerate(self.shares) if share)}
        return any(self.ways[index].away is Away.NOT for index in places)


def outlet_plan(facts: Sequence[OutletFact], governed: Governed, configured: str) -> OutletPlan:
    """Return the plan of one import.

    governed: as it is wanted; configured: the outlet that [[import]] names.
    A share that is of an outlet that is gone, forbidden or retired goes to the configured one, else to the gateway.
    """
    facts = [_retired(fact) if fact.name in governed.without else fact for fact in facts]
    usable = [fact for fact in facts if fact.is_usable]
    rest = next((fact.index for fact in usable if fact.name == configured), 0)
    dealt = [0.0] * (max(fact.index for fact in facts) + 1)
    for fact in usable:
        dealt[fact.index] = governed.shares.get(fact.name, 0.0)
    dealt[rest] += 100 - sum(dealt)
    exercised = _first_backup(usable, rest) if 0 < governed.exercise <= dealt[rest] else None
    if exercised is not None:
        dealt[rest] -= governed.exercise
        dealt[exercised] += governed.exercise
    places = {name: place for place, name in enumerate(governed.last, 1)}
    # What carries most is tried first: it has shown most.
    backups = sorted(
        (fact for fact in usable if fact.is_supported),
        key=lambda fact: (
            places.get(fact.name, 0),
            fact.away is not Away.NOT,
            -dealt[fact.index],
            fact.index != rest,
            fact.index,
        ),
    )
    ways = [Way(index == 0, Away.REMOVED, PATIENCE_FIRST_MS) for index in range(len(dealt))]
    for fact in facts:
        ways[fact.index] = _way(fact, backups)
    return OutletPlan(
        tuple(dealt),
        tuple(fact.index for fact in backups),
        tuple(ways),
        governed.leads_denied,
        governed.wait_ms,
        governed.decided_by,
        exercised,
    )


def _first_backup(usable: Iterable[OutletFact], rest: int) -> int | None:
    """Return the first outlet beside the configured one that is well and in support."""
    return min(
        (fact.index for fact in usable if fact.index != rest and fact.is_supported and fact.away is Away.NOT),
        default=None,
    )


def _retired(fact: OutletFact) -> OutletFact:
    """Return what is known of an outlet that a governor leaves out. What ends its live streams stays said."""
    return replace(fact, away=Away.RETIRED) if fact.is_usable and not fact.is_gateway else fact


def _way(fact: OutletFact, backups: Sequence[OutletFact]) -> Way:
    """Return how an outlet is published. If its probe fails it is passed over, unless nothing else is left."""
    is_last = not any(other.away is Away.NOT for other in backups)
    is_tried = fact.away is Away.NOT or (fact.away is Away.FAILING and is_last)
    addresses = fact.addresses if is_tried and not fact.is_gateway else ()
    return Way(fact.is_gateway, fact.away, fact.patience_ms, addresses, fact.sources)


def patience_ms(setups: int, most_us: float | None, deadline_ms: int = PATIENCE_MOST_MS) -> int:
    """Return how long an outlet may take to answer.

    most_us: the time within which PATIENCE_SHARE of so many set-ups were answered.
    deadline_ms: how long its connecting may take in any case.
    """
    wanted = PATIENCE_FIRST_MS
    if setups >= PATIENCE_SETUPS_LEAST and most_us is not None:
        wanted = min(max(round(PATIENCE_TIMES * most_us / 1000), PATIENCE_LEAST_MS), PATIENCE_MOST_MS)
    return max(1, min(wanted, deadline_ms))


def away_words(away: Away, *, is_known: bool = True) -> str:
    """Return the reason for a person. is_known: some edge tells of the service."""
    if away is Away.DOWN and not is_known:
        return "no neighbour tells of an edge that exports the service"
    return _WORDS[away]


_WORDS = {
    Away.NOT: "",
    Away.DOWN: "no edge that exports the service can be reached",
    Away.UNCLEARED: "no way to it is cleared for the marking of the service",
    Away.WAITING: "a session is being set up",
    Away.UNRESOLVED: "its name leads to no address that it can be reached at",
    Away.LOOP: "its address is a listener of this very node",
    Away.FAILING: "it does not answer its probe",
    Away.MARKING: "its network is for less than the marking of the service",
    Away.REMOVED: "the configuration has it no more",
    Away.ENDED: "its rule has ended",
    Away.RETIRED: "it is retired, and no stream is sent over it any more",
}
