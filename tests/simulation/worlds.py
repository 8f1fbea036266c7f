"""Worlds in a process of their own, for tests: the library has to be there before Python is, and a core that crashes
must not take the test with it."""

import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.simulation.scenario import Scenario
from tests.simulation.virtual import preloaded_environment

ROOT = Path(__file__).resolve().parents[2]
ANSWER_S = 60


def simulation(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m tests.simulation` with these arguments."""
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=preloaded_environment(), capture_output=True, text=True, timeout=110, check=False
    )


class Worlds:
    """Runs one scenario after another in one process, and in a new one when that has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Worlds":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait(ANSWER_S)

    def outcome(self, scenario: Scenario) -> dict[str, Any]:
        """What came of a scenario; a process that dies is a failed check too."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.simulation", "--serve"],
                cwd=ROOT, env=preloaded_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        process = self._process
        process.stdin.write(scenario.text() + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            process.stdin.close()
            process.stdout.close()
            self._process = None
            return {"fault": f"crash: the process ended with {process.wait(ANSWER_S)}"}
        return dict(json.loads(line))
