"""The choice among several links for the next path (pure).

Well links come first; then precedence decides, then the fewest relays on the path, then the share by weight, and last
the round trip. Loops are impossible whatever is chosen here: an entry whose path names this node is refused, and so is
a path that came through here before (docs/protocol.md, 9.4 and 9.5).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from pcgrelay.model import Precedence


@dataclass(frozen=True, slots=True)
class Candidate:
    """A link that a path could use."""

    number: int
    relays: int  # on the path to the edge
    precedence: int = Precedence.DEFAULT
    weight: int = 100
    is_well: bool = True  # and steady
    load: int = 0  # paths that use it already
    round_trip_ms: float | None = None
    is_cleared: bool = True  # for the marking of what is to go over it, with the relays that are announced behind it

    @property
    def rank(self) -> tuple[bool, int, int]:
        """Sort key, least first. Among candidates of one rank the load decides, and no path moves for the load."""
        return not self.is_well, self.precedence, self.relays

    @property
    def share(self) -> tuple[float, float, int]:
        """Sort key within a rank, least first: load with one more path by weight, then round trip, then number."""
        trip = self.round_trip_ms
        return (self.load + 1) / self.weight if self.weight else inf, inf if trip is None else trip, self.number


def choose(candidates: Iterable[Candidate]) -> Candidate | None:
    """Return the best candidate, or None if there is none. One that is not cleared is none, however well it is."""
    return min((each for each in candidates if each.is_cleared), key=lambda each: (each.rank, each.share), default=None)


def against(other: Candidate, chosen: Candidate) -> str:
    """Return in a few words why `chosen` was preferred to `other`."""
    if other.is_well != chosen.is_well:
        return "it is not well, or not long enough"
    if other.precedence != chosen.precedence:
        return f"it is {Precedence(other.precedence).title}, the chosen one {Precedence(chosen.precedence).title}"
    if other.relays != chosen.relays:
        return f"it is longer: {_relays(other.relays)}, the chosen one has {_relays(chosen.relays)}"
    if not other.weight and chosen.weight:
        return "its weight is 0"
    if other.share[0] != chosen.share[0]:
        return f"its share by weight is met: {other.load} of its weight {other.weight}"
    if other.share[1] != chosen.share[1]:
        return "its round trip is longer"
    return "it is no better"


def _relays(count: int) -> str:
    return "no relay" if not count else f"{count} relay{'' if count == 1 else 's'}"
