"""The sentences of a report, the same in Markdown and in HTML (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from pcgrelay.cutover.part1 import ARRIVED, Deadline, Likeness, Part1, Performance, Time
from pcgrelay.cutover.phases import Phase

Row = tuple[str, str]


def summary(part: Part1) -> tuple[Row, ...]:
    """What Part 1 says first: a word, and a sentence."""
    return (
        *([("Decision", part.change.text)] if part.change.text else []),
        ("Moved", _moved(part)),
        ("Deadline", _deadline(part)),
        ("Effect on users", _effect(part)),
        ("Performance", performance_text(part.performance)),
        ("Back-up", _back_up(part)),
        ("Fell back", _fell_back(part)),
        ("Old route", _old_route(part)),
        ("Personal data", "none is stored or processed by the gateway"),
    )


def deferral(part: Part1) -> str:
    """Whether publication is deferred."""
    if part.deferred_until is None:
        return "NO"
    return f"YES, until {part.deferred_until}, because: {part.defer_reason}"


def exemption(part: Part1) -> str:
    """Why Part 2 is not published."""
    if not part.exempt:
        return "YES. The plan names no exemption for it."
    return f"YES: exempt under {'; '.join(each.text for each in part.exempt)}."


def performance_text(performance: Performance) -> str:
    """How the new route compares, in one line."""
    figures = [*_time_text("set-up time", performance.setup), *_time_text("first answer", performance.answer)]
    if performance.new_failures is not None and performance.old_failures is not None:
        allowed = f"allowed +{performance.allowed_failures * 100:.3g} %"
        shares = f"{share_text(performance.new_failures)} (old {share_text(performance.old_failures)}, {allowed})"
        figures.append(f"failures {shares}")
    told = f"{performance.likeness.value}: {', '.join(figures)}" if figures else performance.likeness.value
    return told if performance.likeness is not Likeness.UNKNOWN or not figures else f"{told} (so far)"


def share_text(share: float) -> str:
    """A share of all, in percent."""
    return f"{share * 100:.2g} %" if 0 < share < 0.1 else f"{share * 100:.0f} %"


def counted(number: int, noun: str) -> str:
    """A number and its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _time_text(what: str, time: Time | None) -> Iterator[str]:
    if time is not None:
        yield f"{what} {time.difference_ms:+.1f} ms (allowed {time.allowed_ms:+.0f} ms)"


def _moved(part: Part1) -> str:
    if part.began is None:
        return "not begun"
    if part.arrived is not None:
        return f"from {part.began} to {part.arrived}"
    if part.phase is Phase.BACK:
        return f"begun on {part.began}; at present all new connections take the old route again"
    return f"begun on {part.began}; {part.percent:g} % of new connections take the new route"


def _deadline(part: Part1) -> str:
    days = counted(part.deadline_days, "day")
    if part.deadline_state is Deadline.MET:
        return f"{part.deadline}: met, {days} before it"
    if part.deadline_state is Deadline.AHEAD:
        return f"{part.deadline}: {days} left"
    return f"{part.deadline}: missed by {days}"


def _effect(part: Part1) -> str:
    lost = f"{counted(part.lost, 'connection')} lost"
    if not part.moved:
        return lost
    verb = "was" if part.moved == 1 else "were"
    late = f", by at most {part.waited_ms / 1_000:.2g} s" if part.waited_ms else ""
    return f"{lost}; {part.moved:,} {verb} set up later than usual{late}"


def _back_up(part: Part1) -> str:
    if not part.drills:
        return "not exercised yet"
    days = ", ".join(f"{each.on}" for each in part.drills)
    lost = f"{counted(sum(each.lost for each in part.drills), 'connection')} lost"
    failed = sum(not each.passed for each in part.drills)
    return f"exercised on {days}: {lost}" + (f"; {failed} of {len(part.drills)} not passed" if failed else "")


def _fell_back(part: Part1) -> str:
    if not part.fell_back:
        return "never"
    told = []
    for each in part.fell_back:
        how = "by itself" if each.by_itself else "by a person's decision"
        long = "until now" if each.hours is None else f"for {_hours(each.hours)}"
        told.append(f"{each.on}, {long}, {how}")
    return f"{_times(len(told))}: {'; '.join(told)}"


def _old_route(part: Part1) -> str:
    noted = f"; {counted(part.statements, 'statement')} of others on it in Part 2" if part.statements else ""
    if part.phase not in ARRIVED:
        return "in use" + noted
    quiet = f"{part.quiet_days} of {part.quiet_wanted} days of silence are proven"
    if part.quiet_since is not None:
        quiet = f"silent since {part.quiet_since} ({quiet})"
    if part.retired is not None:
        return f"{quiet}; retired on {part.retired}{noted}"
    return quiet + noted


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def _hours(hours: float) -> str:
    if hours < 1:
        return f"{max(1, round(hours * 60))} min"
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"
