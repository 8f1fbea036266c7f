"""How facts are printed: tables for people, JSON for programs, numbers with their units.

On a terminal a table fits the window and has colours. In a pipe it is as wide as it needs to be and plain, so that grep
finds whole lines.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.text import Text

from pcgrelay.printable import json_printable, printable

PIPE_WIDTH = 1000
GAP = 2  # blanks between columns

STYLES = {"ok": "green", "warning": "yellow", "error": "bold red", "up": "green", "ready": "green", "down": "bold red"}


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    click.echo(json_printable(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()))


def say(sentence: str, *, err: bool = False) -> None:
    """Print a line for a person."""
    click.echo(printable(sentence), err=err)


class Screen(Console):
    """What is printed for people, whoever chose the words: see `printable`."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*map(_shown, objects), **options)


def terminal() -> Console:
    """Standard output, with its width and whether it takes colours."""
    plain = not sys.stdout.isatty()
    return Screen(width=PIPE_WIDTH if plain else None, highlight=False, markup=False, emoji=False, soft_wrap=False)


@dataclass(frozen=True)
class Row:
    """One line of a table, and what there is to say below it, over the whole width."""

    cells: Sequence[str]
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        # Before the widths are counted.
        object.__setattr__(self, "cells", [printable(cell) for cell in self.cells])


@dataclass(frozen=True)
class Layout:
    """A table before it is printed. A column whose name begins with ">" holds numbers and stands to the right."""

    columns: Sequence[str]
    rows: Sequence[Row]

    @property
    def widths(self) -> list[int]:
        return [
            max(len(name.lstrip(">")), *(len(row.cells[index]) for row in self.rows))
            for index, name in enumerate(self.columns)
        ]

    def fits(self, console: Console) -> bool:
        return sum(self.widths) + GAP * (len(self.columns) - 1) <= console.width


def print_table(console: Console, title: str, *layouts: Layout) -> None:
    """Print the first of the layouts that fits. If none does, the first column of the last gets lines of its own.

    No name is cut: one that ends in dots cannot be looked for.
    """
    layout = next((layout for layout in layouts if layout.fits(console)), layouts[-1])
    stacked = not layout.fits(console)
    if title:
        console.print(Text(title, style="bold"))
    # The names of columns are dim, so that they do not look like a row where there is no colour but bold.
    for line in _lines(Row([name.lstrip(">") for name in layout.columns]), layout, stacked):
        line.stylize("dim")
        console.print(line)
    for row in layout.rows:
        for line in _lines(row, layout, stacked):
            console.print(line)
        for note in row.notes:
            console.print(Text(f"  {note}", style="dim"))


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
    """A word in the colour that its meaning has, if it has one."""
    return Text(word, style=STYLES.get(word, ""))


def size(count: int) -> str:
    """Bytes as people read them: 512 B, 1.5 KiB, 20 MiB."""
    if count < 1024:
        return f"{count} B"
    value = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        value /= 1024
        # One digit after the point only where there are few before it; 1023.96 must not become 1024.
        if value < 1023.5:
            return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
    return f"{value / 1024:.1f} PiB"


def milliseconds(value: float | None) -> str:
    """A delay: 0.24 ms, 12.3 ms, 1.2 s; a dash if it is not known."""
    if value is None:
        return "-"
    if value < 10:
        return f"{value:.2f} ms"
    return f"{value:.1f} ms" if value < 1000 else f"{value / 1000:.1f} s"


def percent(share: float) -> str:
    """A share of one: 25 %."""
    return f"{100 * share:.0f} %"


def duration(seconds: float) -> str:
    """A long time by its two largest units: 3 d 4 h, 12 min 5 s."""
    left = int(seconds)
    parts: list[str] = []
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, length)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def count(value: int) -> str:
    """A count with its thousands apart."""
    return f"{value:,}"
