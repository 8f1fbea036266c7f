"""What the pictures of a cut-over's last day are made from: a point every five minutes, more often at first (pure)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pcgrelay.cutover.histogram import Histogram, from_counts
from pcgrelay.cutover.state import POINT_S, Point
from pcgrelay.figures import OutletFigures
from pcgrelay.gateway.cutover_figures import Figures, failed_of

# Whoever has just begun wants to see something: for the first ten minutes a point comes so often.
FIRST_POINT_S = 10
FIRST_S = 600


class PointMaker:
    """Collects what is counted until a point is due."""

    def __init__(self, points: tuple[Point, ...]) -> None:
        self._made = len(points)
        self._since: datetime | None = None
        self._setups: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._times: dict[str, Histogram] = {}

    def count(self, outlet: str, news: Figures) -> None:
        """Add what an outlet has done; shadows stand beside applications, for they show the same times."""
        for figures in news:
            self._add(outlet, figures)

    def _add(self, outlet: str, figures: OutletFigures) -> None:
        self._setups[outlet] = self._setups.get(outlet, 0) + figures.up
        self._failures[outlet] = self._failures.get(outlet, 0) + failed_of(figures)
        self._times[outlet] = self._times.get(outlet, Histogram()) + from_counts(figures.setup_us)

    def due(self, wall: datetime, shares: dict[str, float]) -> Point | None:
        """The point that is due, and begin the next one."""
        if self._since is None:
            self._since = wall
        every_s = FIRST_POINT_S if self._made * FIRST_POINT_S < FIRST_S else POINT_S
        if wall - self._since < timedelta(seconds=every_s):
            # A clock that was set back would keep the next point away for as long.
            self._since = min(self._since, wall)
            return None
        point = Point(
            at=wall.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            shares=shares,
            setups=self._setups,
            failures=self._failures,
            median_us=self._quantiles(0.5),
            p95_us=self._quantiles(0.95),
        )
        self._since = wall
        self._made += 1
        self._setups, self._failures, self._times = {}, {}, {}
        return point

    def _quantiles(self, share: float) -> dict[str, int]:
        found = {name: times.quantile(share) for name, times in self._times.items()}
        return {name: round(value) for name, value in found.items() if value is not None}
