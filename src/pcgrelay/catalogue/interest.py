"""What an edge needs of the catalogue, and what a relay therefore tells it (docs/protocol.md, 9.13).

An edge names the services that it imports, `service@organisation`, in WANT; a relay tells it only the entries that
offer one of them. Three more needs are named in the same message:

    *@organisation   all entries of an organisation: of a service that nobody offers, an operator is told what is
                     offered in its place
    an identity      an edge of which each change is needed although it may offer nothing wanted any more: a session
                     with it lasts, or it offered something a moment ago. So "offered no longer" is told from "lost"
    *                everything

WANT narrows what is told and nothing else: who may use what is the exporter's decision, and no entry is kept secret.
What is wrong with a WANT therefore costs its sender nothing but the narrowing: it is told everything.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from pcgrelay.clock import Clock
from pcgrelay.errors import PcgrelayError
from pcgrelay.identity.handshake import INTEREST
from pcgrelay.link.link import Link
from pcgrelay.messages import WANT_LIMIT_BYTES, Want
from pcgrelay.model import NodeId, Role, ServiceName
from pcgrelay.net.ratelimit import TokenBucket

EVERYTHING = "*"
NAMES_MOST = 4_096
EDGES_MOST = 1_024
# An edge says it within a round trip of the link; one that does not is told everything then.
AWAITED_MS = 5_000
# Each WANT has the whole catalogue looked through. The newest of those that come faster is applied later.
WANTS_AT_ONCE = 20
WANTS_EACH_SECOND = 0.5
WANT_FORM_BYTES = 16  # heads of the arrays and the tag

# Every reason for which a WANT is refused, put off or missed; the list is closed.
UNASKED, NOT_AN_EDGE = "want_unasked", "want_not_an_edge"
MALFORMED, TOO_LONG, TOO_OFTEN, MISSING = "want_malformed", "want_too_long", "want_too_often", "want_missing"

_NAME = re.compile(r"(?:\*|[a-z0-9-]{1,63})@[a-z0-9.-]{1,253}", re.ASCII)
_IDENTITY = re.compile(r"spiffe://[a-z0-9.-]+/org/[a-z0-9.-]+/node/[a-z0-9-]+", re.ASCII)


class WantRefused(PcgrelayError):
    """A WANT was refused; reason: one of the words above."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"A list of wanted services was refused: {reason.replace('_', ' ')}.")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Interest:
    """What one edge needs. services: by organisation; EVERYTHING among them stands for all of it."""

    is_everything: bool
    services: Mapping[str, frozenset[str]]
    edges: frozenset[str]  # identities

    def covers(self, edge: NodeId, offered: Iterable[str]) -> bool:
        """Whether an entry of this edge that offers these services is needed."""
        if self.is_everything:
            return True
        services = self.services.get(edge.organisation)
        if services is not None and (EVERYTHING in services or not services.isdisjoint(offered)):
            return True
        return bool(self.edges) and edge.uri in self.edges


ALL = Interest(True, {}, frozenset())
NOTHING = Interest(False, {}, frozenset())


def make_want(services: Iterable[ServiceName], organisations: Iterable[str], edges: Iterable[NodeId]) -> Want:
    """Return the WANT of an edge. edges: the most important first, for no more than EDGES_MOST are named.

    If the services are more than a WANT may name, it asks for everything.
    """
    names = sorted({*map(str, services), *(f"{EVERYTHING}@{organisation}" for organisation in organisations)})
    identities = sorted(list(dict.fromkeys(edge.uri for edge in edges))[:EDGES_MOST])
    size = sum(len(name) + 3 for name in (*names, *identities))
    if len(names) > NAMES_MOST or size > WANT_LIMIT_BYTES - WANT_FORM_BYTES:
        return Want((EVERYTHING,))
    return Want(tuple(names), tuple(identities))


def read_want(message: Want) -> Interest:
    """Return what a WANT asks for. Raises WantRefused."""
    if len(message.services) > NAMES_MOST or len(message.edges) > EDGES_MOST:
        raise WantRefused(TOO_LONG)
    if message.services == (EVERYTHING,):
        return ALL
    if not (_is_rising(message.services) and _is_rising(message.edges)):
        raise WantRefused(MALFORMED)
    if not (all(map(_NAME.fullmatch, message.services)) and all(map(_IDENTITY.fullmatch, message.edges))):
        raise WantRefused(MALFORMED)
    services: dict[str, set[str]] = {}
    for name in message.services:
        service, _, organisation = name.partition("@")
        services.setdefault(organisation, set()).add(service)
    return Interest(False, {each: frozenset(names) for each, names in services.items()}, frozenset(message.edges))


def _is_rising(names: tuple[str, ...]) -> bool:
    return all(before < after for before, after in pairwise(names))


def tells_interest(link: Link) -> bool:
    """Whether the neighbour on a link is an edge that says what it needs."""
    return link.peer_role is Role.EDGE and INTEREST in link.features


class _Index:
    """The links over which something was asked for: of those who need nothing of an edge, none is looked at for it."""

    def __init__(self) -> None:
        self._everything: set[int] = set()
        self._services: dict[str, dict[str, set[int]]] = {}  # by organisation and service
        self._edges: dict[str, set[int]] = {}  # by identity

    def add(self, link: int, interest: Interest) -> None:
        if interest.is_everything:
            self._everything.add(link)
        for organisation, services in interest.services.items():
            by_service = self._services.setdefault(organisation, {})
            for service in services:
                by_service.setdefault(service, set()).add(link)
        for edge in interest.edges:
            self._edges.setdefault(edge, set()).add(link)

    def remove(self, link: int, interest: Interest) -> None:
        self._everything.discard(link)
        for organisation, services in interest.services.items():
            by_service = self._services[organisation]
            for service in services:
                _discard(by_service, service, link)
            if not by_service:
                del self._services[organisation]
        for edge in interest.edges:
            _discard(self._edges, edge, link)

    def find(self, edge: NodeId, uri: str, offered: Iterable[str]) -> set[int]:
        found = set(self._everything)
        if by_service := self._services.get(edge.organisation):
            for service in (EVERYTHING, *offered):
                if links := by_service.get(service):
                    found |= links
        if links := self._edges.get(uri):
            found |= links
        return found


def _discard(held: dict[str, set[int]], name: str, link: int) -> None:
    links = held[name]
    links.discard(link)
    if not links:
        del held[name]


class Interests:
    """What the edges that are linked to one relay need. A link that is not known here is told nothing yet."""

    def __init__(self, refused: Counter[str], clock: Clock) -> None:
        """refused: where refusals are counted, by reason."""
        self._refused = refused
        self._clock = clock
        self._held: dict[int, Interest] = {}  # by link
        self._index = _Index()  # of these
        self._awaited: dict[int, int] = {}  # by link: until when
        self._late: dict[int, Interest] = {}  # by link: the newest that came too soon after others
        self._buckets: dict[int, TokenBucket] = {}

    def of(self, link: Link) -> Interest:
        """What the neighbour on a link is told of: everything, unless it is an edge that says what it needs."""
        return self._held.get(link.number, NOTHING) if tells_interest(link) else ALL

    def wanting(self, edge: NodeId, uri: str, offered: Iterable[str]) -> Collection[int]:
        """Return the links whose neighbours have said that they need the entry of an edge with these services.

        uri: its identity. Neighbours that say nothing of the kind are told everything (`tells_interest`).
        """
        return self._index.find(edge, uri, offered)

    def link_up(self, link: Link) -> None:
        """Await the WANT of an edge, if it has not come yet."""
        if tells_interest(link) and link.number not in self._held:
            self._awaited[link.number] = self._clock.monotonic_ms() + AWAITED_MS

    def link_gone(self, link: Link) -> None:
        """Forget what a neighbour needs."""
        if (held := self._held.get(link.number)) is not None:
            self._index.remove(link.number, held)
        for table in (self._held, self._awaited, self._late, self._buckets):
            table.pop(link.number, None)

    def receive(self, link: Link, message: Want) -> Interest | None:
        """Take a WANT; return what its sender is told of from now on, or None: it is put off, or not taken at all."""
        if INTEREST not in link.features or link.peer_role is not Role.EDGE:
            self._refused[UNASKED if INTEREST not in link.features else NOT_AN_EDGE] += 1
            return None
        now = self._clock.monotonic_ms()
        bucket = self._buckets.setdefault(link.number, TokenBucket(WANTS_AT_ONCE, WANTS_EACH_SECOND, now))
        is_in_time = bucket.spend(now)
        try:
            interest = read_want(message)
        except WantRefused as refused:
            self._refused[refused.reason] += 1
            interest = ALL
        if is_in_time:
            return self._taken(link.number, interest)
        self._refused[TOO_OFTEN] += 1
        self._late[link.number] = interest
        return None

    def due(self) -> dict[int, Interest]:
        """Return, by link, what is told of from now on where that changes by time; called once a second."""
        now = self._clock.monotonic_ms()
        found = {}
        for number, interest in list(self._late.items()):
            if self._buckets[number].spend(now):
                found[number] = self._taken(number, interest)
        for number in [number for number, until_ms in self._awaited.items() if until_ms <= now]:
            self._refused[MISSING] += 1
            found[number] = self._taken(number, ALL)
        return found

    def _taken(self, number: int, interest: Interest) -> Interest:
        self._awaited.pop(number, None)
        self._late.pop(number, None)
        if (before := self._held.get(number)) is not None:
            self._index.remove(number, before)
        self._held[number] = interest
        self._index.add(number, interest)
        return interest
