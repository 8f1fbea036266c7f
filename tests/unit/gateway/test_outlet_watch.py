"""What is said of outlets that fail: of one that was away, nothing after it is back."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from pcgrelay.clock import SetClock
from pcgrelay.figures import OutletFigures
from pcgrelay.gateway.outlet_watch import DOUBT_MS, FAILURES_MOST, OutletWatch
from pcgrelay.log.events import Record
from pcgrelay.log.outlet_events import OutletFailing, OutletWell
from pcgrelay.services.outlet_plan import Away

NOW = datetime(2026, 11, 30, tzinfo=UTC)


class Outlet:
    """The gateway of an import, as the watch sees it."""

    all_names = ("gateway",)

    def __init__(self) -> None:
        self.figures = OutletFigures()
        self.why = Away.NOT
        self.meter = SimpleNamespace(figures=lambda index: [self.figures])

    def index_of(self, name: str) -> int:
        return 0

    def away(self, index: int) -> Away:
        return self.why

    def share(self, index: int) -> float:
        return 0.0


class Stage:
    def __init__(self) -> None:
        self.clock = SetClock(NOW)
        self.told: list[Record] = []
        self.outlet = Outlet()
        self.imported: Any = SimpleNamespace(
            number=1, outlets=self.outlet, is_known=True, settings=SimpleNamespace(service="named@kent.police.example")
        )
        self.watch = OutletWatch(self.told.append, self.clock)
        self.look()

    def look(self, away: int = 0) -> None:
        """A second passes, in which so many set-ups found nowhere to go."""
        figures = self.outlet.figures
        self.outlet.figures = OutletFigures(tried=figures.tried + away, away=figures.away + away)
        self.clock.advance(1_000)
        self.watch.look([self.imported])

    def problem(self) -> str:
        return self.watch.problem(self.imported, "gateway")


def test_what_failed_while_an_outlet_was_away_says_nothing_once_it_is_back() -> None:
    """Without a share nothing tries it, so it would be said to fail for ever."""
    stage = Stage()
    stage.look(away=FAILURES_MOST)
    stage.outlet.why = Away.DOWN
    for _ in range(DOUBT_MS // 1_000 + 1):
        stage.look()
    stage.outlet.why = Away.NOT
    stage.look()
    assert stage.problem() == ""
    assert [type(each) for each in stage.told] == [OutletFailing, OutletWell]


def test_what_fails_without_being_away_goes_on_failing() -> None:
    stage = Stage()
    stage.look(away=FAILURES_MOST)
    for _ in range(DOUBT_MS // 1_000 + 1):
        stage.look()
    assert stage.problem() == f"its last {FAILURES_MOST} set-ups failed (away)"
    assert [type(each) for each in stage.told] == [OutletFailing]


def test_what_fails_after_it_is_back_counts() -> None:
    stage = Stage()
    stage.outlet.why = Away.DOWN
    stage.look(away=1)
    stage.outlet.why = Away.NOT
    stage.look(away=2)
    stage.look(away=FAILURES_MOST)
    assert stage.problem() == f"its last {FAILURES_MOST} set-ups failed (away)"
