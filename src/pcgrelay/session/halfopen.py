"""How many strangers may be at the door at once (pure).

Before a peer has proved who it is it may cost little, all strangers together may cost a known bound, and one source may
not use that up alone. Between half and all of the bound, newcomers are dropped at random, more of them the fuller it
is: so a flood cannot keep honest peers out with certainty by holding the last place.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable


class HalfOpen:
    """Connections that are not yet a link or lane."""

    def __init__(self, total_most: int, each_most: int, chance: Callable[[], float]) -> None:
        """chance answers a number from 0 up to 1, anew at each call."""
        self.total = 0
        self._total_most = total_most
        self._each_most = each_most
        self._chance = chance
        self._sources: dict[str, int] = {}

    def bound(self, total_most: int, each_most: int) -> None:
        """Other bounds from now on; who is in stays."""
        self._total_most = total_most
        self._each_most = each_most

    def refusal(self, source: str) -> str | None:
        """Why a newcomer is dropped, or nothing."""
        if self.total >= self._total_most:
            return "half_open_total"
        if self._sources.get(source, 0) >= self._each_most:
            return "half_open_per_source"
        return "half_open_early_drop" if is_dropped_early(self.total, self._total_most, self._chance) else None

    def enter(self, source: str) -> None:
        """A stranger has come."""
        self.total += 1
        self._sources[source] = self._sources.get(source, 0) + 1

    def leave(self, source: str) -> None:
        """It is gone, or is no stranger any more."""
        self.total -= 1
        left = self._sources[source] - 1
        if left:
            self._sources[source] = left
        else:
            del self._sources[source]


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
