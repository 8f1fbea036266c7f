"""What came of each case, one line of JSON each, written as soon as it is known; and which code it was."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "acceptance"
RESULTS = FOLDER / "results.jsonl"


class Result(msgspec.Struct, frozen=True):
    """One case that was run to its end."""

    case: str
    seed: int
    commit: str
    verdict: str  # passed, failed, late
    seconds: float
    began: str
    figures: dict[str, Any] = {}
    log: str = ""


def commit() -> str:
    """The commit that is checked out; what was changed since has a digest of its own."""
    head = _git("rev-parse", "HEAD").decode().strip()
    changed = _git("diff", "HEAD", "--", "src", "tests", "pyproject.toml", "setup.py")
    return f"{head}+{hashlib.sha256(changed).hexdigest()[:8]}" if changed else head


def read(file: Path = RESULTS) -> list[Result]:
    """All results so far. A line that a power cut tore is none."""
    found = []
    for line in file.read_bytes().splitlines() if file.exists() else []:
        try:
            found.append(msgspec.json.decode(line, type=Result))
        except msgspec.DecodeError:
            continue
    return found


def keep(result: Result, file: Path = RESULTS) -> None:
    """Append it, on the disk when this returns."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as sink:
        # What a torn line left must not take this one with it.
        if sink.tell() and not file.read_bytes().endswith(b"\n"):
            sink.write(b"\n")
        sink.write(msgspec.json.encode(result) + b"\n")
        sink.flush()
        os.fsync(sink.fileno())


def done(results: list[Result], at: str, seed: int) -> dict[str, Result]:
    """The last result of each case of this code and seed."""
    return {each.case: each for each in results if (each.commit, each.seed) == (at, seed)}


def _git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, check=True).stdout
