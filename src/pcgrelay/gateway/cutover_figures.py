"""What the meters of a cut-over's outlets say: sums for the judge, and what has failed since the last look (pure).

What is no fault of an outlet is no evidence: that it was away, that this node had no room, that the application went,
that the session ended. A dead relay is a hold, and the hold is seen by itself.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from pcgrelay.cutover.histogram import from_counts
from pcgrelay.cutover.odds import Failures, share_of
from pcgrelay.cutover.samples import Outlet, Samples
from pcgrelay.cutover.state import Counts
from pcgrelay.figures import OutletFigures

# Over so long attempts are counted to know which share of them goes to the new outlet.
SHARE_WINDOW_S = 10.0

NOTHING = OutletFigures()
Figures = tuple[OutletFigures, OutletFigures]  # of applications, and of shadows


def failed_of(figures: OutletFigures) -> int:
    """The set-ups that failed and speak against the outlet."""
    return figures.refused + figures.silent + figures.denied


def tried_of(figures: OutletFigures) -> int:
    """The set-ups that say something of the outlet."""
    return figures.up + failed_of(figures)


def ended_here(figures: OutletFigures) -> int:
    """The streams that failed here and were not led on, for the others had failed before."""
    return max(0, failed_of(figures) - figures.moved)


def samples_of(figures: OutletFigures) -> Samples:
    """What the judge wants of one kind of set-up."""
    return Samples(
        tried_of(figures),
        failed_of(figures),
        from_counts(figures.setup_us),
        from_counts(figures.answer_us),
        from_counts(figures.rate_kib_s),
        figures.early + figures.cut,
    )


def outlet_of(name: str, figures: Figures) -> Outlet:
    """An outlet's samples of both kinds."""
    return Outlet(name, samples_of(figures[0]), samples_of(figures[1]))


def counts_of(figures: Figures) -> Counts:
    """What is told of an outlet beside its samples."""
    real, shadow = figures
    return Counts(
        setups=real.up,
        failures=failed_of(real) + real.away + real.lost,
        moved=real.moved,
        shadows=tried_of(shadow),
        shadow_failures=failed_of(shadow),
        early=real.early,
        cut=real.cut,
        nudged=real.nudged,
        transferred=real.sent_bytes + real.received_bytes,
    )


@dataclass(slots=True)
class Reading:
    """One outlet's figures, and what has come since the last look."""

    last: Figures
    news: Figures = (NOTHING, NOTHING)

    def look(self, figures: Figures) -> None:
        """Note the figures as they are now. Where they are lower, another outlet has the index, and all is news."""
        self.news = _since(figures[0], self.last[0]), _since(figures[1], self.last[1])
        self.last = figures


def _since(now: OutletFigures, then: OutletFigures) -> OutletFigures:
    return now.minus(then) if now.tried >= then.tried else now


@dataclass(slots=True)
class Attempts:
    """Which share of attempts goes to the new outlet just now."""

    _kept: deque[tuple[float, int, int]] = field(default_factory=deque)

    def share(self, now_s: float, new: int, old: int, otherwise: float) -> float:
        """The share with what was tried since the last look; the greater of that moment's and of the last while's.

        When a dead target makes each stream try both outlets, that moment's share is a half at once, and no failure
        of the target speaks against the new outlet.
        """
        self._kept.append((now_s, new, old))
        while self._kept and now_s - self._kept[0][0] > SHARE_WINDOW_S:
            self._kept.popleft()
        whole = share_of(sum(each[1] for each in self._kept), sum(each[2] for each in self._kept), otherwise)
        return max(whole, share_of(new, old, 0.0))


def setups_of(new: OutletFigures, old: OutletFigures, share: float) -> Failures:
    """Set-ups of applications that failed."""
    return Failures(failed_of(new), failed_of(old), share)


def later_of(new: Figures, old: Figures, news: tuple[OutletFigures, OutletFigures]) -> Failures:
    """Streams that ended early or were cut; the share is that of streams which could."""
    live = new[0].active + news[0].up, old[0].active + news[1].up
    return Failures(news[0].early + news[0].cut, news[1].early + news[1].cut, share_of(*live, 0.5))
