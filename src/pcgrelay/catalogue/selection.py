"""Selection of the way to an edge that a relay announces to each neighbour (pure).

A relay has as many neighbours as the realm has relays, and hears of an edge from nearly all of them: an entry that is
signed again comes over each link. So what is the same for all neighbours is computed once for each change, and only
what differs between them for each neighbour: where a way leads back to, and which bearers may follow one another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pcgrelay.catalogue.entries import RELAYS_MOST, Catalogue, ReceivedEntry, SignedEntry
from pcgrelay.link.link import Link
from pcgrelay.model import NodeId
from pcgrelay.policy.clearances import LOWEST, OPEN, Clearances

# An entry's sequence, path and chain: a neighbour that was told of these knows all of it.
Version = tuple[int, tuple[str, ...], tuple[bytes, ...]]
Way = tuple[int, ReceivedEntry]  # the number of the link that sent it


class Announcement(NamedTuple):
    """What a neighbour is to be told of an edge: its entry, and a path to which this relay was added."""

    signed: SignedEntry
    version: Version


class Selection:
    """What each neighbour is to be told of one edge, as things are at this moment."""

    def __init__(
        self, edge: NodeId, catalogue: Catalogue, links: Mapping[int, Link], clearances: Clearances, me: NodeId
    ) -> None:
        self._edge = edge.uri
        self._catalogue = catalogue
        self._ways = catalogue.ways(edge)
        self._newest = catalogue.newest(edge)
        self._links = links
        self._clearances = clearances
        self._me = me.uri
        self._preferred: dict[str, list[Way]] = {}  # by the bearer of the neighbour
        self._announced: dict[int, Announcement] = {}  # by the link that sent the way

    def announcement(self, to: Link, identity: str) -> Announcement | None:
        """Return what a neighbour is to be told, or None: no way, one that leads back to it, or one that is too long.

        identity: of the neighbour, as a URI.
        """
        if identity == self._edge:
            return None
        preferred = self._preferred.get(to.bearer)
        if preferred is None:
            preferred = self._preferred[to.bearer] = self._ordered(to.bearer)
        for number, known in preferred:
            if number != to.number and identity not in known.path:
                return self._announcement(number, known) if len(known.path) < RELAYS_MOST else None
        return None

    def _announcement(self, number: int, known: ReceivedEntry) -> Announcement:
        made = self._announced.get(number)
        if made is None:
            version = (known.sequence, (*known.path, self._me), known.signed.chain)
            made = self._announced[number] = Announcement(known.signed, version)
        return made

    def _ordered(self, bearer: str) -> list[Way]:
        """Return the ways that neighbours on a bearer may be told of, the best first.

        Neighbours judge by what is announced, so a shorter way that only a part of what the edge offers may take would
        hide another. So would one that leads back through the neighbour, which may not be cleared to go the rest of it.
        Where everything may go everywhere only the best way counts.
        """
        usable = self._usable(bearer)
        markings = {offer.marking for offer in self._newest.offers} if self._newest else set()
        if self._clearances == OPEN or not markings - {LOWEST}:
            return [min(usable, key=_rank)] if usable else []
        highest_first = sorted(markings | {LOWEST}, reverse=True)
        clears = self._clearances.clears

        def cleared_rank(way: Way) -> tuple[int, int, int, int]:
            number, known = way
            on = self._links[number].bearer
            cleared = next(marking for marking in highest_first if clears(marking, on, known.path))
            return (-cleared, *_rank(way))

        return sorted(usable, key=cleared_rank)

    def _usable(self, bearer: str) -> list[Way]:
        """Return the ways that traffic of neighbours on a bearer may go; draining ones only if there are no others."""
        found = [
            (number, known)
            for number, known in self._ways.items()
            if (link := self._links.get(number)) is not None
            and link.controlled
            and self._clearances.may_transit(bearer, link.bearer)
        ]
        return [way for way in found if not self._links[way[0]].draining] or found


def _rank(way: Way) -> tuple[int, int, int]:
    """The shortest path first; among equals the newest entry, then the lowest link."""
    number, known = way
    return (len(known.path), -known.sequence, number)
