"""What the demonstration says while it goes on: lines with the second of the demonstration before them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from textwrap import wrap

from rich.console import Console
from rich.text import Text

from pcgrelay.output import PIPE_WIDTH

LINE_MOST = 120
INDENT = 9  # of what follows the seconds


class Telling:
    """Says something at its second. Seconds are counted from when this was made."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began_s = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began_s

    def say(self, words: str, style: str = "") -> None:
        for line in dated(self.seconds, words, self.console.width, style):
            self.console.print(line)

    def command(self, words: str) -> None:
        """A command that is run now, as a person would type it."""
        for line in typed(words, self.console.width):
            self.console.print(Text(line, style="dim"))

    def plain(self, words: str = "", style: str = "") -> None:
        """Words without a second, over the whole width."""
        for part in folded(words, min(self.console.width, LINE_MOST)) or [""]:
            self.console.print(Text(part, style=style))


def folded(words: str, width: int) -> list[str]:
    """Words in lines; no name is broken, because a broken one cannot be searched for."""
    return wrap(words, width, break_on_hyphens=False, break_long_words=False)


def typed(words: str, width: int) -> list[str]:
    """A command as a person types it, in several lines where one has no room."""
    parts = folded(f"pcgrelay {words}", max(40, width - INDENT - len("$   \\")))
    heads = ["$ ", *["    "] * (len(parts) - 1)]
    tails = [*[" \\"] * (len(parts) - 1), ""]
    return [f"{'':{INDENT}}{head}{part}{tail}" for head, part, tail in zip(heads, parts, tails, strict=True)]


def dated(seconds: float, words: str, width: int, style: str = "") -> Iterator[Text]:
    """Words behind their second; what does not fit goes on below them. A pipe is as wide as necessary."""
    most = (width if width >= PIPE_WIDTH else min(width, LINE_MOST)) - INDENT
    for number, part in enumerate(folded(words, max(20, most)) or [""]):
        head = Text(f"{seconds:5.1f} s  " if not number else " " * INDENT, style="dim")
        yield Text.assemble(head, (part, style))
