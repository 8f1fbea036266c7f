"""A plan from the options of `cutover plan` and from what a node knows of its outlets (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from pathlib import Path

from msgspec import Struct

from pcgrelay.admin.answers import OutletAnswer
from pcgrelay.config.source import Source
from pcgrelay.cutover.objections import Objection, Surroundings, objections, warnings
from pcgrelay.cutover.plan import Plan, parse_plan
from pcgrelay.cutover.plan_text import quoted, render
from pcgrelay.errors import ConfigError, RunError, UsageProblem

# What the refusals name: the plan is on its way to standard output.
NAME = Path("plan")
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_KEY = re.compile(r"plan(?::\d+)?: (?:cutover\.(\w+)|(?:report|shadow)\.(\w+))(?:\[\d+\])?: ", re.ASCII)
_NUMBER = re.compile(r"\d{1,6}(\.\d{1,6})?", re.ASCII)
_SPLIT = re.compile(r"[,\s]+")
# So many outlets and steps are looked at; a plan takes fewer, and says so.
WORDS_MOST = 100
# Keys of a plan whose option has another name.
_OPTIONS = {"service": "SERVICE"}


class Wishes(Struct, frozen=True, kw_only=True):
    """The options, as they were typed."""

    old: str
    deadline: str
    new: str = "gateway"
    back: str = ""
    steps: str = ""
    soak: str = ""
    advance: str = ""
    zone: str = ""
    freeze: tuple[str, ...] = ()
    change: str = ""
    owner: str = ""
    title: str = ""
    send: str = ""
    expect: str = ""


class Draft(Struct, frozen=True):
    """A plan that is valid in itself, its text, and what speaks against it on this day at this node."""

    plan: Plan
    text: str
    against: tuple[str, ...]
    warnings: tuple[str, ...]


def draft_plan(answer: OutletAnswer, wishes: Wishes, now: datetime, node: str) -> Draft:
    """Make the plan. UsageProblem: an option is wrong in itself."""
    around = surroundings_of(answer, wishes.new, now)
    try:
        wished, _ = parse_plan(_wished_text(answer.service, wishes, around.supported_until), NAME)
    except ConfigError as error:
        raise _option_refusal(str(error)) from None
    text = _with_outlets(render(wished), answer, now, node)
    plan, source = parse_plan(text, NAME)
    if plan != wished:
        raise RunError("the plan that was written is not the one that was wished for; nothing is printed.")
    against = tuple(_sentences(source, objections(plan, around)))
    return Draft(plan, text, against, tuple(_sentences(source, warnings(plan, around))))


def surroundings_of(answer: OutletAnswer, new: str, now: datetime) -> Surroundings:
    """What the node says of its outlets."""
    states = {outlet.name: outlet.state for outlet in answer.outlets}
    ends = {
        outlet.name: date.fromisoformat(outlet.supported_until) if outlet.supported_until else None
        for outlet in answer.outlets
        if outlet.state not in ("removed", "ended")
    }
    has_session = states.get(new, "ready") in ("ready", "failing")
    return Surroundings(now, ends, has_session=has_session, of_datagrams=answer.protocol == "udp")


def _wished_text(service: str, wishes: Wishes, ends: Mapping[str, date | None]) -> str:
    """The options as a plan; what is not said has the plan's own value."""
    if not _DAY.fullmatch(wishes.deadline):
        raise UsageProblem(f"--deadline: {wishes.deadline!r} is no date; write for example 2020-03-31.")
    try:
        date.fromisoformat(wishes.deadline)
    except ValueError:
        raise UsageProblem(f"--deadline: there is no day {wishes.deadline}; write for example 2020-03-31.") from None
    lines = [
        "[cutover]",
        f"service = {quoted(service)}",
        f"from = {quoted(wishes.old)}",
        f"to = {quoted(wishes.new)}",
        f"back = {_list(_words(wishes.back) or back_of(wishes, ends))}",
        f"deadline = {wishes.deadline}",
        f"freeze = {_list(wishes.freeze)}",
    ]
    if wishes.steps:
        lines.append(f"steps = [{', '.join(map(_number, _words(wishes.steps)))}]")
    for key in ("soak", "advance", "zone", "change", "owner"):
        if text := getattr(wishes, key):
            lines.append(f"{key} = {quoted(text)}")
    if wishes.title:
        lines += ["[report]", f"title = {quoted(wishes.title)}"]
    if wishes.send or wishes.expect:
        lines += ["[shadow]", f"send = {quoted(wishes.send)}", f"expect = {quoted(wishes.expect)}"]
    return "\n".join(lines)


def back_of(wishes: Wishes, ends: Mapping[str, date | None]) -> list[str]:
    """Where it falls back to unless that is said: where it comes from, then the service's other outlets."""
    return [wishes.old, *(name for name in ends if name not in (wishes.old, wishes.new))]


def _with_outlets(text: str, answer: OutletAnswer, now: datetime, node: str) -> str:
    """The plan with what the node knows of the outlets, which is what it was held against."""
    lines = [f"# Outlets of {answer.service} at {node} on {now:%Y-%m-%d}:"]
    for outlet in answer.outlets:
        until = f"supported until {outlet.supported_until}" if outlet.supported_until else "no end of support is known"
        over = f" over {outlet.bearer}" if outlet.bearer else ""
        lines.append(f"#   {outlet.name}{over}: {until}")
    head, _, rest = text.partition("\n")
    return "\n".join([head, *lines, rest])


def _sentences(source: Source, found: Iterator[Objection]) -> Iterator[str]:
    for objection in found:
        yield str(source.refusal(objection.where, objection.problem))


def _option_refusal(refusal: str) -> UsageProblem:
    """What is wrong with an option, by the option's name instead of a line that nobody has seen."""
    match = _KEY.match(refusal)
    if match is None:
        return UsageProblem(refusal)
    key = match[1] or match[2]
    return UsageProblem(f"{_OPTIONS.get(key, f'--{key}')}: {refusal[match.end() :]}")


def _words(text: str) -> list[str]:
    return [word for word in _SPLIT.split(text) if word][:WORDS_MOST]


def _number(word: str) -> str:
    if not _NUMBER.fullmatch(word):
        raise UsageProblem(f"--steps: {word!r} is no percentage; write for example --steps 1,5,25,50,100.")
    return word


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(quoted, texts))}]"
