"""When a step forward may be: hours, zones, summer time, frozen days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.cutover.windows import (
    DAYS_AHEAD_MOST,
    Calendar,
    Freeze,
    Window,
    WindowProblem,
    end_of,
    freeze_text,
    parse_windows,
    window_text,
)

OFFICE = Calendar(parse_windows("mon-fri 08:00-16:00"), "Europe/London", (Freeze.parse("2019-12-20/2020-01-05"),))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("2019-11-08T09:00", "2019-11-08T09:00"),  # Friday morning
        ("2019-11-08T07:59:59", "2019-11-08T08:00"),
        ("2019-11-08T16:00", "2019-11-11T08:00"),  # the end is no part of it
        ("2019-11-09T12:00", "2019-11-11T08:00"),
        ("2019-12-19T16:30", "2020-01-06T08:00"),  # over the freeze
        ("2019-12-31T12:00", "2020-01-06T08:00"),
        # In summer eight o'clock in London is seven in UTC.
        ("2019-07-01T06:59", "2019-07-01T07:00"),
        ("2019-07-01T15:30", "2019-07-02T07:00"),
        ("2020-03-28T12:00", "2020-03-30T07:00"),  # the clocks went forward on Sunday
        ("2020-10-24T12:00", "2020-10-26T08:00"),  # and back
    ],
)
def test_the_next_open_moment(now: str, opens: str) -> None:
    assert OFFICE.next_open(at(now)) == at(opens)
    assert OFFICE.is_open(at(now)) is (now == opens)


def test_windows_in_the_hours_that_are_missing_or_doubled() -> None:
    night = Calendar(parse_windows("sun 01:15-01:45"), "Europe/London")
    # 29 March 2020, 01:00 to 02:00, is not there: it opens as if the clocks had not changed.
    assert night.next_open(at("2020-03-28T00:00")) == at("2020-03-29T01:15")
    # 25 October 2020, 01:00 to 02:00, is there twice: open from the first beginning to the second end.
    assert night.next_open(at("2020-10-24T00:00")) == at("2020-10-25T00:15")
    assert night.is_open(at("2020-10-25T01:44"))
    assert not night.is_open(at("2020-10-25T01:45"))


def test_without_windows_it_is_always_open_but_for_the_freezes() -> None:
    calendar = Calendar((), "UTC", (Freeze.parse("2020-01-01"),))
    assert calendar.is_open(at("2019-12-31T23:59"))
    assert calendar.next_open(at("2020-01-01T00:00")) == at("2020-01-02T00:00")


def test_what_never_opens() -> None:
    frozen = Calendar((), "UTC", (Freeze(date(1, 1, 1), date(9999, 12, 31)),))
    assert frozen.next_open(at("2020-01-01T00:00")) is None
    assert frozen.next_open(datetime.max.replace(tzinfo=UTC)) is None
    assert frozen.next_open(datetime.min.replace(tzinfo=UTC)) is None


def test_the_end_of_a_day() -> None:
    assert end_of(date(2020, 3, 31), "Europe/London") == at("2020-03-31T23:00")
    assert end_of(date(2020, 1, 31), "Europe/London") == at("2020-02-01T00:00")
    assert end_of(date(9999, 12, 31), "UTC").year == 9999


@pytest.mark.parametrize(
    "text",
    [
        "mon-fri 08:00-16:00", "daily 00:00-24:00", "sat 22:00-24:00", "sat-mon 01:00-02:00",
        "mon 01:00-02:00, tue 03:04-05:06",
    ],
)  # fmt: skip
def test_windows_are_written_as_they_are_read(text: str) -> None:
    assert window_text(parse_windows(text)) == text


def test_freezes_are_written_as_they_are_read() -> None:
    for text in ("2019-12-20/2020-01-05", "2020-01-01"):
        assert freeze_text(Freeze.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "mon", "mon 8:00-9:00", "mon 09:00-09:00", "mon 24:01-24:02", "mon 10:00-09:00", "MON 08:00-09:00"]
)
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(WindowProblem):
        Window.parse(text)


def test_too_many_windows_are_refused() -> None:
    with pytest.raises(WindowProblem):
        parse_windows(", ".join(["mon 08:00-09:00"] * 9))


zones = st.sampled_from(["UTC", "Europe/London", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"])
moments = st.integers(1_420_000_000, 2_050_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
windows = st.builds(
    lambda days, start, length: Window(tuple(sorted(days)), start, min(1_440, start + length)),
    st.sets(st.integers(0, 6), min_size=1),
    st.integers(0, 1_439),
    st.integers(1, 600),
)


@given(moments, zones, st.lists(windows, min_size=1, max_size=3))
def test_it_opens_within_a_week_and_then_it_is_open(now: datetime, zone: str, some: list[Window]) -> None:
    calendar = Calendar(tuple(some), zone)
    opens = calendar.next_open(now)
    assert opens is not None
    assert now <= opens <= now + timedelta(days=9)
    assert calendar.is_open(opens)
    local = opens.astimezone(ZoneInfo(zone))
    # Where the clock is that of every day, the hour is one of the windows'.
    if local.utcoffset() == (local + timedelta(hours=4)).utcoffset() == (local - timedelta(hours=4)).utcoffset():
        minute = local.hour * 60 + local.minute
        assert any(local.weekday() in each.days and each.start <= minute < each.end for each in some)


def test_it_looks_two_years_ahead() -> None:
    assert DAYS_AHEAD_MOST > 2 * 366
