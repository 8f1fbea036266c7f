"""Admission control for connections that are not authenticated yet (pure).

An unauthenticated connection may cost little, all of them together a known bound, and one source may not use that up. A
connection first waits for its first flight, which costs a descriptor, and then runs its handshake, which costs a key
exchange and a signature. Each of the two stages has places of its own. When all are taken, a new connection replaces
the oldest one of the source that has most, unless that is its own source; so a flood displaces itself. Sources from
which a member came before have places that no stranger can take.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pcgrelay.net.ratelimit import TokenBucket

# Handshakes that strangers may begin, all together and each source; a processor makes some hundreds in a second.
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
    """The place of one connection, until it leaves. give_up: called if another connection takes the place."""

    source: str
    give_up: Callable[[], None]
    kept: bool  # one of the places for sources from which a member came before


class HalfOpen:
    """The places of one stage, for connections that are not yet a link or lane."""

    def __init__(self, total_most: int, each_most: int, chance: Callable[[], float]) -> None:
        """chance: returns a random number in [0, 1) at each call."""
        self._total_most = total_most
        self._each_most = each_most
        self._chance = chance
        self._of_strangers: dict[str, dict[Place, None]] = {}  # by source, oldest first
        self._of_known: dict[str, dict[Place, None]] = {}
        self._counts = {False: 0, True: 0}

    @property
    def total(self) -> int:
        """How many places are taken."""
        return self._counts[False] + self._counts[True]

    def bound(self, total_most: int, each_most: int) -> None:
        """Set the bounds. Connections that have places keep them."""
        self._total_most = total_most
        self._each_most = each_most

    def enter(self, source: str, give_up: Callable[[], None], *, known: bool = False) -> Place | str:
        """Take a place; returns it, or the reason for which there is none.

        give_up: called if another connection takes the place. known: a member came from this source before.
        """
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
            # A source that has less than the average is not dropped at random.
            return "half_open_early_drop"
        place = Place(source, give_up, known)
        table.setdefault(source, {})[place] = None
        self._counts[known] += 1
        return place

    def leave(self, place: Place) -> None:
        """Free a place: the connection has ended or is authenticated. A second call has no effect."""
        table = self._of_known if place.kept else self._of_strangers
        places = table.get(place.source, {})
        if place not in places:
            return
        del places[place]
        self._counts[place.kept] -= 1
        if not places:
            del table[place.source]


class Beginnings:
    """The rate limits of handshakes, and the sources from which members came before."""

    def __init__(self, now_ms: int) -> None:
        self._all = TokenBucket(BEGUN_AT_ONCE, BEGUN_EACH_SECOND, now_ms)
        self._each: dict[str, TokenBucket] = {}
        self._known: dict[str, TokenBucket] = {}  # in the order in which a member last came from them

    def refusal(self, source: str, now_ms: int) -> str | None:
        """Return the reason for which a handshake may not begin now; None: it may, and is counted."""
        known = self._known.get(source)
        if known is not None and known.spend(now_ms):
            return None
        mine = self._each.get(source)
        if mine is None:
            if len(self._each) >= SOURCES_MOST:
                self._forget(now_ms)
            mine = self._each.setdefault(source, TokenBucket(SOURCE_AT_ONCE, SOURCE_EACH_SECOND, now_ms))
        had = mine.spend(now_ms)
        # The bound of a source matters only when the common bucket is half empty.
        if not had and self._all.left(now_ms) <= BEGUN_AT_ONCE / 2:
            return "handshakes_of_source"
        return None if self._all.spend(now_ms) else "handshakes_of_strangers"

    def is_known(self, source: str) -> bool:
        """Whether a member came from this source before."""
        return source in self._known

    def was_member(self, source: str, now_ms: int) -> None:
        """Note that a member has come from this source."""
        mine = self._known.pop(source, None) or TokenBucket(KNOWN_AT_ONCE, KNOWN_EACH_SECOND, now_ms)
        self._known[source] = mine
        if len(self._known) > KNOWN_MOST:
            del self._known[next(iter(self._known))]

    def to_handover(self) -> tuple[str, ...]:
        """Return the known sources, for the hand-over."""
        return tuple(self._known)

    def restore(self, sources: Iterable[str], now_ms: int) -> None:
        """Restore the known sources of the previous process."""
        for source in sources:
            self.was_member(source, now_ms)

    def _forget(self, now_ms: int) -> None:
        """Forget the sources whose bucket is full, or all if none is: the common bound holds in any case."""
        self._each = {source: each for source, each in self._each.items() if not each.is_whole(now_ms)}
        if len(self._each) >= SOURCES_MOST:
            self._each = {}


def is_dropped_early(count: int, most: int, chance: Callable[[], float]) -> bool:
    """Whether one more beside `count` is dropped at random: never up to half of the bound, always at the bound."""
    half = most / 2
    return count > half and chance() < (count - half) / half


def source_of(host: str) -> str:
    """Return what counts as one source: an IPv4 address, or an IPv6 /64 network, because a host has all of one."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
