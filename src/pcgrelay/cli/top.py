"""pcgrelay top."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from pcgrelay.admin.client import read_status
from pcgrelay.cli.cutover.nodes import AskedNode, nodes_of, nodes_option
from pcgrelay.cli.top_view import Look, cropped, lines, marking_of
from pcgrelay.errors import PcgrelayError, PermissionProblem, UsageProblem
from pcgrelay.files import write_replacing
from pcgrelay.output import Screen, fit_window

EPILOG = """\b
Examples:
  pcgrelay top -c kent-1.toml
  pcgrelay top -c relay-1.toml -c met-1.toml

\b
Keys:
  q, Ctrl-C  quit

\b
Exit codes:
   0  it was ended by a key
   2  there is no terminal
  77  this user may not ask a node
"""
INTERVAL_S = 1.0
ANSWER_S = 2.0
# Of a picture: as wide as the README shows, and as high as what is to be seen.
PICTURE_WIDTH, PICTURE_HEIGHT = 88, 40


@click.command(epilog=EPILOG)
@nodes_option
@click.option("--svg", metavar="FILE", type=click.Path(path_type=Path), hidden=True, help="Draw a picture.")
def top(paths: tuple[Path, ...], svg: Path | None) -> int:
    """Watch running nodes, with the rates of what they carry.

    Shows the condition of each, what needs attention, links, sessions and services. The admin socket of each node is
    asked once a second. A node that does not answer is shown as such, and is asked again.
    """
    nodes = nodes_of(paths)
    watch = Watch(nodes)
    if svg is not None:
        _draw(watch, svg)
        return 0
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageProblem("top needs a terminal; for programs there is: pcgrelay status --json")
    watch.look()
    console = Screen(highlight=False, markup=False, emoji=False)
    try:
        with _keys(sys.stdin.fileno()) as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                fit_window(console)
                live.update(Group(*watch.shown(console.width, console.height)), refresh=True)
                if pressed(INTERVAL_S) in ("q", "Q"):
                    return 0
                watch.look()
    except KeyboardInterrupt:
        return 0  # Ctrl-C is how many people end such a program


class Watch:
    """The nodes, as they were looked at last and the time before."""

    def __init__(self, nodes: Sequence[AskedNode]) -> None:
        self._nodes = nodes
        self._pool = ThreadPoolExecutor(len(nodes), "ask")
        self._before: Sequence[Look] = ()
        self._now: Sequence[Look] = ()

    def look(self) -> None:
        """Ask all nodes at once. PermissionProblem: this user may not."""
        if time.monotonic() - max((look.at_s for look in self._now), default=0.0) < INTERVAL_S / 2:
            return  # a key was pressed, or the window has another size
        self._before, self._now = self._now, list(self._pool.map(_looked, self._nodes))

    def shown(self, width: int, height: int) -> Sequence[Text]:
        """Return the lines for a screen of that size."""
        return cropped(list(lines(self._now, self._before, width)), width, height, marking_of(self._now))


def _looked(node: AskedNode) -> Look:
    try:
        status = read_status(node.admin, ANSWER_S)
    except PermissionProblem:
        raise
    except PcgrelayError as error:
        return Look(node.name, time.monotonic(), problem=str(error))
    return Look(node.name, time.monotonic(), status)


@contextmanager
def _keys(terminal: int) -> Iterator[Callable[[float], str]]:
    """Take keys at once and without an echo; the terminal is as before at the end, however it ends."""

    def pressed(seconds: float) -> str:
        # A change of the window's size ends the wait too: the handler below makes the call return.
        ready, _, _ = select.select([terminal, woken], [], [], seconds)
        if woken in ready:
            os.read(woken, 64)
        return os.read(terminal, 1).decode("latin-1") if terminal in ready else ""

    def resized(number: int, frame: FrameType | None) -> None:
        os.write(waking, b".")

    def ended(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    woken, waking = os.pipe()
    before = termios.tcgetattr(terminal)
    handlers = {signal.SIGWINCH: resized, signal.SIGTERM: ended, signal.SIGHUP: ended}
    old = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        tty.setcbreak(terminal)
        yield pressed
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        for number, handler in old.items():
            signal.signal(number, handler)
        os.close(woken)
        os.close(waking)


def _draw(watch: Watch, path: Path) -> None:
    """Write a picture of what is to be seen after two looks (for the documents)."""
    watch.look()
    time.sleep(INTERVAL_S)
    watch.look()
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=PICTURE_WIDTH, file=nowhere, force_terminal=True, highlight=False)
        console.print(Group(*watch.shown(PICTURE_WIDTH, PICTURE_HEIGHT)))
        drawn = console.export_svg(title="pcgrelay top", unique_id="top")
    # A document fetches nothing from elsewhere, so it has the reader's own fonts.
    write_replacing(path, re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL).encode())
