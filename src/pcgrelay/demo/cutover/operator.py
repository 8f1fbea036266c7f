"""The operator of the demonstration: commands of `pcgrelay`, as a person types them, and looks at the node."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from pcgrelay.admin.answers import OUTLET_PATH, OutletAnswer
from pcgrelay.admin.client import ask
from pcgrelay.admin.cutover_answers import CUTOVER_PATH, CutoverStatus
from pcgrelay.demo.cutover.realm import FULL_SERVICE
from pcgrelay.demo.node import Node
from pcgrelay.errors import RunError
from pcgrelay.files import reason_of

T = TypeVar("T")

COMMAND_S = 60.0
LOOKED_EVERY_S = 0.05


class Done(Struct, frozen=True):
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """What it said of a failure, in a line."""
        return " ".join((self.err or self.out).split()) or "it said nothing"


class Operator:
    """Works in one folder, at the nodes of one realm."""

    def __init__(self, folder: Path, refuse_dead: Callable[[], None]) -> None:
        self._folder = folder
        self._refuse_dead = refuse_dead

    def run(self, node: Node, *words: str, good: Collection[int] = (0,)) -> Done:
        """Run a command of `pcgrelay` about a node. RunError: it failed, or took too long."""
        return self.ran(*words, "-c", str(node.config), good=good)

    def ran(self, *words: str, good: Collection[int] = (0,)) -> Done:
        """The same for a command that needs no node."""
        name = f"pcgrelay {' '.join(words[:3])}"
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pcgrelay.cli", *words],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=COMMAND_S,
                process_group=0,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RunError(f"{name} took longer than {COMMAND_S:g} s.") from None
        except OSError as error:
            raise RunError(f"{name} cannot be started ({reason_of(error)}).") from None
        found = Done(done.returncode, done.stdout, done.stderr)
        if found.code not in good:
            self._refuse_dead()
            raise RunError(f"{name} ended with exit code {found.code}: {found.complaint}")
        return found

    def told(self, node: Node, kind: type[T], *words: str, good: Collection[int] = (0,)) -> T:
        """A command about a node with --json. RunError: what it printed cannot be read."""
        return self.told_of(kind, *words, "-c", str(node.config), good=good)

    def told_of(self, kind: type[T], *words: str, good: Collection[int] = (0,)) -> T:
        """The same for a command that needs no node."""
        done = self.ran(*words, "--json", good=good)
        try:
            return msgspec.json.decode(done.out, type=kind)
        except msgspec.DecodeError as error:
            raise RunError(f"pcgrelay {' '.join(words[:3])} printed what cannot be read ({error}).") from None

    def cutover(self, node: Node) -> CutoverStatus:
        """How the cut-over is; without a phase if none was started."""
        return ask(node.admin, "GET", _about(CUTOVER_PATH), CutoverStatus)

    def outlets(self, node: Node) -> OutletAnswer:
        return ask(node.admin, "GET", _about(OUTLET_PATH), OutletAnswer)

    def until(self, what: str, seconds: float, holds: Callable[[], bool]) -> None:
        """Look again and again until it holds. RunError: it does not within that time."""
        deadline = time.monotonic() + seconds
        while not holds():
            self._refuse_dead()
            if time.monotonic() > deadline:
                raise RunError(f"{what} did not come within {seconds:g} s.")
            time.sleep(LOOKED_EVERY_S)


def _about(path: str) -> str:
    return f"{path}?{urlencode({'service': FULL_SERVICE})}"
