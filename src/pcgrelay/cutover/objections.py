"""What speaks against a plan on a day, at a node: the calendar's trap, too little time, unknown outlets (pure).

`plan`, `approve` and `start` ask the same function, so that all of them say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta

from msgspec import Struct

from pcgrelay.config.source import KeyPath, Source
from pcgrelay.cutover.forecast import schedule
from pcgrelay.cutover.plan import Plan
from pcgrelay.cutover.plan_text import duration_text
from pcgrelay.cutover.windows import end_of, find_zone, window_text


class Surroundings(Struct, frozen=True):
    """What a plan is held against."""

    now: datetime  # aware
    # Each outlet of the service, with the last day on which its bearer is supported; nothing: no end is known.
    supported_until: dict[str, date | None]
    is_imported: bool = True  # the service, by this node
    has_session: bool = True  # the new outlet can carry streams now
    of_datagrams: bool = False  # the service carries UDP


class Objection(Struct, frozen=True):
    """One thing that speaks against a plan."""

    where: tuple[str | int, ...]
    problem: str


def objections(plan: Plan, around: Surroundings) -> Iterator[Objection]:
    """Everything that speaks against a plan, the gravest first. Each alone is enough to refuse it."""
    today = around.now.astimezone(find_zone(plan.calendar.zone)).date()
    if not around.is_imported:
        problem = f"this node does not import {plan.service}; import it, or name the right node"
        yield Objection(("cutover", "service"), problem)
        return
    yield from _unknown_outlets(plan, around.supported_until)
    if around.of_datagrams:
        yield from _shown_by_nothing(plan)
    if plan.deadline < today:
        yield Objection(("cutover", "deadline"), f"{plan.deadline} is past, today is {today}. Choose a later day")
        return
    yield from _calendar_trap(plan, around.supported_until, today)
    yield from _too_little_time(plan, around.now)
    if not around.has_session:
        problem = f"{plan.new} has no session for {plan.service} yet. See pcgrelay explain {plan.service}"
        yield Objection(("cutover", "to"), problem)


def warnings(plan: Plan, around: Surroundings) -> Iterator[Objection]:
    """What ought to be known, and refuses nothing: days of quiet on which nothing in support is left."""
    last = plan.deadline + timedelta(days=plan.quiet_days)
    if (end := _last_support(plan, around.supported_until)) is not None and plan.deadline <= end < last:
        problem = f"the {plan.quiet_days} days after the deadline end on {last}, and {_supports(plan, around)}"
        yield Objection(("quiet", "days"), problem)


def refuse_plan(plan: Plan, source: Source, around: Surroundings) -> None:
    """Raise the first objection, with file, line and key."""
    for objection in objections(plan, around):
        where: KeyPath = objection.where
        raise source.refusal(where, objection.problem)


def _unknown_outlets(plan: Plan, outlets: Mapping[str, date | None]) -> Iterator[Objection]:
    places: list[tuple[tuple[str | int, ...], str]] = [(("cutover", "from"), plan.old), (("cutover", "to"), plan.new)]
    places += [(("cutover", "back", index), name) for index, name in enumerate(plan.back)]
    for where, name in places:
        if name not in outlets:
            known = ", ".join(sorted(outlets)) or "none"
            yield Objection(where, f"{plan.service} has no outlet {name}; there are: {known}")


def _shown_by_nothing(plan: Plan) -> Iterator[Objection]:
    """Shadows that say nothing, or hear nothing, of a service in which nobody owes an answer."""
    shadow = plan.shadow
    for key, word, what in (
        ("send", shadow.send, "what to send"),
        ("expect", shadow.expect, "what the answer has in it"),
    ):
        if shadow.per_minute and not word:
            yield Objection(
                ("shadow", key),
                f"{plan.service} carries datagrams (udp), and only an answer shows that one has arrived: write {what}, "
                'or pace = "off", and the answers that applications get are judged alone',
            )
            return


def _calendar_trap(plan: Plan, outlets: Mapping[str, date | None], today: date) -> Iterator[Objection]:
    """Days from today to the deadline on which nothing in support is left to fall back to."""
    end = _last_support(plan, outlets)
    if end is None or end >= plan.deadline:
        return
    first = max(today, end + timedelta(days=1))
    days = (plan.deadline - first).days + 1
    when = f"on {days} days, {first} to {plan.deadline}," if days > 1 else f"on 1 day, {first},"
    which = _support_text(plan, outlets)
    remedy = f", or move the deadline to {end}" if end >= today else ""
    yield Objection(
        ("cutover", "back"),
        f"{when} there is nothing to fall back to: {which}. Add an outlet that is supported until then{remedy}",
    )


def _last_support(plan: Plan, outlets: Mapping[str, date | None]) -> date | None:
    """The last day on which something that it falls back to is supported; nothing: no end is known."""
    ends = [outlets.get(name, date.min) for name in plan.back]
    return None if None in ends else max(end for end in ends if end is not None)


def _support_text(plan: Plan, outlets: Mapping[str, date | None]) -> str:
    known = [(name, outlets[name]) for name in plan.back if outlets.get(name) is not None]
    parts = [f"{name} is supported until {end}" for name, end in known]
    return ", ".join(parts) if parts else "none of its outlets is known"


def _supports(plan: Plan, around: Surroundings) -> str:
    return _support_text(plan, around.supported_until)


def _too_little_time(plan: Plan, now: datetime) -> Iterator[Objection]:
    """Steps and soaks that do not fit before the deadline, told with the arithmetic."""
    moments = schedule(plan.calendar, now, plan.soak_s, len(plan.steps))
    count = f"{len(plan.steps)} step{'' if len(plan.steps) == 1 else 's'} of {duration_text(plan.soak_s)} each"
    when = f", begun {window_text(plan.calendar.windows)} only" if plan.calendar.windows else ""
    if plan.calendar.freezes:
        when += f", with {len(plan.calendar.freezes)} freeze{'' if len(plan.calendar.freezes) == 1 else 's'}"
    remedy = "Shorten the soak, take fewer steps, widen the window, or move the deadline"
    if len(moments) <= len(plan.steps):
        yield Objection(("cutover", "advance"), f"{count}{when}: there is no open window for them within two years")
        return
    end = end_of(plan.deadline, plan.calendar.zone)
    if moments[-1] > end:
        done = moments[-1].astimezone(find_zone(plan.calendar.zone))
        problem = f"{count}{when}, are done on {done:%Y-%m-%d} at {done:%H:%M} at the earliest"
        yield Objection(("cutover", "soak"), f"{problem}, and the deadline is {plan.deadline}. {remedy}")
