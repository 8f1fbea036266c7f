"""Adverts that wait to be verified, because their neighbour has used up for now what it may have this node verify.

A relay with one neighbour hears of all edges over it, and may not verify all of them at once. A neighbour tells each
change once, so what is not kept here is heard of only when the edge signs again, up to 15 minutes later. Nothing of a
waiting advert is believed. The newest of each edge and link is kept, within limits of bytes: one for each link, and one
for all together, at which the link that has most waiting loses its last.
"""

from __future__ import annotations

from pcgrelay.messages import Advert
from pcgrelay.model import NodeId

LINK_BYTES = 16 << 20  # some 10,000 entries with ten services each: as many as the catalogue holds edges
ALL_BYTES = 64 << 20
FORM_BYTES = 600  # of the objects of one


class WaitingAdverts:
    """The adverts that wait, by link and edge, in the order in which they came."""

    def __init__(self) -> None:
        self._links: dict[int, dict[NodeId, Advert]] = {}
        self._bytes: dict[int, int] = {}  # by link

    def __len__(self) -> int:
        return sum(map(len, self._links.values()))

    def links(self) -> list[int]:
        """The links over which some have come."""
        return list(self._links)

    def of(self, link: int) -> list[tuple[NodeId, Advert]]:
        """What waits of a link, the longest waiting first."""
        return list(self._links.get(link, {}).items())

    def put(self, link: int, edge: NodeId, advert: Advert) -> bool:
        """Keep an advert in place of what waits of this edge and link; False if there is no room."""
        waiting = self._links.get(link, {})
        size = _size(advert)
        before = _size(waiting[edge]) if edge in waiting else 0
        if self._bytes.get(link, 0) - before + size > LINK_BYTES or not self._has_room(link, size - before):
            self.drop(link, edge)  # it is out of date
            return False
        self._links.setdefault(link, waiting)[edge] = advert
        self._bytes[link] = self._bytes.get(link, 0) - before + size
        return True

    def drop(self, link: int, edge: NodeId) -> None:
        """Forget what waits of an edge and link."""
        waiting = self._links.get(link, {})
        if (advert := waiting.pop(edge, None)) is None:
            return
        self._bytes[link] -= _size(advert)
        if not waiting:
            self.link_gone(link)

    def link_gone(self, link: int) -> None:
        """Forget all that waits of a link."""
        self._links.pop(link, None)
        self._bytes.pop(link, None)

    def _has_room(self, link: int, size: int) -> bool:
        while sum(self._bytes.values()) + size > ALL_BYTES:
            largest = max(self._bytes, key=lambda each: self._bytes[each])
            if self._bytes[largest] <= self._bytes.get(link, 0) + size:
                return False
            self.drop(largest, next(reversed(self._links[largest])))
        return True


def _size(advert: Advert) -> int:
    return len(advert.entry) + len(advert.signature) + sum(map(len, advert.chain)) + FORM_BYTES
