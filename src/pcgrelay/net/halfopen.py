"""Who of those that have not proved who they are may stay, and whose handshake may begin (pure).

Before a peer has proved who it is it may cost little, all strangers together may cost a known bound, and one source may
not use that up. A connection is first one of those whose first flight is awaited, which costs a descriptor, and then
one of those whose handshake runs, which costs a key exchange and a signature. Each of the two has places of its own.
When they are taken, a newcomer takes the place of the oldest from the source that has most, unless that is its own; so
a flood crowds out itself. Sources from which a member came before have places that no stranger can take.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pcgrelay.net.ratelimit import TokenBucket

# Handshakes that strangers may begin, all together and each source; a core makes some hundreds in a second.
BEGUN_AT_ONCE = 200
BEGUN_EACH_SECOND = 100
SOURCE_AT_ONCE = 20
SOURCE_EACH_SECOND = 2
# Sources that were members before: how many are remembered, and how many handshakes each may begin.
KNOWN_MOST = 4_096
KNOWN_AT_ONCE = 200
KNOWN_EACH_SECOND = 20
SOURCES_MOST = 4_096


@dataclass(eq=False, slots=True)
class Place:
    """A stranger's place, until it has left it."""

    source: str
    give_up: Callable[[], None]
    kept: bool  # of those for sources that were members before


class HalfOpen:
    """Places for connections that are not yet a link or lane."""

    def __init__(self, total_most: int, each_most: int, chance: Callable[[], float]) -> None:
        """chance answers a number from 0 up to 1, a new one at each call."""
        self._total_most = total_most
        self._each_most = each_most
        self._chance = chance
        self._of_strangers: dict[str, dict[Place, None]] = {}  # by source, oldest first
        self._of_known: dict[str, dict[Place, None]] = {}
        self._counts = {False: 0, True: 0}

    @property
    def total(self) -> int:
        """All that are taken."""
        return self._counts[False] + self._counts[True]

    def bound(self, total_most: int, each_most: int) -> None:
        """Other bounds from now on; who is in stays."""
        self._total_most = total_most
        self._each_most = each_most

    def enter(self, source: str, give_up: Callable[[], None], *, known: bool = False) -> Place | str:
        """A place, or in one word why there is none. give_up is called if another takes it."""
        table = self._of_known if known else self._of_strangers
        mine = len(table.get(source, ()))
        if mine >= self._each_most:
            return "half_open_per_source"
        most = max(1, self._total_most // 2) if known else self._total_most
        count = self._counts[known]
        if count >= most:
            fullest = max(table.values(), key=len)
            if len(fullest) <= mine:
                return "half_open_total"
            victim = next(iter(fullest))
            self.leave(victim)
            victim.give_up()
        elif (mine + 1) * len(table) > count and is_dropped_early(count, most, self._chance):
            # Who has less than the others have is not left to chance.
            return "half_open_early_drop"
        place = Place(source, give_up, known)
        table.setdefault(source, {})[place] = None
        self._counts[known] += 1
        return place

    def leave(self, place: Place) -> None:
        """It is gone, or no stranger any more; a second time means nothing."""
        table = self._of_known if place.kept else self._of_strangers
        places = table.get(place.source, {})
        if place not in places:
            return
        del places[place]
        self._counts[place.kept] -= 1
        if not places:
            del table[place.source]


class Beginnings:
    """Whose handshake may begin, and which sources were members before."""

    def __init__(self, now_ms: int) -> None:
        self._all = TokenBucket(BEGUN_AT_ONCE, BEGUN_EACH_SECOND, now_ms)
        self._each: dict[str, TokenBucket] = {}
        self._known: dict[str, TokenBucket] = {}  # the one that was a member last comes last

    def refusal(self, source: str, now_ms: int) -> str | None:
        """Why no handshake may begin now, or nothing: then it is counted."""
        known = self._known.get(source)
        if known is not None and known.spend(now_ms):
            return None
        mine = self._each.get(source)
        if mine is None:
            if len(self._each) >= SOURCES_MOST:
                self._forget(now_ms)
            mine = self._each.setdefault(source, TokenBucket(SOURCE_AT_ONCE, SOURCE_EACH_SECOND, now_ms))
        had = mine.spend(now_ms)
        # While there is plenty, it matters to nobody who takes it.
        if not had and self._all.left(now_ms) <= BEGUN_AT_ONCE / 2:
            return "handshakes_of_source"
        return None if self._all.spend(now_ms) else "handshakes_of_strangers"

    def is_known(self, source: str) -> bool:
        """Whether a member came from there before."""
        return source in self._known

    def was_member(self, source: str, now_ms: int) -> None:
        """Whoever is there has proved to be a member."""
        mine = self._known.pop(source, None) or TokenBucket(KNOWN_AT_ONCE, KNOWN_EACH_SECOND, now_ms)
        self._known[source] = mine
        if len(self._known) > KNOWN_MOST:
            del self._known[next(iter(self._known))]

    def to_handover(self) -> tuple[str, ...]:
        """The sources that another process is to know."""
        return tuple(self._known)

    def restore(self, sources: Iterable[str], now_ms: int) -> None:
        """Know those that the process before this one knew."""
        for source in sources:
            self.was_member(source, now_ms)

    def _forget(self, now_ms: int) -> None:
        """Those that have all they may have; if nobody has, all: the bound for all together holds in any case."""
        self._each = {source: each for source, each in self._each.items() if not each.is_whole(now_ms)}
        if len(self._each) >= SOURCES_MOST:
            self._each = {}


def is_dropped_early(count: int, most: int, chance: Callable[[], float]) -> bool:
    """Whether a newcomer beside so many is dropped at random: never up to half of the bound, always at the bound."""
    half = most / 2
    return count > half and chance() < (count - half) / half


def source_of(host: str) -> str:
    """What counts as one source: an IPv4 address, or an IPv6 network of 64 bits, since a host has all of one."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
