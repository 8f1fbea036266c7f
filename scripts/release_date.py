"""Writes into a build when the release was made, so that S4 and S5 of `pcgrelay assure` judge by the right day.

The date is that of the commit, as for everything else in a package (SOURCE_DATE_EPOCH, scripts/packaging.sh): whoever
builds the same commit again gets the same bytes. A working copy has the date that stands in its file.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

SUPPORT = Path("pcgrelay") / "assure" / "support.toml"
_MADE = re.compile(r"^made = \d{4}-\d\d-\d\d$", re.MULTILINE)


def write_release_date(build: Path, seconds: str) -> None:
    """Write a date into the support.toml of a build. seconds: since 1970, UTC, as in SOURCE_DATE_EPOCH."""
    file = build / SUPPORT
    file.write_text(dated(file.read_text(encoding="utf-8"), seconds), encoding="utf-8")


def dated(text: str, seconds: str) -> str:
    """Return the text of a support.toml with the date of its release. SystemExit: there is no place for it."""
    day = datetime.fromtimestamp(int(seconds), UTC).date()
    text, count = _MADE.subn(f"made = {day}", text)
    if count != 1:
        raise SystemExit(f"{SUPPORT}: expected one line made = YYYY-MM-DD, found {count}.")
    return text
