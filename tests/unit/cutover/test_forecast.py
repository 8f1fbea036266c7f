"""When the next step may be, when all is done, and whether that is late."""

from __future__ import annotations

from datetime import UTC, date, datetime

from pcgrelay.cutover.forecast import all_done, foresee, schedule, wait_s
from pcgrelay.cutover.windows import Calendar, Freeze, parse_windows

OFFICE = Calendar(parse_windows("mon-fri 08:00-16:00"), "Europe/London", (Freeze.parse("2019-12-20/2020-01-05"),))
HOUR = 3_600.0


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_each_step_waits_for_its_soak_and_for_a_window() -> None:
    assert schedule(OFFICE, at("2019-11-08T12:00"), 3 * HOUR, 3) == [
        at("2019-11-08T12:00"),
        at("2019-11-08T15:00"),
        at("2019-11-11T08:00"),  # 18:00 on Friday is outside
        at("2019-11-11T11:00"),  # arrived, without waiting for a window
    ]


def test_a_freeze_is_waited_for() -> None:
    assert schedule(OFFICE, at("2019-12-19T15:30"), HOUR, 2)[:2] == [at("2019-12-19T15:30"), at("2020-01-06T08:00")]


def test_what_never_opens_has_a_short_schedule() -> None:
    frozen = Calendar((), "UTC", (Freeze(date(2000, 1, 1), date(2100, 1, 1)),))
    assert schedule(frozen, at("2019-12-19T15:30"), HOUR, 2) == []
    forecast = foresee(frozen, at("2019-12-19T15:30"), date(2020, 3, 31), HOUR, 2, 0.0)
    assert (forecast.next_step, forecast.done, forecast.is_late) == (None, None, True)


def test_how_long_a_gate_is_waited_for() -> None:
    assert wait_s(600, 0, 0.0) == 600
    assert wait_s(600, 212, 0.02) == 10_600
    assert wait_s(600, 10, 1.0) == 600
    assert wait_s(600, None, 1.0) is None  # it does not open as it is
    assert wait_s(600, 1, 0.0) is None  # nothing comes
    assert wait_s(0, 10_000_000, 1e-9) is None


def test_the_forecast() -> None:
    now, deadline = at("2019-11-08T12:00"), date(2019, 11, 12)
    forecast = foresee(OFFICE, now, deadline, 2 * HOUR, 2, HOUR)
    assert (forecast.next_step, forecast.done) == (at("2019-11-08T13:00"), at("2019-11-08T17:00"))
    assert (forecast.is_late, forecast.days_left) == (False, 4)
    late = foresee(OFFICE, now, date(2019, 11, 10), 20 * HOUR, 2, HOUR)
    assert (late.is_late, late.days_left) == (True, -2)


def test_at_the_last_step_only_the_arrival_is_left() -> None:
    forecast = foresee(OFFICE, at("2019-11-09T12:00"), date(2019, 11, 12), HOUR, 0, HOUR)
    assert (forecast.next_step, forecast.done, forecast.is_late) == (None, at("2019-11-09T13:00"), False)


def test_what_cannot_be_foreseen_is_late_once_the_deadline_is_past() -> None:
    for now, is_late in (("2020-03-31T22:59", False), ("2020-03-31T23:00", True)):
        forecast = foresee(OFFICE, at(now), date(2020, 3, 31), HOUR, 2, None)
        assert (forecast.done, forecast.is_late) == (None, is_late)


def test_all_are_done_with_the_last() -> None:
    first, last = at("2020-01-01T00:00"), at("2020-02-01T00:00")
    assert all_done([first, last]) == last
    assert all_done([first, None]) is None
    assert all_done([]) is None
