"""Text that may hold a peer's words, made safe for whoever reads it: a terminal, a journal, a log viewer.

Control characters move a cursor and change a screen; others turn the order in which text is read, or cannot be seen.
Each is shown as the number that it has. Nothing that a person can read is changed, and every text has an end.
"""

from __future__ import annotations

TEXT_MOST = 4_096


def printable(text: str, most: int = TEXT_MOST) -> str:
    """The text with each character that is not printable shown as its number, and cut to so many characters."""
    if not text.isprintable():
        text = "".join(each if each.isprintable() else _number_of(each) for each in text)
    return text if len(text) <= most else text[: most - 3] + "..."


def json_printable(text: str) -> str:
    """JSON that means the same, with each character that is not printable written as JSON's own escape.

    Ends of lines stay: inside of strings JSON has none, so those that are there were put between them.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else _json_escape(each) for each in text)


def _number_of(character: str) -> str:
    return f"\\x{ord(character):02x}" if ord(character) < 0x100 else f"\\u{ord(character):04x}"


def _json_escape(character: str) -> str:
    # A character beyond 16 bits is a pair of escapes.
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
