"""Text that may contain a peer's words, made safe for a terminal, a journal or a log viewer.

Control characters move the cursor and change the screen; others change the direction of text, or are invisible. Each is
shown as its number. Readable characters are unchanged, and every text is limited in length.
"""

from __future__ import annotations

from typing import Any

import msgspec

TEXT_MOST = 4_096
_encoder = msgspec.json.Encoder()


def printable(text: str, most: int = TEXT_MOST) -> str:
    """Return text with each unprintable character shown as its number, truncated to most characters."""
    if not text.isprintable():
        text = "".join(each if each.isprintable() else _number_of(each) for each in text)
    return text if len(text) <= most else text[: most - 3] + "..."


def json_printable(text: str) -> str:
    """Return equivalent JSON in which each unprintable character is a JSON escape.

    Line ends stay: JSON strings contain none, so all of them are between the values.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else _json_escape(each) for each in text)


def json_bytes(value: Any) -> bytes:
    """Encode a value as JSON. A name that is no UTF-8, as a file may have it, is shown with the numbers of its bytes.

    Such a text has characters that no encoding takes; an error there would cost the whole record or answer.
    """
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return _encoder.encode(_encodable(msgspec.to_builtins(value)))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    return [_encodable(each) for each in value] if isinstance(value, list | tuple) else value


def _number_of(character: str) -> str:
    return f"\\x{ord(character):02x}" if ord(character) < 0x100 else f"\\u{ord(character):04x}"


def _json_escape(character: str) -> str:
    # A character beyond 16 bits is a surrogate pair.
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
