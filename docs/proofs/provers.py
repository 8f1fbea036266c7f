"""What the runners of ProVerif and of spin share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
UNAVAILABLE = 69  # EX_UNAVAILABLE


class Missing(Exception):
    """A program is not there. The text is one sentence that says what to install."""


def digest(path: Path) -> str:
    """Return SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest_rows(folder: Path, paths: Iterable[Path]) -> list[str]:
    """Return the table of models and their digests, as it stands in a results.md."""
    return ["| model | SHA-256 |", "|---|---|", *(digest_row(folder, path) for path in paths)]


def digest_row(folder: Path, path: Path) -> str:
    """Return the row of one model."""
    return f"| `{path.relative_to(folder)}` | `{digest(path)}` |"
