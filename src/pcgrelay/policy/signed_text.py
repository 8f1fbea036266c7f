"""The form of a text that people sign: a title, fields in a fixed order, then lines of a kind.

    pcgrelay change, version 1
    node      kent-1.kent.police.example, realm police.example
    ...
    WIDENS    export custody: allow essex.police.example added

A text has one spelling. What a person does not see on a screen (another line end, a letter of another alphabet, a
second field of the same name, a blank at the end) is refused by its name, so that two people who read the same words
sign the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

TEXT_LIMIT_BYTES = 64 << 10
LINE_MOST = 2_000
COLUMN = 10  # where values begin
_FIRST, _LAST = 0x20, 0x7E  # printable ASCII
_GOES_ON = "..."


class Spelling(StrEnum):
    """What may be wrong with the spelling of a text."""

    SIZE = "size"
    LINE_ENDS = "line-ends"
    CHARACTERS = "characters"
    TITLE = "title"
    ORDER = "order"
    DUPLICATE = "duplicate"
    FIELD = "field"
    TRAILING = "trailing"


class Misspelt(ValueError):
    """A text that is not in this form: why, by a name of the closed list and in a sentence without its full stop."""

    def __init__(self, name: Spelling, problem: str) -> None:
        super().__init__(problem)
        self.name = name


@dataclass(frozen=True, slots=True)
class Line:
    """One line below the fields."""

    kind: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Form:
    """One kind of text."""

    title: str
    fields: tuple[str, ...]
    kinds: tuple[str, ...]

    def render(self, values: Mapping[str, str], lines: Iterable[Line]) -> bytes:
        """Return the text. Misspelt: a value cannot stand in it."""
        rows = [self.title]
        rows += [_row(name, values[name]) for name in self.fields]
        rows += [_row(line.kind, line.sentence) for line in lines]
        data = "".join(f"{row}\n" for row in rows).encode("ascii", "backslashreplace")
        self.parse(data)
        return data

    def parse(self, data: bytes) -> tuple[dict[str, str], tuple[Line, ...]]:
        """Return fields and lines of a text. Misspelt: it has another spelling than `render` gives it."""
        rows = _rows(data)
        if rows[0] != self.title:
            raise Misspelt(Spelling.TITLE, f'line 1 is not "{self.title}"')
        values: dict[str, str] = {}
        lines: list[Line] = []
        for number, row in enumerate(rows[1:], 2):
            name, value = _parted(number, row)
            if len(values) < len(self.fields):
                self._check_field(number, name, values)
                values[name] = value
            elif name in self.kinds:
                lines.append(Line(name, value))
            elif name in values:
                raise Misspelt(Spelling.DUPLICATE, f"line {number}: {name} stands there already")
            else:
                raise Misspelt(Spelling.ORDER, f"line {number} begins with none of {', '.join(self.kinds)}")
        if len(values) < len(self.fields):
            raise Misspelt(Spelling.FIELD, f"there is no {self.fields[len(values)]}")
        return values, tuple(lines)

    def _check_field(self, number: int, name: str, values: Mapping[str, str]) -> None:
        wanted = self.fields[len(values)]
        if name == wanted:
            return
        if name in values:
            raise Misspelt(Spelling.DUPLICATE, f"line {number}: {name} stands there already")
        raise Misspelt(Spelling.ORDER, f'line {number} is not that of "{wanted}"')


def plain(sentence: str) -> str:
    """Return a sentence as it stands in a text: one line of ASCII, with what is not as its number."""
    return _ascii(sentence)[: LINE_MOST - COLUMN]


def plain_lines(sentence: str) -> tuple[str, ...]:
    """Return a sentence as it stands in a text, in as many lines as it takes.

    What people sign leaves nothing out: else the end of a long list would be in force, and nobody would have read it.
    """
    rest, found = _ascii(sentence), []
    most = LINE_MOST - COLUMN - len(_GOES_ON)
    while len(rest) > most:
        found.append(rest[:most] + _GOES_ON)
        rest = f"{_GOES_ON} {rest[most:]}"
    return (*found, rest)


def _ascii(sentence: str) -> str:
    text = "".join(each if each.isprintable() else " " for each in sentence)
    return text.encode("ascii", "backslashreplace").decode().strip()


def _row(name: str, value: str) -> str:
    return f"{name:<{COLUMN}}{value}" if len(name) < COLUMN else f"{name} {value}"


def _rows(data: bytes) -> Sequence[str]:
    if len(data) > TEXT_LIMIT_BYTES:
        raise Misspelt(Spelling.SIZE, f"it is larger than {TEXT_LIMIT_BYTES >> 10} KiB")
    if b"\r" in data:
        line = data.count(b"\n", 0, data.index(b"\r")) + 1
        raise Misspelt(Spelling.LINE_ENDS, f"line {line} does not end with a line feed alone (CR)")
    for at, byte in enumerate(data):
        if byte != 0x0A and not _FIRST <= byte <= _LAST:
            line = data.count(b"\n", 0, at) + 1
            raise Misspelt(
                Spelling.CHARACTERS,
                f"line {line} has a byte that is no printable ASCII (0x{byte:02x}); it may look like another letter",
            )
    if not data.endswith(b"\n") or data.endswith(b"\n\n"):
        raise Misspelt(Spelling.TRAILING, "it does not end with one line feed")
    return data.decode("ascii")[:-1].split("\n")


def _parted(number: int, row: str) -> tuple[str, str]:
    """Split a line into its name and its value, which begins at one place."""
    if len(row) > LINE_MOST:
        raise Misspelt(Spelling.SIZE, f"line {number} is longer than {LINE_MOST} characters")
    name, blank, value = row.partition(" ")
    value = value.lstrip(" ")
    if not name or not blank or not value:
        raise Misspelt(Spelling.FIELD, f"line {number} is not a name and a value")
    if value != value.rstrip(" "):
        raise Misspelt(Spelling.TRAILING, f"line {number} ends with a blank")
    if row != _row(name, value):
        raise Misspelt(Spelling.FIELD, f"line {number} has its value at another place than column {COLUMN + 1}")
    return name, value
