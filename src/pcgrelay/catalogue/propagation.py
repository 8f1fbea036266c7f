"""Propagation of entries by a relay: the newest of each edge, and no faster than the neighbours read.

What was sent to each neighbour is remembered, so that it receives each change once and nothing else; an edge that says
what it needs receives that alone (`interest`). A member may change its entry as often as it likes, and each change
would go to all neighbours. Therefore the changes of an edge are limited by a token bucket, and a neighbour that reads
slowly waits for the rest. Only the name of the edge is queued; what is sent then is what holds then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from pcgrelay.catalogue.chains import named
from pcgrelay.catalogue.entries import Catalogue, Offer
from pcgrelay.catalogue.interest import Interests
from pcgrelay.catalogue.selection import Announcement, First, Selection, Version
from pcgrelay.clock import Clock
from pcgrelay.config import Config
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.link.control import ROOM_BYTES
from pcgrelay.link.link import Link
from pcgrelay.messages import Advert, Withdraw
from pcgrelay.model import NodeId
from pcgrelay.net.ratelimit import TokenBucket

# Routes are lost and found in bursts; a change that goes on without end is flapping.
CHANGES_AT_ONCE = 8
CHANGES_EACH_SECOND = 0.5
FLAPPING = "advert_flapping"
# Of an entry that a neighbour was told and does not hold.
NOT_HELD: Version = (0, (), ())


class _Settled(NamedTuple):
    """By what all neighbours were told of an edge."""

    config: Config
    offers: tuple[Offer, ...]
    firsts: dict[str, First]  # the best way, by the bearer of the neighbour
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
    ) -> None:
        self._local = local
        self._catalogue = catalogue
        self._links = links
        self._interests = interests
        self._refuse_count = refuse_count
        self._clock = clock
        self._told: dict[NodeId, dict[int, Version]] = {}  # by link
        self._settled: dict[NodeId, _Settled] = {}
        self._identities: dict[int, str] = {}  # of neighbours, by link
        self._owed: dict[int, dict[NodeId, None]] = {}  # edges by link, in the order of sending
        self._late: dict[NodeId, None] = {}  # edges that are flapping, until their bucket has a token
        self._changes: dict[NodeId, TokenBucket] = {}

    def changed(self, edge: NodeId) -> None:
        """Update all neighbours about an edge; later if it is flapping. Most changes are of a way that is not told."""
        if edge in self._late:
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
        for edge in list(self._catalogue.edges()):
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
        now = self._clock.monotonic_ms()
        self._changes = {
            edge: bucket for edge, bucket in self._changes.items() if edge in self._late or not bucket.is_whole(now)
        }

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

    def _undecided(self, edge: NodeId, selection: Selection | None) -> list[Link] | None:
        """Return the neighbours to whom the best way leads back, if it is the one that all others have been told of."""
        settled = self._settled.get(edge)
        if settled is None or selection is None:
            return None
        # A reload may have put a link on another bearer, and what is offered decides who needs it.
        if settled.config is not self._local.config or settled.offers != selection.offers:
            return None
        if any(selection.first(bearer) != first for bearer, first in settled.firsts.items()):
            return None
        return [self._links[number] for number in settled.others if number in self._links]

    def _settle(self, edge: NodeId, selection: Selection | None) -> None:
        # A neighbour without lanes was passed over, and nobody says when they are back.
        is_complete = all(link.lanes_up for link in self._links.values() if link.controlled)
        if selection and is_complete and self._catalogue.ways(edge):
            settled = _Settled(self._local.config, selection.offers, selection.firsts(), tuple(selection.others))
            self._settled[edge] = settled
        else:
            self._settled.pop(edge, None)

    def _news(
        self, edge: NodeId, selection: Selection | None, links: Iterable[Link]
    ) -> list[tuple[Link, Announcement | None]]:
        """Return the neighbours that do not know what they should of an edge, with what that is."""
        told = self._told.get(edge, {})
        news = []
        for link in links:
            if link.controlled and link.lanes_up:
                is_needed = selection is not None and self._interests.of(link).covers(edge, selection.offers)
                wanted = selection.announcement(link, self._identity(link)) if selection and is_needed else None
                if told.get(link.number) != (wanted.version if wanted else None):
                    news.append((link, wanted))
        return news

    def _tell(self, edge: NodeId, news: list[tuple[Link, Announcement | None]]) -> None:
        if not news:
            return
        told = self._told.setdefault(edge, {})
        for link, wanted in news:
            if link.backlog_bytes > ROOM_BYTES:
                self._owed.setdefault(link.number, {})[edge] = None
            elif wanted is None:
                link.send(Withdraw(edge.uri, told.pop(link.number)[0]))
            else:
                signed, (_, path, _) = wanted
                chain = named(link, signed.chain, told[link.number][2] if link.number in told else None)
                told[link.number] = wanted.version
                link.send(Advert(signed.entry, signed.signature, chain, path))
        if not told:
            del self._told[edge]

    def _identity(self, link: Link) -> str:
        """Return the identity of a neighbour as a URI, which takes longer to write than to look up."""
        identity = self._identities.get(link.number)
        if identity is None:
            identity = self._identities[link.number] = link.peer.uri
        return identity
