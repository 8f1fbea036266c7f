"""Which outlets fail, looked at once a second: a line in the log when one begins to, and when it is well again.

An outlet fails if it is away, or if its set-ups fail and none succeeds. A set-up that fails on one outlet is led on to
another, and no application notices. So somebody has to be told.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pcgrelay.clock import Clock
from pcgrelay.figures import FAILURES, OutletFigures
from pcgrelay.log.events import Emit
from pcgrelay.log.outlet_events import OutletFailing, OutletWell
from pcgrelay.services.outlet_plan import Away, away_words
from pcgrelay.services.outlets import ImportOutlets
from pcgrelay.services.services import Imported

# What is over within a second or two is not told: a target that was just named, a session that is being set up.
DOUBT_MS = 2_000
# So many set-ups in a row have failed.
FAILURES_MOST = 5


@dataclass(slots=True)
class _Watched:
    """One outlet of one import."""

    last: OutletFigures
    failures: int = 0  # set-ups that failed since the last that did not
    outcome: str = ""  # of most of them
    bad_ms: int | None = None  # since when
    told: bool = False
    is_away: bool = False


class OutletWatch:
    """The outlets of one edge."""

    def __init__(self, emit: Emit, clock: Clock) -> None:
        self._emit = emit
        self._clock = clock
        self._watched: dict[tuple[int, str], _Watched] = {}

    def problem(self, imported: Imported, name: str) -> str:
        """Return what is wrong with an outlet that matters, in words; or nothing."""
        outlets = imported.outlets
        index = None if outlets is None else outlets.index_of(name)
        if outlets is None or index is None or not _matters(imported, outlets, index):
            return ""
        away = outlets.away(index)
        if away is not Away.NOT:
            return away_words(away, is_known=imported.is_known)
        watched = self._watched.get((imported.number, name))
        if watched is not None and watched.failures >= FAILURES_MOST:
            return f"its last {watched.failures} set-ups failed ({watched.outcome})"
        return ""

    def away_since_ms(self, imported: Imported, name: str) -> int | None:
        """Return since when, on the monotonic clock, it fails and that was told."""
        watched = self._watched.get((imported.number, name))
        return watched.bad_ms if watched is not None and watched.told else None

    def look(self, imports: Iterable[Imported]) -> None:
        """Look at all outlets. Their meters were read."""
        now_ms = self._clock.monotonic_ms()
        seen = set()
        for imported in imports:
            for name in imported.outlets.all_names if imported.outlets is not None else ():
                seen.add((imported.number, name))
                self._look(imported, imported.outlets, name, now_ms)
        self._watched = {key: watched for key, watched in self._watched.items() if key in seen}

    def _look(self, imported: Imported, outlets: ImportOutlets | None, name: str, now_ms: int) -> None:
        assert outlets is not None
        index = outlets.index_of(name)
        assert index is not None
        figures = outlets.meter.figures(index)[0]
        watched = self._watched.setdefault((imported.number, name), _Watched(figures))
        _count(watched, figures)
        is_away = outlets.away(index) is not Away.NOT
        if watched.is_away and not is_away:
            # What failed before says nothing of it now, and without a share nothing would ever try it.
            watched.failures = 0
        watched.is_away = is_away
        problem = self.problem(imported, name)
        if not problem:
            if watched.told:
                since = now_ms - (watched.bad_ms or now_ms)
                self._emit(OutletWell(service=str(imported.settings.service), outlet=name, away_ms=since))
            watched.bad_ms, watched.told = None, False
            return
        if watched.bad_ms is None:
            watched.bad_ms = now_ms
        if not watched.told and now_ms - watched.bad_ms >= DOUBT_MS:
            watched.told = True
            share = outlets.share(index)
            self._emit(
                OutletFailing(service=str(imported.settings.service), outlet=name, reason=problem, share_percent=share)
            )


def _matters(imported: Imported, outlets: ImportOutlets, index: int) -> bool:
    """Return whether anybody relies on it. Nobody misses a gateway without a share that was never announced.

    What is retired is missed by nobody either.
    """
    if outlets.away(index) is Away.RETIRED:
        return False
    return bool(outlets.share(index)) or index != 0 or imported.is_known


def _count(watched: _Watched, figures: OutletFigures) -> None:
    news = figures.minus(watched.last)
    watched.last = figures
    if news.up > 0:
        watched.failures = 0
    elif news.failed > 0:
        watched.failures += news.failed
        watched.outcome = max(FAILURES, key=lambda name: int(getattr(news, name)))
