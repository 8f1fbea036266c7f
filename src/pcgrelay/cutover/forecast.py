"""When the next step of a cut-over may be, when it will be done, and whether that is late (pure).

A step forward needs a whole soak behind it, an open gate, and an open window. Arriving after the last soak changes no
share and waits for no window.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta

from msgspec import Struct

from pcgrelay.cutover.windows import Calendar, end_of

# What takes longer is not foreseen.
WAIT_MOST_S = 400 * 86_400.0


class Forecast(Struct, frozen=True):
    """What is to be expected, in UTC. Nothing where it cannot be known."""

    next_step: datetime | None
    done: datetime | None
    is_late: bool
    days_left: int | None  # from the day on which it is done to the deadline; negative when late


def schedule(calendar: Calendar, now: datetime, soak_s: float, steps: int, first_wait_s: float = 0.0) -> list[datetime]:
    """The moments of so many steps forward, and of the arrival one soak after the last.

    The first step may be made once first_wait_s have passed, every other one a soak after the one before. Shorter than
    steps + 1 if there is no open window within two years.
    """
    moments: list[datetime] = []
    earliest = _later(now, first_wait_s)
    for _ in range(steps):
        at = None if earliest is None else calendar.next_open(earliest)
        if at is None:
            return moments
        moments.append(at)
        earliest = _later(at, soak_s)
    if earliest is not None:
        moments.append(earliest)
    return moments


def wait_s(soak_left_s: float, needed: int | None, setups_per_s: float) -> float | None:
    """How long until a gate may open: the rest of the soak, or the samples that are needed at today's pace.

    Nothing if it does not open as it is, or if no samples come.
    """
    if needed is None:
        return None
    if needed > 0 and setups_per_s <= 0:
        return None
    wait = max(soak_left_s, needed / setups_per_s if needed else 0.0)
    return wait if wait <= WAIT_MOST_S else None


def foresee(
    calendar: Calendar, now: datetime, deadline: date, soak_s: float, steps_left: int, first_wait_s: float | None
) -> Forecast:
    """The forecast with so many steps forward still to make; first_wait_s as wait_s answers it.

    At the last step nothing is left but to arrive. Where nothing can be foreseen, it is late once the deadline is past.
    """
    end = end_of(deadline, calendar.zone)
    if first_wait_s is None:
        return Forecast(None, None, now >= end, None)
    if steps_left <= 0:
        moments = [moment for moment in [_later(now, first_wait_s)] if moment is not None]
    else:
        moments = schedule(calendar, now, soak_s, steps_left, first_wait_s)
    next_step = moments[0] if moments and steps_left > 0 else None
    if len(moments) < max(steps_left, 0) + 1:
        return Forecast(next_step, None, True, None)
    done = moments[-1]
    left = (end - done) / timedelta(days=1)
    return Forecast(next_step, done, done > end, int(left // 1))


def all_done(dones: Iterable[datetime | None]) -> datetime | None:
    """When the last of several cut-overs is done; nothing if one of them cannot be foreseen, or there is none."""
    known = list(dones)
    return None if not known or None in known else max(done for done in known if done is not None)


def _later(moment: datetime, seconds: float) -> datetime | None:
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        return None
