"""A signal that asks a node for something may come before the node can hear it, and must not end it then."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.scenarios.kit.nodes import PCGRELAY, Node
from tests.scenarios.kit.reload_setup import Scene, applications, scene
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

ASKING = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# Runs the command and sends it signals from within, at each module that is loaded and each file that is opened from the
# first on that is more than the command line's own door. Before that is little but the interpreter's own start.
STRUCK = """
import os, sys
signals = [int(number) for number in sys.argv.pop(1).split(",")]
first, last = (int(number) for number in sys.argv.pop(1).split("-"))
sys.argv.pop(0)
count = 0
def strike(event, arguments):
    global count
    if count or (event == "import" and arguments[0] in ("click", "pcgrelay.cli.invocation")):
        count += event in ("import", "open")
        if event in ("import", "open") and first <= count <= last:
            for number in signals:
                os.kill(os.getpid(), number)
sys.addaudithook(strike)
from pcgrelay.cli import main
main()
"""


def struck(signals: tuple[int, ...], first: int, last: int) -> tuple[str | Path, ...]:
    return (sys.executable, "-c", STRUCK, ",".join(str(int(number)) for number in signals), f"{first}-{last}")


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path) as made:
        yield made


def test_a_node_that_starts_comes_up_and_takes_what_it_was_asked_for_then(realm: Scene) -> None:
    node = realm.met
    node.stop()
    node.prefix = struck(ASKING, 1, 100_000)
    node.start()
    node.await_log("config.reloaded")
    os.kill(node.pid, signal.SIGUSR1)
    os.kill(node.pid, signal.SIGUSR2)
    node.prefix = ()
    realm.stage.await_well()
    with applications(realm.door, 1):
        since = node.moment()
        os.kill(node.pid, signal.SIGHUP)
        node.await_log("config.reloaded", after=since)
    assert node.stop() == 0


@contextmanager
def harassed(node: Node) -> Iterator[list[int]]:
    """Every process that comes to take the node's place gets all these signals, all the time, from its first moment."""
    over = threading.Event()
    found: list[int] = []
    marks = (b"--take-over", os.fsencode(node.config))

    def work() -> None:
        while not over.is_set():
            for entry in Path("/proc").iterdir():
                with suppress(OSError):
                    if entry.name.isdigit() and all(mark in (entry / "cmdline").read_bytes() for mark in marks):
                        found.append(int(entry.name))
                        for number in ASKING:
                            os.kill(int(entry.name), number)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def test_a_process_that_takes_over_is_not_ended_and_nor_is_the_command(realm: Scene) -> None:
    node = realm.met
    with applications(realm.door, 2):
        with harassed(node) as found:
            done = node.upgrade()
        assert (done.returncode, done.stderr) == (0, "")
        assert set(found) == {node.pid}
        assert node.running


def test_a_process_that_takes_over_goes_on_when_nobody_reads_that_it_has(realm: Scene) -> None:
    """The command was interrupted: its terminal is gone, or somebody has lost patience."""
    node, old = realm.met, realm.met.process
    with applications(realm.door, 2):
        command = subprocess.Popen([PCGRELAY, "upgrade", "-c", node.config], stdout=subprocess.PIPE)
        until(lambda: _children(command.pid), 20)
        command.kill()
        command.communicate()
        pid = int(node.await_log("handover.done", seconds=20)["pid"])
        assert old is not None
        assert old.wait(20) == 0
        node.adopt(pid)
        until(lambda: node.status().node.uptime_s > 0)
    assert node.running


def _children(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return ""


@pytest.mark.parametrize("command", [("status",), ("run",), ("check",), ("ca", "show"), ("demo", "--help")])
@pytest.mark.parametrize("place", [1, 40, *(pytest.param(place, marks=pytest.mark.tier_all) for place in (9, 100))])
def test_ctrl_c_shows_nobody_a_traceback(tmp_path: Path, command: tuple[str, ...], place: int) -> None:
    config = tmp_path / "node.toml"
    config.write_text("")
    done = subprocess.run(
        [*struck((signal.SIGINT,), place, place), PCGRELAY, *command, *(("-c", config) if len(command) == 1 else ())],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode in (-signal.SIGINT, 130), (done.returncode, done.stderr)
    assert not re.search(r"KeyboardInterrupt|Exception", done.stderr)
