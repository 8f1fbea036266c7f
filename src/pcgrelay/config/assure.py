"""The rules of [assure], and of the codes that networks have for services."""

from __future__ import annotations

import re
from pathlib import Path

from pcgrelay.config import schema
from pcgrelay.config.fields import file_path
from pcgrelay.config.settings import AssureSettings
from pcgrelay.config.shape import example_for
from pcgrelay.config.source import KeyPath, Source

_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,39}", re.ASCII)


def assure(source: Source, table: schema.AssureTable | None) -> AssureSettings:
    """Return what tests may use; without the table nothing."""
    if table is None:
        return AssureSettings()

    def path(key: str, text: str | None) -> Path | None:
        return None if text is None else file_path(source, ("assure", key), text)

    return AssureSettings(probe=path("probe", table.probe), revoked=path("revoked", table.revoked))


def service_code(source: Source, where: KeyPath, text: str | None) -> str:
    """Return the code of an import; nothing: it has none."""
    if text is None:
        return ""
    if not _CODE.fullmatch(text):
        problem = "a code is 1 to 40 letters, digits and . _ / -"
        raise source.refusal((*where, "srv"), f"{problem}; write for example: {example_for((*where, 'srv'))}")
    return text
