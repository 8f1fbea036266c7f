"""How long the demonstration takes its time: the plan that it makes, and what it edits in it (pure)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

# A line of a plan: its key, what it is, and the comment behind it.
_LINE = re.compile(r"^(\w+) = (.*?)( *#.*)?$")


class Pace(Struct, frozen=True, kw_only=True):
    """One form of the demonstration."""

    steps: tuple[float, ...]
    soak_s: int
    rehearsed: int  # connections over each outlet
    fault_after_s: float  # so long at FAULT_AT
    back_for_s: float  # so long it is looked at after it fell back

    @property
    def steps_text(self) -> str:
        return ",".join(f"{step:g}" for step in self.steps)


FAULT_AT = 25.0
WHOLE = Pace(steps=(1, 5, FAULT_AT, 50, 100), soak_s=4, rehearsed=40, fault_after_s=2.0, back_for_s=1.5)
QUICK = Pace(steps=(10, FAULT_AT, 100), soak_s=2, rehearsed=10, fault_after_s=0.3, back_for_s=0.5)

HELLO = "hello\\n"  # with an escape, as a plan has it
EXPECTED = "custody"
# What 40 connections can show, on a machine that does other things too. A real plan keeps its margins and its time.
DEMONSTRATED = {
    "change": '"CR-1042"',
    "title": '"Custody records: transition to another network"',
    "failures": '"10 %"',
    "setup": '"10 % or 100 ms"',
    "answer": '"10 % or 100 ms"',
    "pace": '"60 / min"',
    "send": f"'{HELLO}'",
    "expect": f'"{EXPECTED}"',
}


def edited(plan: str, values: Mapping[str, str] = DEMONSTRATED) -> str:
    """The plan with other values for some keys. KeyError: it has no such line."""
    left = dict(values)
    lines = []
    for line in plan.splitlines():
        match = _LINE.match(line)
        if match and match[1] in left:
            line = f"{match[1]} = {left.pop(match[1])}{match[3] or ''}"
        lines.append(line)
    if left:
        raise KeyError(next(iter(left)))
    return "\n".join(lines) + "\n"
