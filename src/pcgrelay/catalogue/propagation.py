"""Propagation of entries by a relay: the newest of each edge, and no faster than the neighbours read.

What was sent to each neighbour is remembered, so that it receives each change once and nothing else. A member may
change its entry as often as it likes, and each change would go to all neighbours. Therefore the changes of an edge are
limited by a token bucket, and a neighbour that reads slowly waits for the rest. Only the name of the edge is queued;
what is sent then is what holds then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from pcgrelay.catalogue.entries import Catalogue, ReceivedEntry, passed_on
from pcgrelay.clock import Clock
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.link.control import ROOM_BYTES
from pcgrelay.link.link import Link
from pcgrelay.messages import Advert, Withdraw
from pcgrelay.model import NodeId
from pcgrelay.net.ratelimit import TokenBucket
from pcgrelay.policy.clearances import LOWEST, OPEN

# Routes are lost and found in bursts; a change that goes on without end is flapping.
CHANGES_AT_ONCE = 8
CHANGES_EACH_SECOND = 0.5
FLAPPING = "advert_flapping"


class CataloguePropagation:
    """What was sent to each neighbour of one relay, and what is still to be sent."""

    def __init__(
        self,
        local: LocalIdentity,
        catalogue: Catalogue,
        links: Mapping[int, Link],
        refuse_count: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._local = local
        self._catalogue = catalogue
        self._links = links
        self._refuse_count = refuse_count
        self._clock = clock
        self._told: dict[tuple[int, NodeId], tuple[int, tuple[str, ...]]] = {}
        self._owed: dict[int, dict[NodeId, None]] = {}  # edges by link, in the order of sending
        self._late: dict[NodeId, None] = {}  # edges that are flapping, until their bucket has a token
        self._changes: dict[NodeId, TokenBucket] = {}

    def changed(self, edge: NodeId) -> None:
        """Update all neighbours about an edge; later if it is flapping."""
        links = self._links.values()
        if edge in self._late or not any(self._is_news(link, edge, self._wanted(link, edge)) for link in links):
            return
        if self._may_change(edge):
            self.tell_all(edge)
        else:
            self._refuse_count(FLAPPING)
            self._late[edge] = None

    def tell_all(self, edge: NodeId) -> None:
        """Update all neighbours about one edge."""
        for link in self._links.values():
            self.tell(link, edge)

    def tell(self, link: Link, edge: NodeId) -> None:
        """Update one neighbour about one edge, now or once it has read what is queued for it."""
        wanted = self._wanted(link, edge)
        if not self._is_news(link, edge, wanted):
            return
        if link.backlog_bytes > ROOM_BYTES:
            self._owed.setdefault(link.number, {})[edge] = None
            return
        if wanted is None:
            link.send(Withdraw(edge.uri, self._told.pop((link.number, edge))[0]))
        else:
            self._told[(link.number, edge)] = (wanted.sequence, wanted.path)
            link.send(Advert(wanted.signed.entry, wanted.signed.signature, wanted.signed.chain, wanted.path))

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
        self._told = {key: value for key, value in self._told.items() if key[0] != link.number}
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

    def _is_news(self, link: Link, edge: NodeId, wanted: ReceivedEntry | None) -> bool:
        if not link.controlled or not link.lanes_up:
            return False
        return self._told.get((link.number, edge)) != (None if wanted is None else (wanted.sequence, wanted.path))

    def _wanted(self, link: Link, edge: NodeId) -> ReceivedEntry | None:
        """Return what a neighbour should have of an edge, or None."""
        config = self._local.config
        if not config.policy.admits(edge.organisation):
            return None
        # A draining neighbour is used only if there is no other.
        best = self._best(edge, link, self._is_staying) or self._best(edge, link, self._is_controlled)
        return passed_on(best, link.number, link.peer, config.node.id)

    def _best(self, edge: NodeId, to: Link, is_usable: Callable[[int], bool]) -> tuple[int, ReceivedEntry] | None:
        """Return the way that a neighbour is told of: one that may carry as much as possible of what the edge offers.

        Neighbours judge by what is announced, so a shorter way that only a part of it may take would hide the other.
        So would one that leads back through the neighbour, which may not be cleared to go the rest of it.
        """
        clearances, newest, ways = self._local.clearances, self._catalogue.newest(edge), self._catalogue.ways(edge)

        def usable(number: int) -> bool:
            return is_usable(number) and clearances.may_transit(to.bearer, self._links[number].bearer)

        def is_cleared(number: int, marking: int) -> bool:
            path = ways[number].path
            leads_back = number == to.number or to.peer.uri in path
            return usable(number) and not leads_back and clearances.clears(marking, self._links[number].bearer, path)

        markings = {offer.marking for offer in newest.offers} if newest else set()
        if clearances != OPEN and markings - {LOWEST}:
            for marking in sorted(markings | {LOWEST}, reverse=True):
                if best := self._catalogue.best(edge, partial(is_cleared, marking=marking)):
                    return best
        return self._catalogue.best(edge, usable)

    def _is_controlled(self, number: int) -> bool:
        link = self._links.get(number)
        return link is not None and link.controlled

    def _is_staying(self, number: int) -> bool:
        link = self._links.get(number)
        return link is not None and link.controlled and not link.draining
