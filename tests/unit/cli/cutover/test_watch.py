"""`pcgrelay cutover watch` on a terminal: redrawn each second, through an absence of the node, until Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from msgspec.structs import replace

from pcgrelay import config
from pcgrelay.admin.cutover_answers import CUTOVER_PATH, CutoverStatus
from tests.support.cutover_examples import BACK, SOAKING
from tests.support.fake_node import FakeNode, fake_node

DEADLINE_S = 30.0


class Watching:
    """A command on a terminal of its own, and what it has drawn so far."""

    def __init__(self, terminal: int, process: subprocess.Popen[bytes]) -> None:
        self.terminal = terminal
        self.process = process
        self.drawn = b""

    def until(self, words: bytes) -> bytes:
        """What is drawn until these words are."""
        deadline = time.monotonic() + DEADLINE_S
        while words not in self.drawn:
            assert select.select([self.terminal], [], [], max(0.0, deadline - time.monotonic()))[0], self.drawn[-2000:]
            self.drawn += os.read(self.terminal, 65_536)
        before, _, self.drawn = self.drawn.partition(words)
        return before


@contextmanager
def watching(file: Path, rows: int = 30, columns: int = 120) -> Iterator[Watching]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    arguments = [sys.executable, "-m", "pcgrelay.cli", "cutover", "watch", "custody", "-c", str(file)]
    # A shell may have exported the size that it saw when it began.
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "40"}
    process = subprocess.Popen(arguments, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    try:
        yield Watching(master, process)
    finally:
        process.kill()
        process.wait()
        os.close(master)


def test_it_is_redrawn_until_it_is_interrupted(file: Path, node: FakeNode) -> None:
    node.answers[CUTOVER_PATH] = [replace(SOAKING, soaked_s=60.0 * minute) for minute in (1, 2)]
    with watching(file) as screen:
        screen.until(b"soaking 1 of 30 min")
        screen.until(b"soaking 2 of 30 min")
        node.answers[CUTOVER_PATH] = BACK
        drawn = screen.until(b"BACK on cjx")
        # It is drawn over what was there before.
        assert b"\x1b[1A" in drawn
        screen.process.send_signal(signal.SIGINT)
        assert screen.process.wait(DEADLINE_S) == 130


def test_a_node_that_is_away_for_a_while_is_waited_for(file: Path) -> None:
    admin = config.admin_path(file)
    with ExitStack() as stack:
        with fake_node(admin) as node:
            node.answers[CUTOVER_PATH] = SOAKING
            screen = stack.enter_context(watching(file))
            screen.until(b"step 3 of 5")
        screen.until(b"As it was. kent-1: ")
        with fake_node(admin) as node:
            node.answers[CUTOVER_PATH] = replace(SOAKING, step=4)
            screen.until(b"step 4 of 5")


def test_what_is_not_there_is_not_watched(file: Path, node: FakeNode) -> None:
    node.answers[CUTOVER_PATH] = CutoverStatus(service="custody", reason="There is no cut-over.", exit_code=1)
    with watching(file) as screen:
        screen.until(b"pcgrelay: There is no cut-over.")
        assert screen.process.wait(DEADLINE_S) == 1
