"""Which time was looked at: to the millisecond, never twice, and not at all while no process runs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.cutover.days import MINUTE_MS, OUTLETS_MOST, KeptDays, Look, Looking, merged, pruned
from pcgrelay.cutover.quiet import DAY_MINUTES, RECORDS_MOST, DayRecord

NOON = datetime(2020, 3, 1, 12, tzinfo=UTC)
MIDNIGHT = datetime(2020, 3, 1, tzinfo=UTC)
DAY_MS = DAY_MINUTES * MINUTE_MS


class Clocks:
    """Both clocks, and what was looked at by day."""

    def __init__(self, wall: datetime) -> None:
        self.wall, self.ms = wall, 0
        self.looking = Looking()
        self.minutes: dict[date, int] = {}
        self.doubtful: set[date] = set()

    def look(self, *, is_blind: bool = False) -> Look:
        found = self.looking.look(self.wall, self.ms, is_blind=is_blind)
        for day, minutes in found.minutes:
            self.minutes[day] = self.minutes.get(day, 0) + minutes
        self.doubtful.update(found.doubtful)
        return found

    def run(self, milliseconds: int, step: int = MINUTE_MS) -> None:
        while milliseconds > 0:
            passed = min(step, milliseconds)
            milliseconds -= passed
            self.pass_(passed)
            self.look()

    def pass_(self, milliseconds: int) -> None:
        self.wall += timedelta(milliseconds=milliseconds)
        self.ms += milliseconds

    def restart(self, away_ms: int, *, kept: bool = True) -> None:
        """Another process goes on, after a while without any."""
        until, rest_ms = (self.looking.until, self.looking.rest_ms) if kept else (None, 0)
        self.pass_(away_ms)
        self.looking = Looking()
        self.looking.resume(until, rest_ms)
        self.look()


def test_a_whole_day_has_all_of_its_minutes_however_often_it_is_looked() -> None:
    for step in (1_000, 7_001, 59_999, 60_000, 3_600_000):
        clocks = Clocks(MIDNIGHT - timedelta(hours=1))
        clocks.look()
        clocks.run(2 * 3_600_000 + DAY_MS, step)
        assert clocks.minutes[date(2020, 3, 1)] == DAY_MINUTES, step
        assert clocks.minutes[date(2020, 2, 29)] == 60


def test_the_first_look_has_seen_nothing_yet() -> None:
    clocks = Clocks(NOON)
    assert clocks.look() == Look()
    clocks.run(MINUTE_MS - 1, 500)
    assert clocks.minutes == {}
    clocks.run(1)
    assert clocks.minutes == {NOON.date(): 1}


def test_a_restart_costs_the_time_that_it_takes_and_no_more() -> None:
    for away_ms, minutes in ((2_000, 1_439), (59_000, 1_439), (61_000, 1_438), (300_000, 1_435)):
        clocks = Clocks(MIDNIGHT)
        clocks.look()
        clocks.run(3_630_123, 10_001)
        clocks.restart(away_ms)
        clocks.run(DAY_MS, 10_001)
        assert clocks.minutes[MIDNIGHT.date()] == minutes


def test_a_process_that_is_handed_over_to_goes_on_without_a_gap() -> None:
    clocks = Clocks(MIDNIGHT)
    clocks.look()
    clocks.run(10_000_500, 1_000)
    last = clocks.looking
    clocks.pass_(350)
    clocks.looking = Looking()
    clocks.looking.resume(last.until, last.rest_ms, last.last_ms)
    clocks.look()
    clocks.run(DAY_MS, 7_001)
    assert clocks.minutes[MIDNIGHT.date()] == DAY_MINUTES


def test_a_jump_of_the_clock_puts_both_days_in_doubt() -> None:
    for jump in (timedelta(seconds=62), timedelta(days=3), -timedelta(seconds=62), -timedelta(days=3)):
        clocks = Clocks(NOON)
        clocks.look()
        clocks.run(10 * MINUTE_MS)
        before = clocks.wall.date()
        clocks.wall += jump
        clocks.pass_(1_000)
        found = clocks.look()
        assert set(found.doubtful) == {before, clocks.wall.date()}
        assert found.jumped_ms == jump // timedelta(milliseconds=1)
        assert clocks.minutes == {NOON.date(): 10}
        # And on it goes.
        clocks.run(10 * MINUTE_MS)
        assert sum(clocks.minutes.values()) == 20


def test_a_clock_that_is_set_by_a_little_costs_that_little_and_counts_nothing_twice() -> None:
    for step in (timedelta(seconds=50), -timedelta(seconds=50), timedelta(seconds=1.5), -timedelta(seconds=1.5)):
        clocks = Clocks(MIDNIGHT)
        clocks.look()
        clocks.run(7_200_000, 1_000)
        clocks.wall += step
        clocks.run(DAY_MS, 7_001)
        lost = step > timedelta()
        assert clocks.minutes[MIDNIGHT.date()] == (DAY_MINUTES - 1 if lost else DAY_MINUTES), step
        assert not clocks.doubtful


def test_a_process_that_wakes_up_before_its_last_look_doubts_the_day() -> None:
    clocks = Clocks(NOON)
    clocks.look()
    clocks.run(10 * MINUTE_MS)
    clocks.restart(-5 * MINUTE_MS)
    assert clocks.doubtful == {NOON.date()}


def test_while_nothing_could_be_seen_nothing_was_looked_at() -> None:
    clocks = Clocks(MIDNIGHT)
    clocks.look()
    clocks.run(3_600_000)
    clocks.pass_(120_000)
    assert clocks.look(is_blind=True) == Look()
    clocks.run(DAY_MS)
    assert clocks.minutes[MIDNIGHT.date()] == DAY_MINUTES - 2


@given(st.lists(st.tuples(st.integers(1, 7_200_000), st.integers(-90_000, 90_000)), max_size=60))
def test_no_day_has_more_minutes_than_it_has(steps: list[tuple[int, int]]) -> None:
    """Whatever the clocks do: a day that is not in doubt is never counted for longer than it was."""
    clocks = Clocks(datetime(2020, 3, 1, 22, tzinfo=UTC))
    clocks.look()
    really = 0
    for passed, jump in steps:
        clocks.pass_(passed)
        clocks.wall += timedelta(milliseconds=jump)
        really += passed
        clocks.look()
    assert sum(clocks.minutes.values()) * MINUTE_MS <= really + len(steps) * 1_000
    # Each jump by more than a minute is in doubt; the others count nothing twice.
    assert all(minutes <= DAY_MINUTES for day, minutes in clocks.minutes.items() if day not in clocks.doubtful)


def kept(outlet: str, days: int, last: date, service: str = "custody@kent.police.example") -> KeptDays:
    records = tuple(DayRecord(last - timedelta(days=back), 1_440) for back in range(days - 1, -1, -1))
    return KeptDays(service=service, outlet=outlet, records=records)


def test_what_is_configured_stays_and_what_is_gone_goes_after_400_days() -> None:
    today = date(2020, 3, 1)
    long_ago = kept("old", 3, today - timedelta(days=RECORDS_MOST))
    lately = kept("gone", 3, today - timedelta(days=RECORDS_MOST - 1))
    used = kept("cjx", RECORDS_MOST, today)
    assert pruned([used, long_ago, lately], {("custody@kent.police.example", "cjx")}, today) == (used, lately)
    assert pruned([long_ago], {("custody@kent.police.example", "old")}, today) == (long_ago,)


def test_there_is_a_bound_for_all_together() -> None:
    today = date(2020, 3, 1)
    gone = [kept(f"gone-{number}", 2, today - timedelta(days=number % 300)) for number in range(OUTLETS_MOST)]
    mine = kept("cjx", RECORDS_MOST, today)
    found = pruned([*gone, mine], {(mine.service, mine.outlet)}, today)
    assert len(found) == OUTLETS_MOST
    assert mine in found
    many = [kept(f"cjx-{number}", RECORDS_MOST, today) for number in range(2 * OUTLETS_MOST)]
    found = pruned(many, {(each.service, each.outlet) for each in many}, today)
    assert [len(each.records) for each in found] == [RECORDS_MOST // 2] * 2 * OUTLETS_MOST
    assert found[0].records[-1].day == today


def test_newer_days_stand_for_older_ones() -> None:
    older = KeptDays(service="s", outlet="o", records=(DayRecord(date(2020, 3, 1), 5), DayRecord(date(2020, 3, 2), 5)))
    newer = KeptDays(service="s", outlet="o", records=(DayRecord(date(2020, 3, 2), 7),), used="2020-03-02T00:00:00Z")
    both = merged(older, newer)
    assert both.records == (DayRecord(date(2020, 3, 1), 5), DayRecord(date(2020, 3, 2), 7))
    assert both.used == "2020-03-02T00:00:00Z"
