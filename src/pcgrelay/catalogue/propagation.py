"""Propagation of entries by a relay: the newest of each edge, and no faster than the neighbours read.

What was sent to each neighbour is remembered, so that it receives each change once and nothing else; an edge that says
what it needs receives that alone (`interest`). A member may change its entry as often as it likes, and each change
would go to all neighbours. Therefore the changes of an edge are limited by a token bucket, and a neighbour that reads
slowly waits for the rest. Only the name of the edge is queued; what is sent then is what holds then.

A relay that loses its way to an edge hears of another one a round trip later, if there is one: each of its neighbours
tells it of its best way alone, and near a relay that was lost all of these may have led through it. Other relays are
told of the loss at once, for they look for the other way. An edge is told a moment later, and not at all if there is
another way by then: it would end what waits for a service that is still there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

from pcgrelay.catalogue.chains import named
from pcgrelay.catalogue.entries import Catalogue, VerifiedEntry, node_of
from pcgrelay.catalogue.interest import Interests, tells_interest
from pcgrelay.catalogue.selection import Announcement, Selection, Version, Way, is_same, rank
from pcgrelay.clock import Clock
from pcgrelay.config import Config
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.link.control import ROOM_BYTES
from pcgrelay.link.link import Link
from pcgrelay.messages import Withdraw
from pcgrelay.model import NameProblem, NodeId, Role
from pcgrelay.net.ratelimit import TokenBucket
from pcgrelay.policy.clearances import Clearances

# Routes are lost and found in bursts; a change that goes on without end is flapping.
CHANGES_AT_ONCE = 8
CHANGES_EACH_SECOND = 0.5
FLAPPING = "advert_flapping"
# From the loss of the last way to an edge until edges are told: several round trips between relays of one country.
LOST_MS = 250
# Of an entry that a neighbour was told and does not hold.
NOT_HELD: Version = (0, (), ())


class _Settled(NamedTuple):
    """By what all neighbours were told of an edge."""

    config: Config
    clearances: Clearances
    verified: VerifiedEntry  # the newest
    is_by_rank: bool
    firsts: dict[str, Way | None]  # the best way, by the bearer of the neighbour
    others: tuple[int, ...]  # links to which it leads back


class CataloguePropagation:
    """What was sent to each neighbour of one relay, and what is still to be sent."""

    def __init__(
        self,
        local: LocalIdentity,
        catalogue: Catalogue,
        links: Mapping[int, Link],
        interests: Interests,
        refuse_count: Callable[[str], None],
        clock: Clock,
        call_later: Callable[[int, Callable[[], None]], None] = lambda milliseconds, act: None,
    ) -> None:
        """call_later: calls a function after so many milliseconds; without it `tick` does what is due."""
        self._local = local
        self._catalogue = catalogue
        self._links = links
        self._interests = interests
        self._refuse_count = refuse_count
        self._clock = clock
        self._call_later = call_later
        self._told: dict[NodeId, dict[int, Version]] = {}  # by link
        self._settled: dict[NodeId, _Settled] = {}
        self._identities: dict[int, str] = {}  # of neighbours, by link
        self._owed: dict[int, dict[NodeId, None]] = {}  # edges by link, in the order of sending
        self._late: dict[NodeId, None] = {}  # edges that are flapping, until their bucket has a token
        self._changes: dict[NodeId, TokenBucket] = {}
        self._lost: dict[NodeId, int] = {}  # edges without a way of late: when edges are told of it
        self._is_lost_timed = False  # whether a timer runs for these

    def changed(self, edge: NodeId, over: int | None = None) -> None:
        """Update all neighbours about an edge; later if it is flapping. Most changes are of a way that is not told.

        over: the link over which the way has changed, if nothing else has since the last call for this edge.
        """
        if edge in self._late or (over is not None and self._stands(edge, over)):
            return
        selection = self._selection(edge)
        others = self._undecided(edge, selection)
        news = self._news(edge, selection, self._links.values() if others is None else others)
        if news and not self._may_change(edge):
            self._refuse_count(FLAPPING)
            self._late[edge] = None
            return
        self._tell(edge, news)
        if others is None:
            self._settle(edge, selection)

    def tell_all(self, edge: NodeId) -> None:
        """Update all neighbours about one edge."""
        selection = self._selection(edge)
        self._tell(edge, self._news(edge, selection, self._links.values()))
        self._settle(edge, selection)

    def tell(self, link: Link, edge: NodeId) -> None:
        """Update one neighbour about one edge, now or once it has read what is queued for it.

        Whatever changes for one neighbour alone ends here: the next change looks at all of them again.
        """
        self._settled.pop(edge, None)
        self._tell(edge, self._news(edge, self._selection(edge), (link,)))

    def tell_link(self, link: Link) -> None:
        """Update one neighbour about all edges, after it came or said what it needs."""
        for edge in self._concerning(link):
            self.tell(link, edge)

    def tell_whole(self, link: Link, edge: NodeId) -> None:
        """Tell a neighbour of an edge once more, with the whole chain, if it is told of it at all."""
        if link.number in (told := self._told.get(edge, {})):
            told[link.number] = NOT_HELD
            self.tell(link, edge)

    def link_has_room(self, link: Link) -> None:
        """Send what was put off, now that a neighbour has read what was queued for it."""
        owed = self._owed.get(link.number, {})
        while owed and link.backlog_bytes <= ROOM_BYTES:
            edge = next(iter(owed))
            del owed[edge]
            self.tell(link, edge)
        if not owed:
            self._owed.pop(link.number, None)

    def link_gone(self, link: Link) -> None:
        """Forget what was sent to a neighbour and what was put off."""
        for edge, told in list(self._told.items()):
            if told.pop(link.number, None) and not told:
                del self._told[edge]
                self._settled.pop(edge, None)
        self._identities.pop(link.number, None)
        self._owed.pop(link.number, None)

    def tick(self) -> None:
        """Send the changes of flapping edges that are allowed by now; called once a second."""
        for edge in list(self._late):
            if self._may_change(edge):
                del self._late[edge]
                self.tell_all(edge)
        self._tell_lost()
        now = self._clock.monotonic_ms()
        self._changes = {
            edge: bucket for edge, bucket in self._changes.items() if edge in self._late or not bucket.is_whole(now)
        }

    def _tell_lost(self) -> None:
        """Tell edges of those to which there is no way, if there has been none for long enough."""
        now = self._clock.monotonic_ms()
        for edge in [edge for edge, due_ms in self._lost.items() if due_ms <= now]:
            self.tell_all(edge)
            del self._lost[edge]

    def _concerning(self, link: Link) -> list[NodeId]:
        """Return the edges that a neighbour is told of, or has been: few, if it asks for few."""
        interest = self._interests.of(link)
        if interest.is_everything:
            return list(self._catalogue.edges())
        found = {edge: None for edge, told in self._told.items() if link.number in told}
        for organisation in interest.services:
            for edge in self._catalogue.edges_of(organisation):
                newest = self._catalogue.newest(edge)
                if newest and interest.covers(edge, [offer.service for offer in newest.verified.offers]):
                    found[edge] = None
        for uri in interest.edges:
            with suppress(NameProblem):
                found[node_of(uri)] = None
        return list(found)

    def _may_change(self, edge: NodeId) -> bool:
        now = self._clock.monotonic_ms()
        bucket = self._changes.get(edge)
        if bucket is None:
            bucket = self._changes[edge] = TokenBucket(CHANGES_AT_ONCE, CHANGES_EACH_SECOND, now)
        return bucket.spend(now)

    def _selection(self, edge: NodeId) -> Selection | None:
        """Return what decides about an edge now, or None: its organisation is no member."""
        config = self._local.config
        if not config.policy.admits(edge.organisation):
            return None
        return Selection(edge, self._catalogue, self._links, self._local.clearances, config.node.id)

    def _stands(self, edge: NodeId, over: int) -> bool:
        """Whether the best way to an edge is over another link than this one, whose way alone has changed.

        So it is for nearly all of the neighbours that tell a relay of the same entry.
        """
        settled, newest = self._settled.get(edge), self._catalogue.newest(edge)
        if settled is None or newest is None or newest.verified is not settled.verified or not settled.is_by_rank:
            return False
        if settled.config is not self._local.config or settled.clearances is not self._local.clearances:
            return False
        ways = self._catalogue.ways(edge)
        changed = ways.get(over)
        for first in settled.firsts.values():
            if first is None or first[0] == over or ways.get(first[0]) is not first[1]:
                return False
            link = self._links.get(first[0])
            if link is None or not link.controlled or link.draining:
                return False
            if changed is not None and rank((over, changed)) < rank(first):
                return False
        return True

    def _undecided(self, edge: NodeId, selection: Selection | None) -> list[Link] | None:
        """Return the neighbours to whom the best way leads back, if it is the one that all others have been told of."""
        settled = self._settled.get(edge)
        if settled is None or selection is None or selection.newest is None:
            return None
        # A reload may have put a link on another bearer, and what is offered decides who needs it.
        if settled.config is not self._local.config or settled.verified.offers != selection.offers:
            return None
        if not all(is_same(selection.first(bearer), first) for bearer, first in settled.firsts.items()):
            return None
        self._settled[edge] = settled._replace(
            clearances=self._local.clearances,
            verified=selection.newest.verified,
            is_by_rank=selection.is_by_rank,
            firsts=selection.firsts(),
        )
        return [self._links[number] for number in settled.others if number in self._links]

    def _settle(self, edge: NodeId, selection: Selection | None) -> None:
        # A neighbour without lanes was passed over, and nobody says when they are back.
        is_complete = all(link.lanes_up for link in self._links.values() if link.controlled)
        if selection and is_complete and selection.newest:
            self._settled[edge] = _Settled(
                self._local.config,
                self._local.clearances,
                selection.newest.verified,
                selection.is_by_rank,
                selection.firsts(),
                tuple(selection.others),
            )
        else:
            self._settled.pop(edge, None)

    def _news(
        self, edge: NodeId, selection: Selection | None, links: Iterable[Link]
    ) -> list[tuple[Link, Announcement | None]]:
        """Return the neighbours that do not know what they should of an edge, with what that is."""
        told = self._told.get(edge, {})
        news: list[tuple[Link, Announcement | None]] = []
        wanting = self._interests.wanting(edge, edge.uri, selection.services) if selection else frozenset[int]()
        for link in links:
            number = link.number
            is_needed = number in wanting or not tells_interest(link)
            if not (is_needed or number in told) or not (link.controlled and link.lanes_up):
                continue
            wanted = selection.announcement(link, self._identity(link)) if selection and is_needed else None
            if told.get(number) != (wanted.version if wanted else None) and (
                wanted or not self._may_be_found(edge, link, selection)
            ):
                news.append((link, wanted))
        return news

    def _may_be_found(self, edge: NodeId, link: Link, selection: Selection | None) -> bool:
        """Whether a neighbour is not told yet that there is no way to an edge, for there may be one in a moment."""
        if link.peer_role is not Role.EDGE or selection is None or selection.first(link.bearer) is not None:
            return False
        now = self._clock.monotonic_ms()
        if edge not in self._lost:
            self._lost[edge] = now + LOST_MS
            self._time_lost(LOST_MS)
        return now < self._lost[edge]

    def _time_lost(self, milliseconds: int) -> None:
        if not self._is_lost_timed:
            self._is_lost_timed = True
            self._call_later(milliseconds, self._lost_due)

    def _lost_due(self) -> None:
        self._is_lost_timed = False
        self._tell_lost()
        if self._lost:
            self._time_lost(max(1, min(self._lost.values()) - self._clock.monotonic_ms()))

    def _tell(self, edge: NodeId, news: list[tuple[Link, Announcement | None]]) -> None:
        if not news:
            return
        told = self._told.setdefault(edge, {})
        for link, wanted in news:
            number = link.number
            if link.backlog_bytes > ROOM_BYTES:
                self._owed.setdefault(number, {})[edge] = None
            elif wanted is None:
                link.send(Withdraw(edge.uri, told.pop(number)[0]))
            else:
                before = told.get(number)
                told[number] = wanted.version
                link.send(wanted.advert(named(link, wanted.signed.chain, before[2] if before else None)))
        if not told:
            del self._told[edge]

    def _identity(self, link: Link) -> str:
        """Return the identity of a neighbour as a URI, which takes longer to write than to look up."""
        identity = self._identities.get(link.number)
        if identity is None:
            identity = self._identities[link.number] = link.peer.uri
        return identity
