"""Who was there and is away (pure). Nobody who was seen within a day is forgotten only because it is gone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Generic, TypeVar

# So long somebody who is away is missed.
MISSED_MS = 24 * 3_600_000
# So many are missed at a time; who is away longest is forgotten first.
MISSED_MOST = 16_384

K = TypeVar("K", bound=Hashable)


class Absences(Generic[K]):
    """Those that are there, and since when the others are away."""

    def __init__(self) -> None:
        self._present: set[K] = set()
        self._away: dict[K, int] = {}  # oldest first

    @property
    def away(self) -> dict[K, int]:
        """Who is missed, and since when."""
        return dict(self._away)

    def look(self, present: Iterable[K], now_ms: int) -> tuple[list[K], dict[K, int]]:
        """Look who is there now; answers who is newly missed, and who is back with the time that it was away."""
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
        """Miss some no longer, for their absence is wanted."""
        for key in [key for key in self._away if unwanted(key)]:
            del self._away[key]

    def dismiss(self, unwanted: Callable[[K], bool]) -> None:
        """Know some no longer, be they there or away."""
        self._present = {key for key in self._present if not unwanted(key)}
        self.forget(unwanted)

    def everybody(self) -> list[tuple[K, int]]:
        """All that is known: who is there (zero), and since when the others are away."""
        return [*((key, 0) for key in sorted(self._present, key=repr)), *self._away.items()]

    def restore(self, known: Collection[tuple[K, int]]) -> None:
        """Know what the process before this one knew."""
        self._present = {key for key, since_ms in known if not since_ms}
        self._away = dict(sorted(((key, since) for key, since in known if since), key=lambda pair: pair[1]))
