"""Run one case in a process group of its own, bounded in time, and answer what came of it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from tests.acceptance.cases import Case
from tests.acceptance.results import FOLDER, ROOT, Result

LOGS = FOLDER / "logs"
# So long a case that was told to end may clean up behind it.
CLEAN_UP_S = 30.0


def run(case: Case, seed: int, commit: str) -> Result:
    """Run it to its end; an interrupt ends it and is raised again."""
    LOGS.mkdir(parents=True, exist_ok=True)
    name = "".join(char if char.isalnum() else "-" for char in case.name)
    log, figures = LOGS / f"{name}.log", LOGS / f"{name}.json"
    figures.unlink(missing_ok=True)
    began, at = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    code = _ended(case.command(seed, figures), log, case.seconds)
    verdict = "late" if code is None else "passed" if code == 0 else "failed"
    return Result(
        case=case.name,
        seed=seed,
        commit=commit,
        verdict=verdict,
        seconds=round(time.monotonic() - began, 1),
        began=at,
        figures=_read(figures),
        log=str(log.relative_to(ROOT)),
    )


def _ended(command: list[str], log: Path, seconds: float) -> int | None:
    """The exit code; nothing: its time was over. Nothing of it is left running."""
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
        )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(CLEAN_UP_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read(figures: Path) -> dict[str, Any]:
    if not figures.exists():
        return {}
    found: dict[str, Any] = msgspec.json.decode(figures.read_bytes())
    return found
