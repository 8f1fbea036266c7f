"""The configuration file as text: read, parsed, and searched for the line that a refusal concerns.

tomllib does not keep positions, so the line is found by a plain scan of the text. The scan may fail for unusual
notations (dotted keys, inline tables); then the message names the nearest table above, and the key path in any case.
"""

from __future__ import annotations

import copy
import re
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from pcgrelay.errors import ConfigError
from pcgrelay.files import read_text

FILE_LIMIT_BYTES = 1 << 20
DEPTH_MOST = 16

# A place in the file: table, index in an array of tables, key: ("listen", 1, "address").
KeyPath = tuple[str | int, ...]

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*[=.]""")
_AT_LINE = re.compile(r"(.*?) \(at line (\d+), column (\d+)\)", re.DOTALL)


class PlacedError(ConfigError):
    """A refusal of a file that knows its place there."""

    def __init__(self, sentence: str, where: KeyPath = (), line: int | None = None) -> None:
        """where: the key; empty: the file. line: of the key, else of its table; None: there is none."""
        super().__init__(sentence)
        self.where = where
        self.line = line


class SyntaxProblem(PlacedError):
    """The file is not TOML."""


class Source:
    """One configuration file: its text, its values, and refusals that point into it."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text
        self._lines = text.split("\n")
        try:
            self.values: dict[str, Any] = tomllib.loads(text)
            deep = _is_deep(self.values)
        except tomllib.TOMLDecodeError as error:
            raise self._syntax_refusal(str(error)) from None
        except ValueError:
            # Python parses no integer of more than 4,300 digits, and raises an error of its own.
            raise PlacedError(f"{path}: a number has too many digits; no key takes one so great.") from None
        except RecursionError:
            deep = True
        if deep:
            raise PlacedError(f"{path}: values are nested too deeply; this configuration needs no such nesting.")

    @classmethod
    def read(cls, path: Path) -> Source:
        """Read and parse a file. ConfigError: it cannot be read, is too large, or is not UTF-8 or TOML."""
        return cls(path, read_text(path, "configuration", FILE_LIMIT_BYTES))

    def with_values(self, values: dict[str, Any]) -> Source:
        """Return the same text with other values."""
        other = copy.copy(self)
        other.values = values
        return other

    def refusal(self, where: KeyPath, problem: str) -> PlacedError:
        """Return the error for that place; problem says what is wrong and how to correct it."""
        line = self.line_of(where)
        place = f"{self.path}:{line}" if line else f"{self.path}"
        sentence = f"{place}: {_clean(shown_path(where))}{': ' if where else ''}{_clean(problem)}."
        return PlacedError(sentence, where, line)

    def line_of(self, where: KeyPath) -> int | None:
        """Return the line of a key, else that of the nearest table above it, else None."""
        table: KeyPath = ()
        seen: dict[str, int] = {}
        best: int | None = None
        for number, text in enumerate(self._lines, 1):
            if header := _HEADER.fullmatch(text):
                table = self._table_path(header[2], header[1] == "[[", seen)
                if table and where[: len(table)] == table:
                    best = number
                if table == where:
                    return number
            elif key := _KEY.match(text):
                name = key[1] or key[2] or key[3] or ""
                if (*table, name) == where[: len(table) + 1]:
                    return number
        return best

    def line(self, number: int) -> str:
        """Return one line, without blanks around it."""
        return _clean(self._lines[number - 1].strip())

    def last_line(self, header: int) -> int:
        """Return the last line of the table whose header stands on a line; comments behind it are the next one's."""
        last = header
        for number, text in enumerate(self._lines[header:], header + 1):
            if _HEADER.fullmatch(text):
                break
            if text.strip() and not text.lstrip().startswith("#"):
                last = number
        return last

    @staticmethod
    def _table_path(header: str, is_array: bool, seen: dict[str, int]) -> KeyPath:
        names = [part.strip().strip("\"'") for part in header.split(".")]
        if is_array:
            seen[header] = seen.get(header, -1) + 1
            return (*names, seen[header])
        return tuple(names)

    def _syntax_refusal(self, message: str) -> SyntaxProblem:
        match = _AT_LINE.fullmatch(message)
        where, problem = (f":{match[2]}", f"{match[1]}, at column {match[3]}") if match else ("", message)
        sentence = f"{self.path}{where}: this is not valid TOML ({_clean(problem)}); correct that line."
        return SyntaxProblem(sentence, line=int(match[2]) if match else None)


def _is_deep(values: dict[str, Any]) -> bool:
    """Whether values are nested deeper than any key of a configuration, found without recursion.

    A key of a thousand parts is read without recursion too, and nobody else can copy or print what it makes.
    """
    level: list[Any] = [values]
    for _ in range(DEPTH_MOST):
        inner = (each for value in level for each in (value.values() if isinstance(value, dict) else value))
        level = [each for each in inner if isinstance(each, dict | list)]
        if not level:
            return False
    return True


def node_guessed(path: Path) -> dict[str, Any]:
    """Return what [node] probably contains in a refused file: each line is parsed by itself if the file is not TOML."""
    try:
        with path.open("rb") as source:
            text = source.read(FILE_LIMIT_BYTES).decode("utf-8", "replace").removeprefix("\ufeff")
    except OSError:
        return {}
    with suppress(ValueError, RecursionError):
        node = tomllib.loads(text).get("node")
        return node if isinstance(node, dict) else {}
    found: dict[str, Any] = {}
    inside = False
    for line in text.splitlines():
        if line.lstrip().startswith("["):
            inside = bool(re.fullmatch(r"\s*\[\s*node\s*\]\s*(#.*)?", line))
        elif inside:
            with suppress(ValueError, RecursionError):
                found = {**tomllib.loads(line), **found}
    return found


def shown_path(where: KeyPath) -> str:
    """Return a key path as people write it, with arrays counted from 1: listen[2].address."""
    shown = ""
    for part in where:
        shown += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if shown else part
    return shown


def _clean(text: str) -> str:
    """Return text of the file made safe for one line of a log: without control characters and line ends."""
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return shown if len(shown) <= 600 else shown[:597] + "..."
