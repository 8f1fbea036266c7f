"""The configuration: read and checked once. A Config that exists is valid as a whole.

`source` finds lines, `schema` knows the names, `shape` holds the file against them, `values` parses addresses, sizes
and times, `build`, `outlets`, `drills`, `audit`, `assure`, `paper`, `fleet` and `fields` apply the rules, `all_errors`
finds whatever else is wrong with a refused file, `settings` is what everybody else sees, `differences` compares two of
them.
"""

from __future__ import annotations

from pathlib import Path

from pcgrelay.config.all_errors import all_errors
from pcgrelay.config.build import build
from pcgrelay.config.differences import differences, restart_reason, sized_as
from pcgrelay.config.settings import (
    EVERY,
    GATEWAY,
    ApprovalsSettings,
    AssureSettings,
    AuditSettings,
    BearerSettings,
    CallerSettings,
    Config,
    DirectSettings,
    DiscoverSettings,
    DrillSettings,
    ExportSettings,
    FleetSettings,
    IdentitySettings,
    ImportSettings,
    LinkSettings,
    ListenSettings,
    LogSettings,
    NodeSettings,
    Paper,
    PolicySettings,
    ReaderSettings,
)
from pcgrelay.config.shape import file_table
from pcgrelay.config.source import FILE_LIMIT_BYTES, PlacedError, Source, node_guessed
from pcgrelay.config.values import Address
from pcgrelay.errors import ConfigError
from pcgrelay.files import read_text

__all__ = [
    "EVERY",
    "GATEWAY",
    "Address",
    "ApprovalsSettings",
    "AssureSettings",
    "AuditSettings",
    "BearerSettings",
    "CallerSettings",
    "Config",
    "DirectSettings",
    "DiscoverSettings",
    "DrillSettings",
    "ExportSettings",
    "FleetSettings",
    "IdentitySettings",
    "ImportSettings",
    "LinkSettings",
    "ListenSettings",
    "LogSettings",
    "NodeSettings",
    "Paper",
    "PolicySettings",
    "ReaderSettings",
    "admin_path",
    "differences",
    "load",
    "parse",
    "restart_reason",
    "sized_as",
]


def load(path: Path) -> Config:
    """Read a configuration file. ConfigError: it is refused; each of its sentences names file, line, key and remedy."""
    return parse(read_text(path, "configuration", FILE_LIMIT_BYTES), path)


def admin_path(path: Path) -> Path:
    """Return the admin socket that a configuration names, as far as it can be read, even if the rest is invalid.

    A running node must stay reachable when its new file is wrong, so that it can report what is wrong itself.
    """
    try:
        return load(path).node.admin
    except ConfigError:
        node = node_guessed(path)
        name, admin = node.get("name"), node.get("admin")
        if admin is None and isinstance(name, str):
            admin = f"/run/pcgrelay/{name}.sock"
        if not isinstance(admin, str) or not admin or "\0" in admin:
            raise
        return path.parent / admin.removeprefix("unix:")


def state_path(path: Path) -> Path | None:
    """Return the folder of state that a configuration names, as far as it can be read; None: it names none.

    ConfigError: the file is wrong, and does not say.
    """
    try:
        return load(path).node.state
    except ConfigError:
        state = node_guessed(path).get("state")
        if not isinstance(state, str) or not state or "\0" in state:
            raise
        return path.parent / state


def parse(text: str, path: Path) -> Config:
    """Check a text as load does; path is named in messages and is the base of relative paths."""
    try:
        return _applied(Source(path, text))
    except PlacedError:
        raise all_errors(path, text, _applied) from None


def _applied(source: Source) -> Config:
    return build(source, file_table(source))
