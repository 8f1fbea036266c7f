"""The plan of a cut-over: read from its text, and refused with file, line, key and remedy whatever is wrong (pure).

A Plan that exists is valid in itself. What speaks against it on a day and at a node is `objections`' matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from pcgrelay.config.shape import shape_refusal, unknown_refusal
from pcgrelay.config.source import KeyPath, Source
from pcgrelay.config.values import escaped_bytes
from pcgrelay.cutover import plan_schema as schema
from pcgrelay.cutover.margin import Margin
from pcgrelay.cutover.samples import Limits
from pcgrelay.cutover.slots import SHARE_UNIT_PERCENT
from pcgrelay.cutover.windows import FREEZES_MOST, Calendar, Freeze, find_zone, parse_windows
from pcgrelay.errors import ConfigError
from pcgrelay.model import ServiceName, check_label

T = TypeVar("T")

PLAN_LIMIT_BYTES = 64 << 10
STEPS_MOST = 20
BACK_MOST = 4
SOAK_LEAST_S = 1
SOAK_MOST_S = 30 * 86_400
PACE_MOST_PER_MINUTE = 60.0
# As those of an export's probe: a word and its answer, no conversation.
SEND_MOST_BYTES = 1_024
EXPECT_MOST_BYTES = 256
TEXT_MOST = 200
TEXTS_MOST = 20
# Beyond these a date is a slip of the pen.
YEARS = range(1970, 2200)

_DURATION = re.compile(r"([1-9]\d{0,6}) ?(s|m|min|h|d)", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}
_PACE = re.compile(r"(\d{1,3}(?:\.\d{1,3})?) ?/ ?(min|h)", re.ASCII)


class Shadow(Struct, frozen=True):
    """Connections of ours over both outlets while it soaks."""

    per_minute: float = 6.0  # zero: off
    send: str = ""  # as written, with escapes
    expect: str = ""


class Report(Struct, frozen=True):
    """What the report says of itself."""

    title: str = ""
    part1: str = "OFFICIAL - PUBLIC"
    part2: str = "OFFICIAL-SENSITIVE"
    exempt: tuple[str, ...] = ()
    defer_until: date | None = None
    defer_reason: str = ""
    advice: tuple[str, ...] = ()


class Plan(Struct, frozen=True):
    """A plan that is valid in itself."""

    service: str
    old: str  # the outlet that it moves from
    new: str
    back: tuple[str, ...]
    steps: tuple[float, ...]  # percent
    soak_s: int
    deadline: date
    calendar: Calendar
    change: str
    owner: str
    limits: Limits
    shadow: Shadow
    quiet_days: int
    report: Report


def parse_plan(text: str, path: Path) -> tuple[Plan, Source]:
    """Read a plan's text; path stands in refusals. The Source finds lines for whoever has more against it."""
    if len(text.encode("utf-8", "surrogatepass")) > PLAN_LIMIT_BYTES:
        raise ConfigError(f"{path}: the plan is larger than {PLAN_LIMIT_BYTES >> 10} KiB; name the right file.")
    source = Source(path, text)
    _refuse_unknown(source)
    _refuse_unprintable(source, (), source.values)
    try:
        tables = msgspec.convert(source.values, schema.PlanTable)
    except msgspec.ValidationError as error:
        raise shape_refusal(source, str(error), example_for) from None
    return _build(source, tables), source


def example_for(where: KeyPath) -> str:
    """How a right line for that key looks."""
    return schema.EXAMPLES.get(".".join(part for part in where[:2] if isinstance(part, str)), "")


def _refuse_unknown(source: Source) -> None:
    for name, entry in source.values.items():
        if name not in schema.TABLES:
            raise unknown_refusal(source, (name,), schema.TABLES, "table" if isinstance(entry, dict | list) else "key")
        if not isinstance(entry, dict):
            raise source.refusal((name,), f"this table comes once; write [{name}] with its keys below")
        for key in entry:
            if key not in schema.known_keys(name):
                raise unknown_refusal(source, (name, key), schema.known_keys(name), "key")


def _refuse_unprintable(source: Source, where: KeyPath, value: Any) -> None:
    """A plan is read and signed by people: it has nothing in it that they do not see."""
    if isinstance(value, dict):
        for key, entry in value.items():
            _refuse_unprintable(source, (*where, key), entry)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            _refuse_unprintable(source, (*where, index), entry)
    elif isinstance(value, str) and not value.isprintable():
        raise source.refusal(where, "there is a character in it that cannot be seen; remove it")


def _build(source: Source, tables: schema.PlanTable) -> Plan:
    table = tables.cutover
    soak_s = _parsed(source, ("cutover", "soak"), table.soak, _seconds)
    if table.deadline.year not in YEARS:
        raise source.refusal(("cutover", "deadline"), f"{table.deadline} is no deadline that anybody means")
    old, new, back = _outlets(source, table)
    return Plan(
        service=str(_parsed(source, ("cutover", "service"), table.service, ServiceName.parse)),
        old=old,
        new=new,
        back=back,
        steps=_steps(source, table.steps),
        soak_s=soak_s,
        deadline=table.deadline,
        calendar=_calendar(source, table),
        change=_text(source, ("cutover", "change"), table.change),
        owner=_text(source, ("cutover", "owner"), table.owner),
        limits=_limits(source, tables.gate),
        shadow=_shadow(source, tables.shadow),
        quiet_days=tables.quiet.days,
        report=_report(source, tables.report),
    )


def _parsed(source: Source, where: KeyPath, text: str, parse: Callable[[str], T]) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise source.refusal(where, f"{error}; write for example: {example_for(where)}") from None


def _outlets(source: Source, table: schema.CutoverTable) -> tuple[str, str, tuple[str, ...]]:
    def outlet(where: KeyPath, text: str) -> str:
        return _parsed(source, where, text, lambda text: check_label(text, "outlet"))

    old, new = outlet(("cutover", "from"), table.from_), outlet(("cutover", "to"), table.to)
    if old == new:
        raise source.refusal(("cutover", "to"), f"{new} is also where it moves from; name two outlets")
    if not 1 <= len(table.back) <= BACK_MOST:
        problem = f"there are {len(table.back)} outlets to fall back to; name 1 to {BACK_MOST}"
        raise source.refusal(("cutover", "back"), problem)
    for index, text in enumerate(table.back):
        outlet(("cutover", "back", index), text)
        if text == new or text in table.back[:index]:
            why = "is where it moves to" if text == new else "stands here twice"
            raise source.refusal(("cutover", "back", index), f"{text} {why}; remove it")
    return old, new, table.back


def _steps(source: Source, steps: tuple[float, ...]) -> tuple[float, ...]:
    where = ("cutover", "steps")
    if not 1 <= len(steps) <= STEPS_MOST:
        raise source.refusal(where, f"there are {len(steps)} steps; write 1 to {STEPS_MOST}")
    for step in steps:
        if not isfinite(step) or not 0 < step <= 100 or not (step / SHARE_UNIT_PERCENT).is_integer():
            problem = f"{step:g} is no step: a step is a multiple of 0.5 above 0 and at most 100 percent"
            raise source.refusal(where, problem)
    for before, after in pairwise(steps):
        if after <= before:
            raise source.refusal(where, f"{after:g} comes after {before:g}, and steps rise")
    if steps[-1] != 100:
        raise source.refusal(where, f"the last step is {steps[-1]:g}, and a service has moved at 100 alone; add it")
    return tuple(float(step) for step in steps)


def _calendar(source: Source, table: schema.CutoverTable) -> Calendar:
    _parsed(source, ("cutover", "zone"), table.zone, find_zone)
    windows = _parsed(source, ("cutover", "advance"), table.advance, parse_windows)
    if len(table.freeze) > FREEZES_MOST:
        problem = f"there are {len(table.freeze)} freezes, and {FREEZES_MOST} is the most"
        raise source.refusal(("cutover", "freeze"), problem)
    freezes = tuple(
        _parsed(source, ("cutover", "freeze", index), text, Freeze.parse) for index, text in enumerate(table.freeze)
    )
    return Calendar(windows, table.zone, freezes)


def _limits(source: Source, table: schema.GateTable) -> Limits:
    return Limits(
        streams=table.streams,
        failures=_parsed(source, ("gate", "failures"), table.failures, Margin.parse_share),
        setup=_parsed(source, ("gate", "setup"), table.setup, Margin.parse),
        answer=_parsed(source, ("gate", "answer"), table.answer, Margin.parse),
        rate=_parsed(source, ("gate", "rate"), table.rate, lambda text: Margin.parse_share(text, 99)),
    )


def _shadow(source: Source, table: schema.ShadowTable) -> Shadow:
    for key, text, most in (("send", table.send, SEND_MOST_BYTES), ("expect", table.expect, EXPECT_MOST_BYTES)):
        word = _parsed(source, ("shadow", key), text, escaped_bytes)
        if len(word) > most:
            raise source.refusal(("shadow", key), f"these are {len(word)} bytes, and {most} is the most; write fewer")
    per_minute = _parsed(source, ("shadow", "pace"), table.pace, _per_minute)
    return Shadow(per_minute, table.send, table.expect)


def _report(source: Source, table: schema.ReportTable) -> Report:
    defer = table.defer_until
    until = _parsed(source, ("report", "defer_until"), defer, date.fromisoformat) if defer else None
    if until is not None and not table.defer_reason:
        raise source.refusal(("report", "defer_until"), "a publication is deferred for a reason; write defer_reason")
    texts = {}
    for key in ("title", "part1", "part2", "defer_reason"):
        texts[key] = _text(source, ("report", key), getattr(table, key))
    for key in ("exempt", "advice"):
        entries = getattr(table, key)
        if len(entries) > TEXTS_MOST:
            problem = f"there are {len(entries)} entries, and {TEXTS_MOST} is the most"
            raise source.refusal(("report", key), problem)
        for index, entry in enumerate(entries):
            _text(source, ("report", key, index), entry)
    return Report(**texts, exempt=table.exempt, defer_until=until, advice=table.advice)


def _text(source: Source, where: KeyPath, text: str) -> str:
    if len(text) > TEXT_MOST:
        raise source.refusal(where, f"this has {len(text)} characters, and {TEXT_MOST} is the most; write fewer")
    return text


def _seconds(text: str) -> int:
    match = _DURATION.fullmatch(text)
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not SOAK_LEAST_S <= seconds <= SOAK_MOST_S:
        raise ValueError(f'"{text}" is no soak, which is 1s to 30d')
    return seconds


def _per_minute(text: str) -> float:
    if text == "off":
        return 0.0
    match = _PACE.fullmatch(text)
    pace = float(match[1]) / (60 if match[2] == "h" else 1) if match else 0.0
    if not 0 < pace <= PACE_MOST_PER_MINUTE:
        raise ValueError(f'"{text}" is no pace, which is up to {PACE_MOST_PER_MINUTE:g} / min, or off')
    return pace
