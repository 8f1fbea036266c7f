"""Sessions that others begin here, until their handshake has proved who they are (pure).

PATH_OPEN names its source, and a relay may name anybody. Only the link that it came over is proved. So a name counts
for its link alone, and no link may have all places: who makes names up keeps out nobody who comes another way, and
those who come the same way not with certainty.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from pcgrelay.model import NodeId
from pcgrelay.net.halfopen import is_dropped_early

CLAIMS_MOST = 128
CLAIMS_OF_A_LINK_MOST = CLAIMS_MOST // 2
CLAIMS_OF_A_NAME_MOST = 4  # over one link
TOO_MANY = "too_many_handshakes"
EARLY = "handshake_early_drop"


class PendingSessions:
    """How many sessions are being set up by others."""

    def __init__(self, chance: Callable[[], float]) -> None:
        """chance answers a number from 0 up to 1, a new one at each call."""
        self._chance = chance
        self._names: Counter[tuple[int, NodeId]] = Counter()
        self._links: Counter[int] = Counter()
        self._total = 0

    def refusal(self, link: int, name: NodeId) -> str | None:
        """Why another one over that link is not taken, or nothing."""
        of_link = self._links[link]
        if self._names[(link, name)] >= CLAIMS_OF_A_NAME_MOST:
            return TOO_MANY
        for count, most in ((self._total, CLAIMS_MOST), (of_link, CLAIMS_OF_A_LINK_MOST)):
            if count >= most:
                return TOO_MANY
            if is_dropped_early(count, most, self._chance):
                return EARLY
        return None

    def enter(self, link: int, name: NodeId) -> None:
        """One has begun."""
        self._total += 1
        self._links[link] += 1
        self._names[(link, name)] += 1

    def leave(self, link: int, name: NodeId) -> None:
        """It is proved, or over."""
        self._total -= 1
        self._links[link] -= 1
        self._names[(link, name)] -= 1
        if not self._links[link]:
            del self._links[link]
        if not self._names[(link, name)]:
            del self._names[(link, name)]
