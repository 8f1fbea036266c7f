"""The second five minutes of the README, as they stand there: a realm in one terminal, and a person in another.

Only the soak is shorter, and two steps are left out, so that it takes half a minute.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.kit.demo_nodes import nodes_of

pytestmark = [pytest.mark.tier_test, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"<!-- (move: first terminal|move) -->\n```sh\n(.*?)```\n", re.S)
READY = "In another terminal, in this folder:"
READY_S = 180
DEADLINE_S = 400
ENVIRONMENT = {**os.environ, "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])}


def blocks(kind: str) -> str:
    return "".join(text for found, text in BLOCK.findall((ROOT / "README.md").read_text()) if found == kind)


def shorter(script: str) -> str:
    changed = script.replace("--soak 20s", "--soak 2s --steps 10,25,100")
    assert changed != script
    return changed


class Terminal:
    """The first terminal: its lines are read as they come."""

    def __init__(self, folder: Path) -> None:
        self.lines: list[str] = []
        self._is_ready = threading.Event()
        # exec, so that Ctrl-C reaches the demonstration as it does in a terminal.
        self.process = subprocess.Popen(
            ["bash", "-c", f"exec {blocks('move: first terminal')}"],
            cwd=folder,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if READY in line:
                self._is_ready.set()

    def wait(self) -> None:
        assert self._is_ready.wait(READY_S), "".join(self.lines)

    def interrupt(self) -> str:
        """Ctrl-C; return all that it said."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        self._thread.join(10)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return "".join(self.lines)


@pytest.fixture
def first(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path)
    try:
        made.wait()
        yield made
    finally:
        made.interrupt()


@pytest.mark.tier_all
def test_a_new_user_moves_the_service(first: Terminal, tmp_path: Path) -> None:
    second = subprocess.run(
        ["bash", "-c", f"set -eu\n{shorter(blocks('move'))}"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    said = first.interrupt()
    assert second.returncode == 0, second.stdout + second.stderr + said
    assert "It can begin" in second.stdout
    assert "BACK on cjx since" in second.stdout
    assert "ARRIVED since" in second.stdout
    assert second.stdout.count("exit code 6\n") == 2  # it fell back; it is not quiet yet
    assert second.stdout.count(": OK\n") >= 6
    assert "each comes out the same." in second.stdout
    # What the application saw.
    assert first.process.returncode == 0, said
    assert "It is back on cjx:" in said
    assert "none failed." in said.splitlines()[-1]
    # The realm is gone, and what the person made is there.
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"custody.plan.toml", "custody-report", "kent-1.right.toml", "rehearsal.txt"}
    assert nodes_of(tmp_path) == []


def test_the_page_has_its_steps() -> None:
    found = [kind for kind, _ in BLOCK.findall((ROOT / "README.md").read_text())]
    assert found.count("move: first terminal") == 1
    assert found.count("move") == 6
