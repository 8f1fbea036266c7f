"""Proof that an outlet is not used any more: day records, and the days of quiet that they show (pure).

Each minute counts what used the outlet, and whether the node was looking. A day record sums the minutes of a day in
UTC. A day is quiet if nothing used the outlet and 99.9 % of its minutes, 1,439, were looked at: time in which no node
ran is no silence, and neither is a minute counted twice because the clock was set back. Shadows are ours, and never
come here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

from msgspec import Struct, structs

from pcgrelay.ranges import Bytes, Count

DAY_MINUTES = 1_440
# Of 1,440 at least 99.9 %.
LOOKED_LEAST = 1_439
RECORDS_MOST = 400  # today's is one of them


class DayRecord(Struct, frozen=True, array_like=True, omit_defaults=True):
    """One day of an outlet. There may be hundreds of thousands: they are kept as lists, without zeros at the end."""

    day: date  # UTC
    looked: Count = 0  # minutes in which the node was looking
    connections: Count = 0  # that were tried
    transferred: Bytes = 0  # bytes, both directions
    streams: Count = 0  # the most that were open at a time
    is_doubtful: bool = False  # the clock jumped: it counts as not looked at

    @property
    def is_used(self) -> bool:
        """Whether anything used the outlet."""
        return bool(self.connections or self.transferred or self.streams)

    @property
    def is_covered(self) -> bool:
        """Whether enough of a whole day was looked at."""
        return LOOKED_LEAST <= self.looked <= DAY_MINUTES and not self.is_doubtful

    @property
    def is_quiet(self) -> bool:
        """Whether the day proves silence."""
        return self.is_covered and not self.is_used


class Minute(Struct, frozen=True):
    """What was counted in one minute, or in a part of it."""

    day: date  # UTC
    looked: int = 1  # whole minutes that it completes and that were looked at
    connections: int = 0
    transferred: int = 0
    streams: int = 0
    jumped: bool = False  # the wall clock, by more than a minute


class Quiet(Struct, frozen=True):
    """What the records prove on a day."""

    days: int  # quiet ones in a row, up to yesterday; none if the outlet was used today
    since: date | None  # the first of them
    coverage: float | None  # share of their minutes that was looked at
    why_not_longer: str  # what ended the row, in words; empty where the records begin


def after_minute(records: Sequence[DayRecord], minute: Minute) -> tuple[DayRecord, ...]:
    """The records with one more minute; the latest 400 are kept.

    A minute of a day before the latest one is counted on its own day, so that a clock that is set back hides nothing.
    """
    if not records or records[-1].day < minute.day:
        return (*records, _with(DayRecord(minute.day), minute))[-RECORDS_MOST:]
    if records[-1].day == minute.day:
        return (*records[:-1], _with(records[-1], minute))
    by_day = {record.day: record for record in records}
    by_day[minute.day] = _with(by_day.get(minute.day, DayRecord(minute.day)), minute)
    return tuple(by_day[day] for day in sorted(by_day))[-RECORDS_MOST:]


def _with(record: DayRecord, minute: Minute) -> DayRecord:
    return structs.replace(
        record,
        looked=record.looked + minute.looked,
        connections=record.connections + minute.connections,
        transferred=record.transferred + minute.transferred,
        streams=max(record.streams, minute.streams),
        is_doubtful=record.is_doubtful or minute.jumped,
    )


def quiet_on(records: Iterable[DayRecord], today: date) -> Quiet:
    """What is proven at some moment of a day. Today itself proves nothing yet, but what used the outlet today counts.

    Records of days after today, which a clock that was set back leaves behind, prove nothing.
    """
    by_day = {record.day: record for record in records}
    now = by_day.get(today)
    if now is not None and (now.is_used or now.is_doubtful):
        return Quiet(0, None, None, _why(now))
    row: list[DayRecord] = []
    day = _before(today)
    while day is not None and (record := by_day.get(day)) is not None and record.is_quiet:
        row.append(record)
        day = _before(day)
    ended = by_day.get(day) if day is not None else None
    earlier = [each for each in by_day if day is not None and each <= day]
    why = _why(ended) if ended is not None else f"there is no record of {day}" if earlier else ""
    if not row:
        return Quiet(0, None, None, why)
    coverage = sum(record.looked for record in row) / (len(row) * DAY_MINUTES)
    return Quiet(len(row), row[-1].day, coverage, why)


def last_use(records: Iterable[DayRecord]) -> DayRecord | None:
    """The last day on which anything used the outlet."""
    return max((record for record in records if record.is_used), key=lambda each: each.day, default=None)


def why_not_quiet(records: Sequence[DayRecord], today: date, days: int) -> str | None:
    """Why so many days of quiet are not proven, in one sentence without its full stop; nothing if they are."""
    quiet = quiet_on(records, today)
    if quiet.days >= days:
        return None
    why = f": {quiet.why_not_longer}" if quiet.why_not_longer else ""
    return f"{quiet.days} of {days} days are quiet{why}"


def _why(record: DayRecord) -> str:
    if record.connections:
        return f"{_count(record.connections, 'connection')} on {record.day}"
    if record.transferred:
        return f"{_count(record.transferred, 'byte')} on {record.day}"
    if record.streams:
        return f"{_count(record.streams, 'live stream')} on {record.day}"
    if record.is_doubtful or record.looked > DAY_MINUTES:
        return f"the clock jumped on {record.day}, which counts as not looked at"
    share = record.looked * 1_000 // DAY_MINUTES / 10
    return f"{record.day} was looked at for {share:g} % of the time"


def _before(day: date) -> date | None:
    return None if day == date.min else day - timedelta(days=1)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
