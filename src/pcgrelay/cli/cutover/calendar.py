"""The calendar of `list --calendar`: each service as a bar over the weeks, each end of support as a wall (pure).

custody@kent.police.example  =====>----D     |
                             |    |    |     the last day on which what it falls back to is supported
                             |    |    the deadline
                             |    today
                             the day on which it began
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from msgspec import Struct
from rich.text import Text

from pcgrelay.admin.cutover_answers import CutoverStatus
from pcgrelay.cli.cutover.times import day_of

COLUMNS_MOST = 104
COLUMNS_LEAST = 20
# One character is so many days; the first with which all fit is taken.
SCALES = (1, 2, 4, 7, 14, 28)
# Beyond these from today nothing is drawn; the legend names it.
DAYS_BEFORE_MOST = 366
DAYS_AFTER_MOST = 2 * 366
WALL_AFTER_MOST = 35
STYLES = {"=": "cyan", "-": "dim cyan", "!": "bold red", "#": "green", ".": "dim green", "D": "bold", "|": "bold red"}
LEGEND = (
    "= moving  - as foreseen  ! fell back, or after the deadline  # arrived  . quiet days to come  "
    "D deadline  | end of support"
)
LEGEND_PARTS = LEGEND.split("  ")


class Scale(Struct, frozen=True):
    """Which day is where."""

    first: date
    days: int  # of one character
    columns: int

    def column(self, day: date) -> int | None:
        """The character of a day; nothing outside."""
        at = (day - self.first).days // self.days
        return at if 0 <= at < self.columns else None

    def span(self, first: date, last: date) -> range:
        """The characters from one day to another, both included."""
        start = max(0, (first - self.first).days // self.days)
        return range(start, min(self.columns, (last - self.first).days // self.days + 1))


def calendar_lines(
    rows: Sequence[tuple[str, CutoverStatus]], width: int, today: date, *, with_node: bool = False
) -> Iterator[Text]:
    """All lines of the calendar."""
    labels = [f"{each.service} ({node})" if with_node else each.service for node, each in rows]
    label = max(map(len, labels))
    stacked = width - label - 2 < COLUMNS_LEAST
    space = width - 2 if stacked else width - label - 2
    scale = scale_of([each for _, each in rows], min(COLUMNS_MOST, space), today)
    indent = " " * (2 if stacked else label + 2)
    for line in _heading(scale, today):
        yield Text(f"{indent}{line}".rstrip(), style="dim")
    for name, (_, each) in zip(labels, rows, strict=True):
        bar = _coloured(bar_of(each, scale, today))
        if stacked:
            yield Text(name)
            yield Text.assemble(indent, bar)
        else:
            yield Text.assemble(f"{name:<{label}}  ", bar)
    yield from _legend([each for _, each in rows], scale, width)


def scale_of(cutovers: Sequence[CutoverStatus], columns: int, today: date) -> Scale:
    """The smallest scale on which all that is known fits."""
    earliest, latest = today - timedelta(days=DAYS_BEFORE_MOST), today + timedelta(days=DAYS_AFTER_MOST)
    known = {today}
    for each in cutovers:
        days = (day_of(each.began), day_of(each.done), day_of(each.deadline), _quiet_end(each))
        known |= {min(max(day, earliest), latest) for day in days if day is not None}
    first, last = min(known), max(known)
    # A wall far behind everything else is only named.
    walls = {day for each in cutovers for day in _walls(each).values()}
    last = max({day for day in walls if last < day <= last + timedelta(days=WALL_AFTER_MOST)}, default=last)
    first -= timedelta(days=first.weekday())
    for scale in SCALES:
        if (last - first).days // scale < columns:
            break
    return Scale(first, scale, min(columns, (last - first).days // scale + 2))


def bar_of(each: CutoverStatus, scale: Scale, today: date) -> str:
    """The bar of one service."""
    cells = [" "] * scale.columns

    def draw(first: date | None, last: date | None, mark: str) -> None:
        if first is not None and last is not None:
            for at in scale.span(first, last):
                cells[at] = mark

    began, done, deadline = day_of(each.began), day_of(each.done), day_of(each.deadline)
    if each.phase in ("arrived", "quiet", "retired"):
        arrived = day_of(each.since) or today
        draw(began, arrived, "=")
        if each.phase == "arrived":
            draw(today, _quiet_end(each), ".")
        draw(arrived, today, "#")
    else:
        draw(began, today, "=")
        if done is not None:
            draw(today, done, "-")
            if deadline is not None and done > deadline:
                draw(deadline + timedelta(days=1), done, "!")
    if each.phase == "back":
        draw(day_of(each.fell_back) or day_of(each.since) or today, today, "!")
    marks = [(end, "|") for end in _walls(each).values()] + ([(deadline, "D")] if deadline else [])
    taken: set[int] = set()
    for day, mark in sorted(marks):
        at = scale.column(day)
        # Two marks of one character's days stand beside each other, in their order.
        while at in taken:
            at += 1
        if at is not None and at < scale.columns:
            cells[at] = mark
            taken.add(at)
    return "".join(cells).rstrip()


def _walls(each: CutoverStatus) -> dict[str, date]:
    """The ends of support of what it falls back to, by network."""
    ends = {}
    for outlet in each.outlets:
        day = day_of(outlet.supported_until)
        if outlet.role != "new" and day is not None:
            ends[outlet.bearer or outlet.name] = day
    return ends


def _quiet_end(each: CutoverStatus) -> date | None:
    """The day on which the old outlet has been quiet for long enough, if it stays so."""
    start = day_of(each.since) if each.phase == "arrived" else None
    try:
        return None if start is None else start + timedelta(days=each.quiet_of)
    except OverflowError:
        return None


def _heading(scale: Scale, today: date) -> Iterator[str]:
    """The months, and today."""
    months = [" "] * (scale.columns + 8)
    free = 0
    day = scale.first.replace(day=1)
    while (at := (day - scale.first).days // scale.days) < scale.columns:
        name = f"{day:%b %Y}" if day.month == 1 or not free else f"{day:%b}"
        at = max(at, 0)
        if at >= free:
            months[at : at + len(name)] = name
            free = at + len(name) + 1
        day = (day + timedelta(days=32)).replace(day=1)
    yield "".join(months)
    at = scale.column(today) or 0
    yield f"{' ' * at}v today"


def _coloured(bar: str) -> Text:
    return Text.assemble(*((mark, STYLES.get(mark, "")) for mark in bar))


def _legend(cutovers: Sequence[CutoverStatus], scale: Scale, width: int) -> Iterator[Text]:
    line = ""
    for part in [*LEGEND_PARTS, f"one character is {'a day' if scale.days == 1 else f'{scale.days} days'}"]:
        if line and len(line) + 2 + len(part) > width:
            yield Text(line, style="dim")
            line = ""
        line = f"{line}  {part}" if line else part
    yield Text(line, style="dim")
    ends: dict[str, date] = {}
    for each in cutovers:
        ends |= _walls(each)
    if ends:
        words = ", ".join(f"{name} {end}" for name, end in sorted(ends.items(), key=lambda item: item[1]))
        yield Text(f"Support ends: {words}.", style="dim")
