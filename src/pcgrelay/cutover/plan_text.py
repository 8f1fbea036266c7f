"""A plan as text again: the one spelling of each plan, its digest, and what two texts differ in (pure).

`cutover plan` prints `render`. A plan that was rendered and is read again is the same plan, and is rendered the same.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from hashlib import sha256

from pcgrelay.cutover.plan import Plan
from pcgrelay.cutover.windows import freeze_text, window_text

HEAD = "# Made by `pcgrelay cutover plan`; every line may be edited before it is approved.\n"
# Of each line; what is longer is cut where it is shown.
DIFFERENCES_MOST = 40


def render(plan: Plan) -> str:
    """The plan's text."""
    limits, report, calendar = plan.limits, plan.report, plan.calendar
    tables = {
        "cutover": [
            ("service", quoted(plan.service), ""),
            ("from", quoted(plan.old), ""),
            ("to", quoted(plan.new), ""),
            ("back", _list(plan.back), "where it falls back to: the first that is well and in support"),
            ("steps", "[" + ", ".join(f"{step:g}" for step in plan.steps) + "]", "percent; rising, ends at 100"),
            ("soak", quoted(duration_text(plan.soak_s)), "least time at each step"),
            ("deadline", f"{plan.deadline}", ""),
            ("advance", quoted(window_text(calendar.windows)), "only then a step forward; falling back at any time"),
            ("zone", quoted(calendar.zone), "of the line above"),
            ("freeze", _list(freeze_text(each) for each in calendar.freezes), "no step forward at all"),
            ("change", quoted(plan.change), "reference of the change"),
            ("owner", quoted(plan.owner), ""),
        ],
        "gate": [
            ("streams", f"{limits.streams}", "set-ups on the new outlet at this step, shadows included"),
            ("failures", quoted(str(limits.failures)), "so much above the old outlet's share of failures (95 %)"),
            ("setup", quoted(str(limits.setup)), "set-up time may be so much longer, whichever is more"),
            ("answer", quoted(str(limits.answer)), "time to the first byte of the far side, once set up"),
            ("rate", quoted(str(limits.rate)), "bytes a second of streams of 1 MiB and more may be so much less"),
        ],
        "shadow": [
            ("pace", quoted(pace_text(plan.shadow.per_minute)), 'connections of ours on each outlet; or "off"'),
            ("send", quoted(plan.shadow.send), ""),
            ("expect", quoted(plan.shadow.expect), ""),
        ],
        "quiet": [("days", f"{plan.quiet_days}", "so long nothing on the old outlet before it may be retired")],
        "report": [
            ("title", quoted(report.title), ""),
            ("part1", quoted(report.part1), ""),
            ("part2", quoted(report.part2), ""),
            ("exempt", _list(report.exempt), ""),
            ("defer_until", quoted(f"{report.defer_until}" if report.defer_until else ""), ""),
            ("defer_reason", quoted(report.defer_reason), ""),
            ("advice", _list(report.advice), "roles whose advice has to be there"),
        ],
    }
    return HEAD + "".join(f"\n[{name}]\n" + _lines(rows) for name, rows in tables.items())


def digest(text: str) -> str:
    """The SHA-256 of a plan's text, in hex: what an approval is of."""
    return sha256(text.encode()).hexdigest()


def changed_lines(before: str, after: str) -> list[str]:
    """The lines in which two texts differ: with "-" what was, with "+" what is, and the line's number."""
    old, new = before.splitlines(), after.splitlines()
    lines: list[str] = []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            lines += [f"-{number + 1}: {old[number]}" for number in range(i1, i2)]
            lines += [f"+{number + 1}: {new[number]}" for number in range(j1, j2)]
    more = len(lines) - DIFFERENCES_MOST
    return lines if more <= 0 else [*lines[:DIFFERENCES_MOST], f"and {more} lines more"]


def duration_text(seconds: int) -> str:
    """Seconds in the greatest unit that is exact, as a plan writes them."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def pace_text(per_minute: float) -> str:
    """A pace as a plan writes it."""
    if not per_minute:
        return "off"
    if round(per_minute, 3) == per_minute:
        return f"{per_minute:.6g} / min"
    return f"{per_minute * 60:.6g} / h"


def _lines(rows: list[tuple[str, str, str]]) -> str:
    lines = [f"{key} = {value}" for key, value, _ in rows]
    return "".join(
        f"{line}{' ' * max(2, 42 - len(line))}# {why}\n" if why else f"{line}\n"
        for line, (_, _, why) in zip(lines, rows, strict=True)
    )


def quoted(text: str) -> str:
    """A TOML string; a literal one where there is something to escape, if that can be."""
    if "\\" in text and "'" not in text:
        return f"'{text}'"
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _list(texts: Iterable[str]) -> str:
    return "[" + ", ".join(quoted(text) for text in texts) + "]"
