"""Selection of the way to an edge that a relay announces to each neighbour (pure).

A relay has as many neighbours as the realm has relays, and hears of an edge from nearly all of them: an entry that is
signed again comes over each link. So what is the same for all neighbours is computed once for each change, and only
what differs between them for each neighbour: where a way leads back to, and which bearers may follow one another.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from pcgrelay.catalogue.chains import Chain
from pcgrelay.catalogue.entries import RELAYS_MOST, Catalogue, Offer, ReceivedEntry, SignedEntry
from pcgrelay.link.link import Link
from pcgrelay.messages import Advert
from pcgrelay.model import NodeId
from pcgrelay.policy.clearances import HIGHEST, LOWEST, OPEN, Clearances

# An entry's sequence, path and chain: a neighbour that was told of these knows all of it.
Version = tuple[int, tuple[str, ...], Chain]
Way = tuple[int, ReceivedEntry]  # the number of the link that sent it


class Announcement:
    """What neighbours are to be told of an edge: its entry, and a path to which this relay was added."""

    __slots__ = ("_adverts", "signed", "version")

    def __init__(self, signed: SignedEntry, version: Version) -> None:
        self.signed = signed
        self.version = version
        self._adverts: dict[Chain, Advert] = {}

    def advert(self, chain: Chain) -> Advert:
        """Return the message with a chain, whole or by its digest: one object, however many neighbours it goes to."""
        advert = self._adverts.get(chain)
        if advert is None:
            advert = Advert(self.signed.entry, self.signed.signature, chain, self.version[1])
            self._adverts[chain] = advert
        return advert


class Selection:
    """What each neighbour is to be told of one edge, as things are at this moment."""

    def __init__(
        self, edge: NodeId, catalogue: Catalogue, links: Mapping[int, Link], clearances: Clearances, me: NodeId
    ) -> None:
        self._edge, self._uri = edge, edge.uri
        self._catalogue = catalogue
        self._ways = catalogue.ways(edge)
        self._links = links
        self._clearances = clearances
        self._me = me.uri
        self._preferred: dict[str, list[Way]] = {}  # by the bearer of the neighbour
        self.others: list[int] = []  # links that could not be told of the best way, for it leads back to them
        self._announced: dict[int, Announcement] = {}  # by the link that sent the way

    def announcement(self, to: Link, identity: str) -> Announcement | None:
        """Return what a neighbour is to be told, or None: no way, one that leads back to it, or one that is too long.

        identity: of the neighbour, as a URI.
        """
        if identity == self._uri:
            return None
        for place, (number, known) in enumerate(self._preferred_on(to.bearer)):
            if number != to.number and identity not in known.path:
                return self._announcement(number, known) if len(known.path) < RELAYS_MOST else None
            if place == 0:
                self.others.append(to.number)
        return None

    @cached_property
    def newest(self) -> ReceivedEntry | None:
        """The newest entry of the edge."""
        return self._catalogue.newest(self._edge)

    @cached_property
    def offers(self) -> tuple[Offer, ...]:
        """What the edge offers by its newest entry."""
        return self.newest.offers if self.newest else ()

    @cached_property
    def services(self) -> frozenset[str]:
        """The names of what it offers."""
        return frozenset([offer.service for offer in self.offers])

    @cached_property
    def is_by_rank(self) -> bool:
        """Whether everything may go everywhere, so that only the best way by `rank` counts."""
        return self._markings == {LOWEST}

    @cached_property
    def _markings(self) -> set[int]:
        return {LOWEST} if self._clearances == OPEN else {LOWEST, *(offer.marking for offer in self.offers)}

    def firsts(self) -> dict[str, Way | None]:
        """Return the best way for each bearer of the neighbours that were looked at."""
        return {bearer: self.first(bearer) for bearer in self._preferred}

    def first(self, bearer: str) -> Way | None:
        """Return the best way for neighbours on a bearer. It decides for all of them but those it leads back to."""
        preferred = self._preferred_on(bearer)
        return preferred[0] if preferred else None

    def _preferred_on(self, bearer: str) -> list[Way]:
        preferred = self._preferred.get(bearer)
        if preferred is None:
            preferred = self._preferred[bearer] = self._ordered(bearer)
        return preferred

    def _announcement(self, number: int, known: ReceivedEntry) -> Announcement:
        made = self._announced.get(number)
        if made is None:
            version = (known.verified.sequence, (*known.path, self._me), known.verified.signed.chain)
            made = self._announced[number] = Announcement(known.signed, version)
        return made

    def _ordered(self, bearer: str) -> list[Way]:
        """Return the ways that neighbours on a bearer may be told of, the best first.

        Neighbours judge by what is announced, so a shorter way that only a part of what the edge offers may take would
        hide another. So would one that leads back through the neighbour, which may not be cleared to go the rest of it.
        Where everything may go everywhere only the best way counts.
        """
        usable, markings = self._usable(bearer), self._markings
        if self.is_by_rank:
            return [min(usable, key=rank)] if usable else []
        # The highest of the edge's markings that each clearance covers.
        covered = {each: max(marking for marking in markings if marking <= each) for each in range(LOWEST, HIGHEST + 1)}

        def cleared_rank(way: Way) -> tuple[int, int, int, int]:
            number, known = way
            return (-covered[self._clearances.highest(self._links[number].bearer, known.path)], *rank(way))

        return sorted(usable, key=cleared_rank)

    def _usable(self, bearer: str) -> list[Way]:
        """Return the ways that traffic of neighbours on a bearer may go; draining ones only if there are no others."""
        found, staying = [], []
        is_open = self._clearances.transit is None
        for number, known in self._ways.items():
            link = self._links.get(number)
            if link and link.controlled and (is_open or self._clearances.may_transit(bearer, link.bearer)):
                found.append((number, known))
                if not link.draining:
                    staying.append(found[-1])
        return staying or found


def is_same(one: Way | None, other: Way | None) -> bool:
    """Whether neighbours would be told the same of both ways, over the same link."""
    if one is None or other is None:
        return one is other
    return one[0] == other[0] and (one[1] is other[1] or _content(one[1]) == _content(other[1]))


def _content(known: ReceivedEntry) -> Version:
    return known.sequence, known.path, known.signed.chain


def rank(way: Way) -> tuple[int, int, int]:
    """The shortest path first; among equals the newest entry, then the lowest link."""
    number, known = way
    return (len(known.path), -known.verified.sequence, number)
