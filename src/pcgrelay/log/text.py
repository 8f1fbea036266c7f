"""Records as lines for people: time, level, event, and the fields as name=value."""

from __future__ import annotations

from typing import Any

import msgspec

from pcgrelay.printable import printable

# Widest level and a usual event, so that the fields of most lines begin in one column.
LEVEL_WIDTH, EVENT_WIDTH = 7, 18
_BARE_TO_QUOTE = set(' "=')


def text_line(time: str, level: str, event: str, fields: dict[str, Any]) -> str:
    """Format one line, without its end. Each value is one word: a text with blanks stands in quotes."""
    head = f"{time} {level:<{LEVEL_WIDTH}} {event:<{EVENT_WIDTH}}"
    return " ".join([head, *(f"{name}={_word(value)}" for name, value in fields.items())]).rstrip()


def _word(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case str():
            text = printable(value)
        case list() | tuple():
            text = printable(", ".join(str(each) for each in value))
        case dict():
            text = printable(", ".join(f"{name}: {each}" for name, each in value.items()))
        case _:
            return msgspec.json.encode(value).decode()
    return f'"{text.replace(chr(34), chr(39))}"' if not text or _BARE_TO_QUOTE & set(text) else text
