"""Who was present and is away (pure). Peers seen within a day are not forgotten just because they are gone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Generic, TypeVar

# How long an absent peer is remembered.
MISSED_MS = 24 * 3_600_000
# How many absent peers are remembered at most; the one absent longest is forgotten first.
MISSED_MOST = 16_384

K = TypeVar("K", bound=Hashable)


class Absences(Generic[K]):
    """Peers that are present, and since when the others are away."""

    def __init__(self) -> None:
        self._present: set[K] = set()
        self._away: dict[K, int] = {}  # oldest first

    @property
    def away(self) -> dict[K, int]:
        """The peers that are away, and since when."""
        return dict(self._away)

    def look(self, present: Iterable[K], now_ms: int) -> tuple[list[K], dict[K, int]]:
        """Apply who is present now; return who is newly away, and who is back with the time it was away (ms)."""
        now = set(present)
        gone = sorted(self._present - now, key=repr)
        back = {key: now_ms - self._away.pop(key) for key in now & self._away.keys()}
        self._away |= dict.fromkeys(gone, now_ms)
        self._present = now
        self.forget(lambda key: now_ms - self._away[key] > MISSED_MS)
        for key in list(self._away)[: max(0, len(self._away) - MISSED_MOST)]:
            del self._away[key]
        return [key for key in gone if key in self._away], back

    def forget(self, unwanted: Callable[[K], bool]) -> None:
        """Forget absent peers whose absence is intended."""
        for key in [key for key in self._away if unwanted(key)]:
            del self._away[key]

    def dismiss(self, unwanted: Callable[[K], bool]) -> None:
        """Forget peers, whether they are present or away."""
        self._present = {key for key in self._present if not unwanted(key)}
        self.forget(unwanted)

    def everybody(self) -> list[tuple[K, int]]:
        """Return all known peers: with zero if present, else with the time since when they are away."""
        return [*((key, 0) for key in sorted(self._present, key=repr)), *self._away.items()]

    def restore(self, known: Collection[tuple[K, int]]) -> None:
        """Restore what the previous process knew."""
        self._present = {key for key, since_ms in known if not since_ms}
        self._away = dict(sorted(((key, since) for key, since in known if since), key=lambda pair: pair[1]))
