"""Printing of facts: tables for people, JSON for programs, numbers with their units.

On a terminal a table fits the window and has colours. In a pipe it is as wide as necessary and plain, so that grep
finds whole lines.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import click
import msgspec
from rich.console import Console, ConsoleDimensions
from rich.text import Text

from pcgrelay.printable import json_bytes, json_printable, printable
from pcgrelay.quantities import duration as duration  # noqa: PLC0414
from pcgrelay.quantities import size as size  # noqa: PLC0414

PIPE_WIDTH = 1000
GAP = 2  # blanks between columns

STYLES = {
    **dict.fromkeys(("ok", "up", "ready", "good", "arrived", "quiet", "retired"), "green"),
    **dict.fromkeys(("warning", "held", "paused"), "yellow"),
    **dict.fromkeys(("error", "down", "bad", "back", "lost"), "bold red"),
}


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    click.echo(json_printable(msgspec.json.format(json_bytes(value), indent=2).decode()))


def say(sentence: str, *, err: bool = False) -> None:
    """Print a line for a user."""
    click.echo(printable(sentence), err=err)


class Screen(Console):
    """The console for people; it makes all text safe, whatever its origin: see `printable`."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*map(_shown, objects), **options)


def terminal() -> Console:
    """Return the console of standard output, with its width and colour support."""
    plain = not sys.stdout.isatty()
    return Screen(width=PIPE_WIDTH if plain else None, highlight=False, markup=False, emoji=False, soft_wrap=False)


def fit_window(console: Console) -> None:
    """Have the console of standard output be as large as its window is now. What is redrawn asks before each drawing.

    COLUMNS and LINES, which rich takes first, are of the moment in which a shell exported them.
    """
    with suppress(OSError):
        columns, rows = os.get_terminal_size(sys.stdout.fileno())
        if columns and rows:  # a serial line knows none
            console.size = ConsoleDimensions(columns, rows)


@dataclass(frozen=True)
class Row:
    """One line of a table, with notes below it over the whole width."""

    cells: Sequence[str]
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        # Before the widths are computed.
        object.__setattr__(self, "cells", [printable(cell) for cell in self.cells])


@dataclass(frozen=True)
class Layout:
    """A table before it is printed. A column whose name begins with ">" holds numbers and is right-aligned."""

    columns: Sequence[str]
    rows: Sequence[Row]

    @property
    def widths(self) -> list[int]:
        """Width of each column, in characters."""
        return [
            max(len(name.lstrip(">")), *(len(row.cells[index]) for row in self.rows))
            for index, name in enumerate(self.columns)
        ]

    def fits(self, width: int) -> bool:
        """Return whether the table fits a screen of that width."""
        return sum(self.widths) + GAP * (len(self.columns) - 1) <= width


def print_table(console: Console, title: str, *layouts: Layout) -> None:
    """Print the first layout that fits, as table_lines does."""
    for line in table_lines(console.width, title, *layouts):
        console.print(line)


def table_lines(width: int, title: str, *layouts: Layout) -> Iterator[Text]:
    """Return the lines of the first layout that fits; if none does, the first column of the last has its own lines.

    No name is truncated, because a truncated name cannot be searched for.
    """
    layout = next((layout for layout in layouts if layout.fits(width)), layouts[-1])
    stacked = not layout.fits(width)
    if title:
        yield Text(title, style="bold")
    # Column names are dim, so that they do not look like a row where bold is the only style.
    for line in _lines(Row([name.lstrip(">") for name in layout.columns]), layout, stacked):
        # Nor is a column called "down" in a bad state.
        yield Text(line.plain, style="dim")
    for row in layout.rows:
        yield from _lines(row, layout, stacked)
        for note in row.notes:
            yield Text(f"  {note}", style="dim")


def _lines(row: Row, layout: Layout, stacked: bool) -> Iterator[Text]:
    padded = []
    for name, width, cell in zip(layout.columns, layout.widths, row.cells, strict=True):
        space = " " * (width - len(cell))
        padded.append(Text(space) + styled(cell) if name.startswith(">") else styled(cell) + Text(space))
    if stacked:
        yield padded[0]
        padded[0] = Text("")
    line = Text(" " * GAP).join(padded)
    line.rstrip()
    yield line


def _shown(value: Any) -> Any:
    if isinstance(value, Text):
        return value if value.plain.isprintable() else Text(printable(value.plain), style=value.style)
    return printable(value) if isinstance(value, str) else value


def styled(word: str) -> Text:
    """Return a word in the colour of its meaning, if it has one."""
    return Text(word, style=STYLES.get(word, ""))


def milliseconds(value: float | None) -> str:
    """Format a delay: 0.24 ms, 12.3 ms, 1.2 s; a dash if it is unknown."""
    if value is None:
        return "-"
    if value < 10:
        return f"{value:.2f} ms"
    return f"{value:.1f} ms" if value < 1000 else f"{value / 1000:.1f} s"


def percent(share: float) -> str:
    """Format a share of one: 25 %."""
    return f"{100 * share:.0f} %"


def percent_exact(percent: float) -> str:
    """A share that is percent already, with its half if it has one: 0.5 %."""
    return f"{round(percent, 2):g} %"


def counted(value: int, noun: str) -> str:
    """Format a count with its noun: 1 stream, 2,000 streams."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def count(value: int) -> str:
    """Format a count with thousands separators."""
    return f"{value:,}"
