"""Days of quiet: what proves them, and what each stray byte and each minute without a look costs."""

from __future__ import annotations

from datetime import date, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.cutover.quiet import (
    DAY_MINUTES,
    RECORDS_MOST,
    DayRecord,
    Minute,
    after_minute,
    last_use,
    quiet_on,
    why_not_quiet,
)

TODAY = date(2020, 3, 31)


def row(days: int) -> tuple[DayRecord, ...]:
    """So many quiet days before today."""
    return tuple(DayRecord(TODAY - timedelta(days=back), DAY_MINUTES) for back in range(days, 0, -1))


def with_day(records: tuple[DayRecord, ...], back: int, **changes: object) -> tuple[DayRecord, ...]:
    day = TODAY - timedelta(days=back)
    return tuple(msgspec.structs.replace(each, **changes) if each.day == day else each for each in records)


def test_so_many_days_in_a_row() -> None:
    quiet = quiet_on(row(35), TODAY)
    assert (quiet.days, quiet.since, quiet.coverage, quiet.why_not_longer) == (35, date(2020, 2, 25), 1.0, "")
    assert why_not_quiet(row(35), TODAY, 35) is None
    assert why_not_quiet(row(34), TODAY, 35) == "34 of 35 days are quiet"
    assert why_not_quiet((), TODAY, 35) == "0 of 35 days are quiet"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"transferred": 1}, "1 of 35 days are quiet: 1 byte on 2020-03-29"),
        ({"connections": 2}, "1 of 35 days are quiet: 2 connections on 2020-03-29"),
        ({"streams": 1}, "1 of 35 days are quiet: 1 live stream on 2020-03-29"),
        ({"looked": 1_435}, "1 of 35 days are quiet: 2020-03-29 was looked at for 99.6 % of the time"),
        (
            {"is_doubtful": True},
            "1 of 35 days are quiet: the clock jumped on 2020-03-29, which counts as not looked at",
        ),
        ({"looked": 1_441}, "1 of 35 days are quiet: the clock jumped on 2020-03-29, which counts as not looked at"),
    ],
)
def test_a_stray_or_a_gap_starts_the_count_anew(changes: dict[str, object], words: str) -> None:
    assert why_not_quiet(with_day(row(35), 2, **changes), TODAY, 35) == words


def test_one_minute_a_day_may_be_missed_and_two_may_not() -> None:
    assert quiet_on(with_day(row(35), 2, looked=1_439), TODAY).days == 35
    assert quiet_on(with_day(row(35), 2, looked=1_438), TODAY).days == 1


def test_a_day_without_a_record_is_no_silence() -> None:
    records = tuple(each for each in row(35) if each.day != date(2020, 3, 20))
    assert why_not_quiet(records, TODAY, 35) == "10 of 35 days are quiet: there is no record of 2020-03-20"


def test_what_comes_today_counts_at_once_and_today_proves_nothing() -> None:
    records = after_minute(row(35), Minute(TODAY))
    assert quiet_on(records, TODAY).days == 35
    records = after_minute(records, Minute(TODAY, connections=1))
    assert why_not_quiet(records, TODAY, 35) == "0 of 35 days are quiet: 1 connection on 2020-03-31"
    assert last_use(records) == records[-1]
    assert last_use(row(3)) is None


def test_minutes_become_days() -> None:
    records: tuple[DayRecord, ...] = ()
    for _ in range(1_439):
        records = after_minute(records, Minute(TODAY))
    records = after_minute(records, Minute(TODAY, looked=False))
    assert records == (DayRecord(TODAY, 1_439),)
    assert records[0].is_quiet
    records = after_minute(records, Minute(TODAY, jumped=True))
    assert not records[0].is_quiet


def test_a_clock_that_is_set_back_hides_nothing() -> None:
    records = after_minute(row(35), Minute(TODAY - timedelta(days=5), transferred=7))
    assert quiet_on(records, TODAY).days == 4


def test_the_latest_records_are_kept() -> None:
    assert len(after_minute(row(RECORDS_MOST + 20), Minute(TODAY))) == RECORDS_MOST


minutes = st.builds(
    Minute,
    st.integers(0, 8).map(lambda back: TODAY - timedelta(days=back)),
    st.booleans(),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 2),
    st.booleans(),
)


@given(st.lists(minutes, max_size=30), st.integers(0, 9))
def test_no_day_that_was_used_is_ever_among_the_quiet_ones(some: list[Minute], length: int) -> None:
    records = row(length)
    for each in some:
        records = after_minute(records, each)
    quiet = quiet_on(records, TODAY)
    used = {each.day for each in some if each.connections or each.transferred or each.streams or each.jumped}
    proven = {TODAY - timedelta(days=back) for back in range(1, quiet.days + 1)}
    assert not used & proven
    assert quiet.days == 0 or TODAY not in used
    assert [record.day for record in records] == sorted({record.day for record in records})
