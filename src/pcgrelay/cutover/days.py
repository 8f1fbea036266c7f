"""The days of all outlets of a node as they are kept, and which time was looked at (pure).

The core counts by itself, so time is looked at as long as a process runs: from its first look to its last, and on from
there to the first look of a process that it was handed over to. It is counted by the wall clock, to the millisecond and
never twice, and each minute that is full is added to the days. Two seconds of a restart so cost two seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

from msgspec import Meta, Struct, structs

from pcgrelay.cutover.quiet import RECORDS_MOST, DayRecord, Minute, after_minute
from pcgrelay.ranges import Count

MINUTE_MS = 60_000
# The two clocks may differ by so much from one look to the next before the day is in doubt.
JUMP_MS = 60_000
# Within this the wall clock is believed: both are read one after the other, and one of them to the millisecond.
SLACK_MS = 1_000
# With 400 days of each, and each day used, the file stays below what a file of state may have.
OUTLETS_MOST = 800


Moment = Annotated[datetime, Meta(tz=True)]


class KeptDays(Struct, frozen=True, kw_only=True):
    """The days of one outlet."""

    service: str
    outlet: str  # a direct one's name
    records: tuple[DayRecord, ...] = ()  # oldest first
    used: str = ""  # when anything last used it, wall time in UTC: 2020-02-24T17:03:12Z; "": never

    def after(self, minute: Minute) -> KeptDays:
        """Return it with what one more minute counted."""
        return structs.replace(self, records=after_minute(self.records, minute))

    def latest(self, most: int) -> KeptDays:
        """Return it with so many days at most."""
        return structs.replace(self, records=self.records[-most:])


class DaysState(Struct, frozen=True, kw_only=True):
    """What is in the file."""

    until: Moment | None = None  # the last that was looked at
    rest_ms: Count = 0  # of that day, looked at and no whole minute yet
    outlets: tuple[KeptDays, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """What was looked at since the look before."""

    minutes: tuple[tuple[date, int], ...] = ()  # that became full, by day
    doubtful: tuple[date, ...] = ()  # days on which the clock jumped
    jumped_ms: int = 0  # by so much

    @property
    def is_empty(self) -> bool:
        return not self.minutes and not self.doubtful


class Looking:
    """How far the time was looked at."""

    def __init__(self) -> None:
        self.until: datetime | None = None  # nothing before this is counted again
        self.rest_ms = 0
        self._last: tuple[datetime, int] | None = None  # the clocks at the last look of this process

    def resume(self, until: datetime | None, rest_ms: int, monotonic_ms: int | None = None) -> None:
        """Go on from what an earlier process left. monotonic_ms: its last look, if it was handed over."""
        self.until = None if until is None else until.astimezone(UTC)
        self.rest_ms = min(max(rest_ms, 0), MINUTE_MS - 1)
        if self.until is not None and monotonic_ms is not None:
            self._last = (self.until, monotonic_ms)

    @property
    def last_ms(self) -> int | None:
        """The last look, on the monotonic clock."""
        return None if self._last is None else self._last[1]

    def look(self, wall: datetime, monotonic_ms: int, *, is_blind: bool = False) -> Look:
        """Note that a look is taken now. is_blind: nothing could have been seen since the last one."""
        before, self._last = self._last, (wall, monotonic_ms)
        if before is None:
            if self.until is not None and _ms(wall - self.until) < -JUMP_MS:
                return self._jumped(self.until, wall, _ms(wall - self.until))
            return Look()
        passed_ms, really_ms = _ms(wall - before[0]), monotonic_ms - before[1]
        if abs(passed_ms - really_ms) > JUMP_MS:
            return self._jumped(before[0], wall, passed_ms - really_ms)
        begin = before[0] if self.until is None else max(before[0], self.until)
        if passed_ms - really_ms > SLACK_MS:
            # Set forward a little: what was left out was not looked at.
            begin = max(begin, wall - timedelta(milliseconds=really_ms))
        if begin >= wall:
            return Look()
        was, self.until = self.until, wall
        if was is not None and was.date() != begin.date():
            self.rest_ms = 0
        if is_blind:
            if begin.date() != wall.date():
                self.rest_ms = 0
            return Look()
        return Look(minutes=tuple(self._full(begin, wall)))

    def _full(self, begin: datetime, end: datetime) -> Iterator[tuple[date, int]]:
        """Yield the minutes that became full, by day. What is left of a day that ended is no minute."""
        for day, passed_ms in _by_day(begin, end):
            if day != begin.date():
                self.rest_ms = 0
            self.rest_ms += passed_ms
            minutes, self.rest_ms = divmod(self.rest_ms, MINUTE_MS)
            if minutes:
                yield day, minutes
        if end.time() == time():
            self.rest_ms = 0

    def _jumped(self, before: datetime, wall: datetime, jumped_ms: int) -> Look:
        self.until, self.rest_ms = wall, 0
        return Look(doubtful=tuple(sorted({before.date(), wall.date()})), jumped_ms=jumped_ms)


def _by_day(begin: datetime, end: datetime) -> Iterator[tuple[date, int]]:
    while begin < end:
        midnight = datetime.combine(begin.date() + timedelta(days=1), time(), UTC)
        part = min(end, midnight)
        # Both ends are cut to the millisecond, so that the parts of a day are a whole day together.
        yield begin.date(), _whole_ms(part) - _whole_ms(begin)
        begin = part


def _whole_ms(moment: datetime) -> int:
    return _ms(moment - datetime(1970, 1, 1, tzinfo=UTC))


def _ms(passed: timedelta) -> int:
    return passed // timedelta(milliseconds=1)


def pruned(outlets: Iterable[KeptDays], configured: set[tuple[str, str]], today: date) -> tuple[KeptDays, ...]:
    """Return what is kept on: outlets that are configured, and of the others those that had a day within 400 days.

    There are at most 800, those that are gone the longest go first; and if more are configured, each has fewer days.
    """
    found = sorted(outlets, key=lambda each: (each.service, each.outlet))
    kept = [each for each in found if (each.service, each.outlet) in configured]
    oldest = today - timedelta(days=RECORDS_MOST)
    others = [each for each in found if (each.service, each.outlet) not in configured and each.records]
    gone = [each for each in others if each.records[-1].day > oldest]
    gone.sort(key=lambda each: each.records[-1].day, reverse=True)
    kept += gone[: max(OUTLETS_MOST - len(kept), 0)]
    most = min(RECORDS_MOST, OUTLETS_MOST * RECORDS_MOST // max(len(kept), 1))
    return tuple(each if len(each.records) <= most else each.latest(most) for each in kept)


def since(records: Sequence[DayRecord], day: date | None) -> tuple[DayRecord, ...]:
    """Return the records from a day on; all without a day."""
    return tuple(record for record in records if day is None or record.day >= day)


def merged(older: KeptDays, newer: KeptDays) -> KeptDays:
    """Return both together; days of the newer one stand for the same days of the older one."""
    by_day = {record.day: record for record in (*older.records, *newer.records)}
    return structs.replace(newer, records=tuple(by_day[day] for day in sorted(by_day))[-RECORDS_MOST:])
