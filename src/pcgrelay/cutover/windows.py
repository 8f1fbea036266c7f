"""When a step forward may be: hours of the week in a time zone, less the days that are frozen (pure).

A window is a span of local time on a day, "mon-fri 08:00-16:00". All is answered in UTC. Where the clocks go forward,
an hour that does not exist is taken as if the clocks had not changed; where they go back, a window that begins in the
doubled hour begins with its first run, and one that ends in it ends with its second: so summer time never closes a
window that is open on every other day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo

from msgspec import Struct

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60
WINDOWS_MOST = 8
FREEZES_MOST = 50
# So far ahead a step is looked for. Beyond it, nothing that is planned today is of use.
DAYS_AHEAD_MOST = 800

_CLOCK = r"(\d\d):(\d\d)"
_WINDOW = re.compile(rf"(?:([a-z]{{3}})(?:-([a-z]{{3}}))?|daily) {_CLOCK}-{_CLOCK}", re.ASCII)
_FREEZE = re.compile(r"(\d{4}-\d\d-\d\d)(?:/(\d{4}-\d\d-\d\d))?", re.ASCII)


class WindowProblem(ValueError):
    """Text that is no window, freeze or zone; it says why."""


class Window(Struct, frozen=True):
    """A span of local time on some days of the week."""

    days: tuple[int, ...]  # 0 is Monday
    start: int  # minutes from midnight
    end: int  # exclusive; 1,440 is midnight

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "mon-fri 08:00-16:00", "sat 22:00-24:00" or "daily 00:00-24:00"; a window does not cross midnight."""
        match = _WINDOW.fullmatch(text)
        if match is None:
            raise WindowProblem(f'"{text}" is no window, which is written mon-fri 08:00-16:00')
        start, end = (_minutes(match[hour], match[minute], text) for hour, minute in ((3, 4), (5, 6)))
        if start >= end:
            raise WindowProblem(f'"{text}" ends before it begins; write a window past midnight as two')
        return cls(_days(match[1], match[2], text), start, end)


class Freeze(Struct, frozen=True):
    """Days on which no step forward is made, both ends included."""

    first: date
    last: date

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "2019-12-20/2020-01-05", or one day alone."""
        match = _FREEZE.fullmatch(text)
        try:
            if match is None:
                raise ValueError
            first = date.fromisoformat(match[1])
            last = date.fromisoformat(match[2]) if match[2] else first
        except ValueError:
            raise WindowProblem(f'"{text}" is no freeze, which is written 2019-12-20/2020-01-05') from None
        if last < first:
            raise WindowProblem(f'"{text}" ends before it begins')
        return cls(first, last)


class Calendar(Struct, frozen=True):
    """When a step forward may be. No window: at any time."""

    windows: tuple[Window, ...] = ()
    zone: str = "UTC"
    freezes: tuple[Freeze, ...] = ()

    def is_open(self, now: datetime) -> bool:
        """Whether a step forward may be now."""
        return self.next_open(now) == now

    def next_open(self, now: datetime) -> datetime | None:
        """The first moment from now on at which a step forward may be, in UTC; nothing within two years."""
        zone = find_zone(self.zone)
        # The local day before may reach into this one's spans where clocks change.
        first = now.astimezone(zone).date()
        for offset in range(-1, DAYS_AHEAD_MOST):
            day = _day_after(first, offset)
            if day is None or self.is_frozen(day):
                continue
            for start, end in self._spans(day, zone):
                if now < end:
                    return max(now.astimezone(UTC), start)
        return None

    def is_frozen(self, day: date) -> bool:
        """Whether no step forward may be on a day of the zone."""
        return any(freeze.first <= day <= freeze.last for freeze in self.freezes)

    def _spans(self, day: date, zone: ZoneInfo) -> Iterator[tuple[datetime, datetime]]:
        """The open spans of a day, in UTC, earliest first."""
        windows = self.windows or (Window(tuple(range(7)), 0, DAY_MINUTES),)
        for window in sorted(windows, key=lambda each: each.start):
            if day.weekday() in window.days:
                yield _at(day, window.start, zone, 0), _at(day, window.end, zone, 1)


def parse_windows(text: str) -> tuple[Window, ...]:
    """Read windows that are separated by commas; an empty text is none."""
    parts = [part.strip() for part in text.split(",")] if text else []
    if len(parts) > WINDOWS_MOST:
        raise WindowProblem(f"there are {len(parts)} windows, and {WINDOWS_MOST} is the most")
    return tuple(Window.parse(part) for part in parts)


def window_text(windows: tuple[Window, ...]) -> str:
    """Windows as they are written."""
    return ", ".join(f"{_days_text(each.days)} {_clock(each.start)}-{_clock(each.end)}" for each in windows)


def freeze_text(freeze: Freeze) -> str:
    """A freeze as it is written."""
    return f"{freeze.first}" if freeze.first == freeze.last else f"{freeze.first}/{freeze.last}"


def find_zone(name: str) -> ZoneInfo:
    """A time zone by its name; refuses one that is not known. What is known comes from the system or from tzdata."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        # A folder of the zones, or a name that no file system takes, is an OSError.
        raise WindowProblem(f'"{name}" is no time zone; write one such as Europe/London') from None


def end_of(day: date, zone: str) -> datetime:
    """The end of a day in a zone, in UTC."""
    return _at(day, DAY_MINUTES, find_zone(zone), 1)


def _at(day: date, minutes: int, zone: ZoneInfo, fold: int) -> datetime:
    """A local time of a day, in UTC; fold: which of the two that a doubled hour has."""
    if minutes == DAY_MINUTES:
        after = _day_after(day, 1)
        day, minutes = (day, DAY_MINUTES - 1) if after is None else (after, 0)
    local = datetime.combine(day, time(minutes // 60, minutes % 60), zone).replace(fold=fold)
    try:
        return local.astimezone(UTC)
    except OverflowError:
        return datetime.combine(day, local.time(), UTC)


def _day_after(day: date, days: int) -> date | None:
    try:
        return day + timedelta(days=days)
    except OverflowError:
        return None


def _minutes(hour: str, minute: str, text: str) -> int:
    minutes = int(hour) * 60 + int(minute)
    if int(minute) > 59 or minutes > DAY_MINUTES:
        raise WindowProblem(f'"{text}" has no time of day in it: {hour}:{minute}')
    return minutes


def _days(first: str | None, last: str | None, text: str) -> tuple[int, ...]:
    if first is None:
        return tuple(range(7))
    if first not in DAYS or (last or first) not in DAYS:
        raise WindowProblem(f'"{text}" names no day of the week; there are {", ".join(DAYS)}, and daily')
    start, end = DAYS.index(first), DAYS.index(last or first)
    # "sat-mon" goes over the end of the week.
    return tuple(sorted((start + offset) % 7 for offset in range((end - start) % 7 + 1)))


def _days_text(days: tuple[int, ...]) -> str:
    if len(days) == 7:
        return "daily"
    # The first one is whichever the day before is not among.
    start = next(day for day in days if (day - 1) % 7 not in days)
    end = (start + len(days) - 1) % 7
    return DAYS[start] if start == end else f"{DAYS[start]}-{DAYS[end]}"


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
