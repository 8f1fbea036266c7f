"""Times of an answer, as people read them (pure). The node's are in UTC, and so are these."""

from __future__ import annotations

from datetime import UTC, date, datetime

_UNITS = ((86_400, "day"), (3_600, "h"), (60, "min"), (1, "s"))


def moment_of(text: str) -> datetime | None:
    """A time as the node writes it, 2020-02-05T13:52:07.211Z; nothing if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def day_of(text: str) -> date | None:
    """The day of a time, or a date as it is."""
    moment = moment_of(text)
    return None if moment is None else moment.date()


def clock_text(text: str, now: datetime, *, seconds: bool = False, exact: bool = False) -> str:
    """The time of day, with the date unless it is today's; exact: to the millisecond."""
    moment = moment_of(text)
    if moment is None:
        return text or "-"
    day = "" if moment.date() == now.astimezone(UTC).date() else f"{moment:%Y-%m-%d} "
    clock = f"{moment:%H:%M:%S}" if seconds or exact else f"{moment:%H:%M}"
    return f"{day}{clock}.{moment.microsecond // 1000:03d} UTC" if exact else f"{day}{clock} UTC"


def at_text(text: str, now: datetime) -> str:
    """When something is to be: at 14:12 UTC, or on 2020-02-10 at 08:00 UTC."""
    moment = moment_of(text)
    if moment is None:
        return f"at {text}"
    if moment.date() == now.astimezone(UTC).date():
        return f"at {moment:%H:%M} UTC"
    return f"on {moment:%Y-%m-%d} at {moment:%H:%M} UTC"


def long_text(seconds: float) -> str:
    """A time by its largest unit: 18 min, 12 days, 2 h."""
    for length, unit in _UNITS:
        if seconds >= length:
            number = int(seconds // length)
            return f"{number} {unit}{'s' if unit == 'day' and number != 1 else ''}"
    return "0 s"


def since_text(text: str, now: datetime) -> str:
    """How long ago something was."""
    moment = moment_of(text)
    return "-" if moment is None else long_text(max(0.0, (now - moment).total_seconds()))


def soak_text(soaked_s: float, soak_s: float) -> str:
    """How much of a soak is over, in the unit that suits the whole: 18 of 30 min."""
    length, unit = _soak_unit(soak_s)
    return f"{int(min(soaked_s, soak_s) // length)} of {soak_s / length:g} {unit}"


def whole_text(soak_s: float) -> str:
    """A whole soak: 30 min."""
    length, unit = _soak_unit(soak_s)
    return f"{soak_s / length:g} {unit}"


def _soak_unit(soak_s: float) -> tuple[int, str]:
    units = ((4 * 86_400, 86_400, "days"), (6 * 3_600, 3_600, "h"), (120, 60, "min"))
    return next(((length, unit) for least, length, unit in units if soak_s >= least), (1, "s"))


def days_text(days: int) -> str:
    """A number of days."""
    return f"{days} day{'' if abs(days) == 1 else 's'}"
