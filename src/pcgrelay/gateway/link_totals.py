"""What each neighbour's links have carried since the start, also those that have ended.

The core counts for each link, and a link that is made again begins at zero. So the last figures of an ended link are
kept, by neighbour, bearer, direction and address. They are looked at once a second: the last second of a link that is
lost is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pcgrelay.handover.node import LinkTotalHandover
from pcgrelay.link.link import Link

PLACES_MOST = 4_096

Place = tuple[str, str, str, str]  # peer, bearer, direction, address
Bytes = tuple[int, int]  # sent, received


def place_of(link: Link) -> Place:
    """Return the place of a link, as the status names it."""
    return link.peer.dotted, link.bearer, "out" if link.dialled else "in", str(link.standing.settings.address)


class LinkTotals:
    """The bytes of ended links."""

    def __init__(self) -> None:
        self._ended: dict[Place, Bytes] = {}
        self._living: dict[int, tuple[Place, Bytes]] = {}  # by the number of the link, as seen last

    def look(self, links: Iterable[Link], figures: Mapping[int, Mapping[str, int]]) -> None:
        """Note what the links have carried so far, and add up those that are gone."""
        living = {link.number: place_of(link) for link in links}
        for number, (place, counted) in self._living.items():
            if number not in living:
                self._add(place, counted)
        now = ((number, place, figures.get(number, {})) for number, place in living.items())
        self._living = {
            number: (place, (each.get("sent_bytes", 0), each.get("received_bytes", 0))) for number, place, each in now
        }

    def ended(self, place: Place) -> Bytes:
        """Return what ended links have sent and received there."""
        return self._ended.get(place, (0, 0))

    def to_handover(self) -> tuple[LinkTotalHandover, ...]:
        """Return the hand-over records; living links are handed over by the core."""
        return tuple(
            LinkTotalHandover(place=place, sent_bytes=sent, received_bytes=received)
            for place, (sent, received) in self._ended.items()
        )

    def restore(self, handover: Iterable[LinkTotalHandover]) -> None:
        """Continue from the totals of the previous process."""
        for each in handover:
            self._add(each.place, (each.sent_bytes, each.received_bytes))

    def _add(self, place: Place, counted: Bytes) -> None:
        sent, received = self._ended.pop(place, (0, 0))
        if len(self._ended) >= PLACES_MOST:
            del self._ended[next(iter(self._ended))]
        self._ended[place] = (sent + counted[0], received + counted[1])
