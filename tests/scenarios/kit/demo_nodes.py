"""A demonstration in a process of its own, and its nodes, found by the folder of their files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DEADLINE_S = 60


@contextmanager
def short_folder() -> Iterator[Path]:
    """One that gets the nodes' admin sockets: pytest's own becomes longer with each run, and side by side."""
    with tempfile.TemporaryDirectory(prefix="pcgrelay-") as folder:
        yield Path(folder)


@contextmanager
def demo_process(
    *words: str, cwd: Path, temporary: Path, deadline_s: float, out: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """`pcgrelay demo` with these words, with its temporary files in a folder; it is interrupted in the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pcgrelay.cli", "demo", *words],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": os.fspath(temporary)},
        process_group=0,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=deadline_s)


def nodes_of(folder: Path) -> list[int]:
    """Processes that were started with a file in that folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes()
        except OSError:
            continue
        if b"pcgrelay.cli\0run" in line and os.fsencode(folder) in line:
            found.append(int(entry.parent.name))
    return found


def wait_for_nodes(folder: Path, count: int) -> list[int]:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if len(found := nodes_of(folder)) >= count:
            return found
        time.sleep(0.05)
    raise AssertionError("the nodes did not start")
