"""Configuration: read once, at the door. A Config that exists is wholly valid.

`source` finds lines, `schema` knows the names, `shape` holds the file against them, `values` parses addresses and
sizes, `build` applies the rules, `settings` is what everybody else sees, `differences` compares two of them.
"""

from __future__ import annotations

from pathlib import Path

from pcgrelay.config.build import build
from pcgrelay.config.differences import differences, restart_reason, sized_as
from pcgrelay.config.settings import (
    Config,
    ExportSettings,
    IdentitySettings,
    ImportSettings,
    LinkSettings,
    ListenSettings,
    LogSettings,
    NodeSettings,
    PolicySettings,
)
from pcgrelay.config.shape import file_table
from pcgrelay.config.source import Source, node_guessed
from pcgrelay.config.values import Address
from pcgrelay.errors import ConfigError

__all__ = [
    "Address",
    "Config",
    "ExportSettings",
    "IdentitySettings",
    "ImportSettings",
    "LinkSettings",
    "ListenSettings",
    "LogSettings",
    "NodeSettings",
    "PolicySettings",
    "admin_path",
    "differences",
    "load",
    "parse",
    "restart_reason",
    "sized_as",
]


def load(path: Path) -> Config:
    """Read a configuration file; refuses it with one sentence that names file, line, key and remedy."""
    return _checked(Source.read(path))


def admin_path(path: Path) -> Path:
    """The admin socket that a configuration names; so much is read even of one that is refused, whatever is wrong.

    A running node is to be reached, and is to say itself what is wrong, when its new configuration is.
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


def parse(text: str, path: Path) -> Config:
    """As load, from text that has been read already; path stands in refusals and anchors relative paths."""
    return _checked(Source(path, text))


def _checked(source: Source) -> Config:
    return build(source, file_table(source))
