"""All errors of a configuration file at once, in the order of the file.

The rules stop at the first error, because nothing after it may rely on what was refused. So a wrong value is noted and
replaced by one that is surely right, and the rules are applied again, until they find nothing. The result of the last
pass is discarded: a file with an error never becomes a Config. A rule that compares a value with a replaced one would
complain of the replacement; DOUBTS says which these are, and their complaints are left out.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pcgrelay.config import schema
from pcgrelay.config.examples import EXAMPLES
from pcgrelay.config.shape import REQUIRED_TABLES, keys_of, nearest, required_keys_of
from pcgrelay.config.source import KeyPath, PlacedError, Source, SyntaxProblem
from pcgrelay.errors import ConfigErrors

ERRORS_MOST = 50
SYNTAX_ERRORS_MOST = 8

# A rule about the first key also reads the others; if one of those was replaced, its complaint means nothing.
DOUBTS: dict[str, frozenset[str]] = {
    "direct.service": frozenset({"import.service"}),
    "direct.source": frozenset({"direct.address"}),
    "drill.service": frozenset({"import.service", "drill.kind"}),
    "drill.relay": frozenset({"drill.kind"}),
    "drill.bearer": frozenset({"listen.bearer", "link.bearer", "drill.kind"}),
    "drill.for": frozenset({"drill.kind"}),
    "drill.share": frozenset({"drill.kind"}),
    "drill.auto": frozenset({"drill.kind", "drill.window"}),
    "drill.kind": frozenset({"node.role", "drill.service", "drill.relay", "drill.bearer"}),
    "import.outlet": frozenset({"import.service", "direct.service", "direct.name"}),
    "import.exercise": frozenset({"import.service", "direct.service", "direct.name"}),
    "listen.udp_port": frozenset({"node.udp_lanes", "node.workers", "listen.address", "import.listen", "import.also"}),
    "link.peer": frozenset({"link.discover"}),
    "link.address": frozenset({"link.discover"}),
    "link.links": frozenset({"link.discover"}),
    "link.peers": frozenset({"link.discover"}),
    "link.discover": frozenset({"policy.relays", "link.peers"}),
    "audit": frozenset({"node.state"}),
    "export": frozenset({"node.role"}),
    "import": frozenset({"node.role"}),
    "caller": frozenset({"export.also"}),
    "policy.paper": frozenset({"policy.members", "policy.relays"}),
    "policy.half_open_per_source": frozenset({"policy.half_open_total"}),
    "policy.renewal_age_s": frozenset({"policy.renewal_interval_s"}),
    "export.probe_send": frozenset({"export.probe"}),
    "export.probe_expect": frozenset({"export.probe"}),
    "direct.probe_send": frozenset({"direct.probe"}),
    "direct.probe_expect": frozenset({"direct.probe"}),
    "node.admin": frozenset({"node.name"}),
    "metrics.allow": frozenset({"metrics.listen"}),
    "page.allow": frozenset({"page.listen"}),
    "": frozenset({"listen", "link", "direct"}),  # nothing can be reached
}

Apply = Callable[[Source], object]


def all_errors(path: Path, text: str, apply: Apply) -> ConfigErrors:
    """Return everything that is wrong with a text that is refused. apply: the rules, which raise the first error."""
    syntax, readable = _syntax(path, text)
    if readable is None:
        return ConfigErrors(syntax)
    text, lost = readable
    found = _Errors(Source(path, text), lost)
    found.collect(apply)
    return ConfigErrors([*(str(each) for each in found.in_order()), *(() if found.is_whole else (_cut(path),))], syntax)


def _cut(path: Path) -> str:
    return f"{path}: there may be more errors than these {ERRORS_MOST}; correct them first."


def _syntax(path: Path, text: str) -> tuple[list[str], tuple[str, set[str]] | None]:
    """Return what is not TOML, and the text without these lines, with the keys that stood there.

    Without whole tables everything else would be a guess: then there is no text.
    """
    errors: list[str] = []
    lost: set[str] = set()
    lines = text.split("\n")
    for _ in range(SYNTAX_ERRORS_MOST):
        try:
            source = Source(path, "\n".join(lines))
        except SyntaxProblem as problem:
            errors.append(str(problem))
            line = problem.line
            if line is None or line > len(lines) or not lines[line - 1].strip() or lines[line - 1].lstrip()[0] == "[":
                return errors[:1], None
            lost.add(_key_at(lines, line))
            lines[line - 1] = ""
        except PlacedError as problem:
            return [str(problem)], None
        else:
            return errors, (source.text, lost)
    return errors[:1], None


def _key_at(lines: list[str], line: int) -> str:
    """Return "table.key" of a line, as far as it can be told."""
    header = next((text for text in reversed(lines[: line - 1]) if text.lstrip().startswith("[")), "")
    return f"{header.partition('#')[0].strip().strip('[] ')}.{lines[line - 1].partition('=')[0].strip()}"


class _Errors:
    """The errors of one file, while it is mended in memory."""

    def __init__(self, source: Source, lost: set[str]) -> None:
        """lost: keys of lines that could not be read."""
        self._source = source.with_values(copy.deepcopy(source.values))
        self._values = self._source.values
        self._found: list[PlacedError] = []
        self._replaced: set[str] = set()  # as table.key, and as table
        self._meant: set[KeyPath] = set()  # places that are empty only because their names are misspelt
        self._lost = lost
        for name in lost:
            self._note(name)
        self._tried: dict[KeyPath, int] = {}
        self._number = 0  # of the next stand-in
        self.is_whole = False  # there are no more

    def collect(self, apply: Apply) -> None:
        """Apply the rules until nothing is wrong any more."""
        for _ in range(2 * ERRORS_MOST):
            try:
                apply(self._source)
            except PlacedError as error:
                if len(self._found) == ERRORS_MOST:
                    return
                if not self._is_doubtful(error):
                    self._found.append(error)
                if not self._mend(error.where):
                    self.is_whole = True
                    return
            else:
                self.is_whole = True
                return

    def in_order(self) -> list[PlacedError]:
        """Return the errors in the order of the file; what has no line is last."""
        return sorted(self._found, key=lambda error: error.line or len(self._source.text))

    def _is_doubtful(self, error: PlacedError) -> bool:
        name = _name(error.where)
        is_again = error.where in self._tried or error.where in self._meant
        return is_again or name in self._lost or bool(DOUBTS.get(name, frozenset()) & self._replaced)

    def _mend(self, where: KeyPath) -> bool:
        """Replace what is wrong; return whether that may have helped."""
        self._tried[where] = self._tried.get(where, 0) + 1
        if not where or self._tried[where] > 2:
            return False
        table = str(where[0])
        self._note(_name(where))
        known = schema.TABLES if len(where) == 1 else keys_of(table) if table in schema.TABLES else ()
        if where[-1] not in known and (meant := nearest(str(where[-1]), known)):
            self._meant.add((*where[:-1], meant))
        if table not in schema.TABLES:
            return self._values.pop(table, None) is not None
        if len(where) == 1:
            return self._mend_table(table)
        entry = self._values.get(table)
        if isinstance(where[1], int):
            if not isinstance(entry, list) or where[1] >= len(entry):
                return False
            if len(where) == 2 or self._tried[where] > 1:
                return self._mend_entry(table, entry, where[1])
            return self._mend_key(table, entry[where[1]], where[2:])
        return self._mend_key(table, entry, where[1 : 2 if self._tried[where] > 1 else None])

    def _note(self, name: str) -> None:
        """Note what is replaced. A misspelt name counts as that which was probably meant."""
        table, _, key = name.partition(".")
        table = nearest(table, schema.TABLES) or table
        keys = keys_of(table) if table in schema.TABLES else []
        meant = [nearest(key, keys) or key] if key else keys
        self._replaced |= {table, *(f"{table}.{each}" for each in meant)}

    def _mend_table(self, table: str) -> bool:
        if table not in REQUIRED_TABLES:
            return self._values.pop(table, None) is not None
        self._values[table] = self._stand_ins(table)
        return True

    def _mend_entry(self, table: str, entries: list[Any], index: int) -> bool:
        """Replace an entry as a whole; one that lacks what it needs gets that, and one beyond a limit is removed, with
        all behind it.
        """
        entry = entries[index]
        if isinstance(entry, dict) and (table, index) in self._tried:
            if missing := {key: value for key, value in self._stand_ins(table).items() if key not in entry}:
                entry |= missing
            else:
                del entries[index:]
        else:
            entries[index] = self._stand_ins(table)
        return True

    def _is_required(self, table: str, key: str, entry: Mapping[str, Any] | None = None) -> bool:
        """Whether a key has no default, here. entry: the table where it stands; none: a new one."""
        if key in required_keys_of(table):
            return True
        if (table, key) in (("link", "peer"), ("link", "address")):
            return "discover" not in (entry or {})
        needs_paper = "approvals" in self._values
        return needs_paper and (key in schema.PAPER if table in schema.RULES else (table, key) == ("policy", "paper"))

    def _mend_key(self, table: str, entry: Any, keys: KeyPath) -> bool:
        if not isinstance(entry, dict):
            return False
        key = str(keys[0])
        item = entry.get(key)
        if len(keys) == 2 and isinstance(item, list) and isinstance(keys[1], int) and keys[1] < len(item):
            stand_in = self._stand_in(table, key)
            if isinstance(stand_in, list):
                item[keys[1]] = stand_in[0]
                return True
        if self._is_required(table, key, entry):
            entry[key] = self._stand_in(table, key)
            return True
        return entry.pop(key, None) is not None

    def _stand_ins(self, table: str) -> dict[str, Any]:
        return {key: self._stand_in(table, key) for key in keys_of(table) if self._is_required(table, key)}

    def _stand_in(self, table: str, key: str) -> Any:
        """Return a right value that no other entry has, and that is related to nothing."""
        self._number += 1
        word = f"stand-in-{self._number}"
        organisation, address = f"{word}.invalid", f"{word}.invalid:1"
        match key:
            case "address" | "target" | "listen":
                return address
            case "service":
                return word if table == "export" else f"{word}@stand-in.invalid"
            case "name":
                return word
            case "organisation" | "realm":
                return organisation
            case "peer":
                return f"{word}.stand-in.invalid"
            case "networks":
                return [f"192.0.2.{self._number % 256}/32"]
            case "allow" | "members" | "relays":
                return [organisation]
            case "also":
                return [address]
        return tomllib.loads(EXAMPLES[f"{table}.{key}"])[key]


def _name(where: KeyPath) -> str:
    """Return table.key of a place, whichever entry of the table it is in."""
    return ".".join([part for part in where if isinstance(part, str)][:2])
