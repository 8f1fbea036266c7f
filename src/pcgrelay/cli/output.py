"""How facts are printed: tables for people, JSON for programs, numbers with their units.

On a terminal a table fits the window and has colours. In a pipe it is as wide as it needs to be and plain, so that grep
finds whole lines.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 1000
WIDE = 110  # from here on a terminal has room for every column

STYLES = {"ok": "green", "warning": "yellow", "error": "bold red", "up": "green", "ready": "green", "down": "bold red"}


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def terminal() -> Console:
    """Standard output, with its width and whether it takes colours."""
    plain = not sys.stdout.isatty()
    return Console(width=PIPE_WIDTH if plain else None, highlight=False, markup=False, emoji=False, soft_wrap=False)


def print_table(console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """Print a table under a title; a column whose name begins with ">" holds numbers, one with "~" may be folded.

    Whatever else does not fit is cut with an ellipsis: a broken line is harder to read than a short word.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", collapse_padding=True)
    for name in columns:
        bare = name.lstrip(">~")
        table.add_column(
            bare,
            justify="right" if name.startswith(">") else "left",
            no_wrap=not name.startswith("~"),
            overflow="fold" if name.startswith("~") else "ellipsis",
        )
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else styled(cell) for cell in row))
    if title:
        console.print(Text(title, style="bold underline" if console.is_terminal else ""))
    console.print(table)


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
