"""pcgrelay top: what is shown, at which width, and how it ends."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from pcgrelay.admin.status import ApprovalsStatus, LinkStatus, NodeStatus, ServiceStatus, Status
from pcgrelay.admin.waiting import WaitingStatus
from pcgrelay.cli.top_view import Look, cropped, lines, marking_of
from tests.support.command_line import Invoke, invoker, node_written
from tests.support.healthy_status import HEALTHY, JUDGING

LATER = structs.replace(
    HEALTHY,
    links=tuple(structs.replace(link, sent_bytes=link.sent_bytes + 4_096) for link in HEALTHY.links),
    services=tuple(structs.replace(each, opened_total=each.opened_total + 30) for each in HEALTHY.services),
)


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Invoke:
    return invoker(capsys, monkeypatch)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    return node_written(tmp_path)


def shown(now: Look, before: Look | None = None, width: int = 80) -> list[str]:
    return [line.plain for line in lines([now], [before] if before else [], width)]


def test_what_waits_for_approval_is_shown() -> None:
    waiting = WaitingStatus(what="change", change="CR-1043", until_timestamp_s=1_793_956_320, signatures=1, needs=2)
    approved = structs.replace(HEALTHY, approvals=ApprovalsStatus(active=True, waiting=(waiting,)))
    assert "  change CR-1043 waits: 1 of 2 signatures, until 2026-11-06 09:12 UTC" in shown(Look("kent", 1.0, approved))


def test_rates_are_of_the_time_between_two_looks() -> None:
    words = shown(Look("kent-1", 12.0, LATER), Look("kent-1", 10.0, HEALTHY))
    assert words[0].startswith("kent-1  edge  ready  up 1 d 2 h  memory ")
    link = next(line for line in words if line.startswith("relay-1"))
    assert "2.0 KiB/s" in link
    assert any(line.split()[-2:] == ["15", "0"] for line in words)  # opened and refused each second


def test_markings_stand_in_the_first_and_the_last_line_and_at_each_link() -> None:
    looks = [Look("kent-1", 1.0, HEALTHY), Look("met-1", 1.0, JUDGING), Look("hub", 1.0, problem="no answer")]
    whole = list(lines(looks, [], 80))
    assert whole[0].plain == "OFFICIAL-SENSITIVE"
    words = [line.plain for line in whole]
    assert "cleared networks: psn OFFICIAL-SENSITIVE, internet OFFICIAL" in words
    assert words.count("  cleared for OFFICIAL-SENSITIVE") == words.count("  cleared for OFFICIAL") == 1
    for height in (10, 60):
        fitted = cropped(whole, 80, height, marking_of(looks))
        assert (fitted[0].plain, fitted[-1].plain) == ("OFFICIAL-SENSITIVE", "OFFICIAL-SENSITIVE  q: quit")
    # Where nobody has configured a marking there is none.
    assert marking_of(looks[:1]) == ""
    assert next(lines(looks[:1], [], 80)).plain.startswith("kent-1")


def test_without_an_earlier_look_there_is_no_rate() -> None:
    words = shown(Look("kent-1", 12.0, LATER))
    assert next(line for line in words if line.startswith("relay-1")).split()[-2:] == ["-", "-"]


def test_a_node_that_does_not_answer_is_shown_as_such() -> None:
    words = shown(Look("kent-1", 1.0, problem="no node listens here\x1b[31m"), Look("kent-1", 0.0, HEALTHY))
    assert words == ["kent-1  no answer", "  no node listens here\\x1b[31m"]


def test_what_needs_attention_is_above_all_tables() -> None:
    down = LinkStatus(peer="relay-1.hub.example", bearer="psn", direction="out", state="down", reason="unreachable")
    words = shown(Look("kent-1", 1.0, structs.replace(HEALTHY, links=(down,))))
    assert "failing" in words[0]
    assert words[1] == "! The link to relay-1.hub.example over psn is down (unreachable)."


@given(st.integers(60, 200), st.integers(5, 60), st.integers(0, 40), st.integers(0, 40))
def test_every_line_fits_the_screen(width: int, height: int, links: int, services: int) -> None:
    peer = f"{'a' * 63}.{'b' * 50}.example"
    status = Status(
        node=NodeStatus(identity="spiffe://x", role="edge", uptime_s=1.0, version="1"),
        links=tuple(LinkStatus(peer=peer, bearer="psn", direction="out", state="up", nth=n) for n in range(links)),
        services=tuple(
            ServiceStatus(name=f"s{n}@{peer}", direction="import", state="ready", health="ok") for n in range(services)
        ),
    )
    whole = list(lines([Look("kent-1", 1.0, status)], [], width))
    fitted = cropped(whole, width, height)
    assert len(fitted) <= height
    assert all(line.cell_len <= width for line in fitted)
    assert fitted[-1].plain == "q: quit"
    assert len(whole) < height or "more lines)" in fitted[-2].plain


def test_without_a_terminal_it_is_refused_by_a_sentence(invoke: Invoke, node: Path) -> None:
    answer = invoke("top", "-c", node)
    assert answer.code == 2
    assert answer.err == "pcgrelay: top needs a terminal; for programs there is: pcgrelay status --json\n"


class Terminal:
    """`pcgrelay top` in a terminal of its own."""

    def __init__(self, node: Path) -> None:
        self.control, terminal = pty.openpty()
        self.size(80, 24)
        self.before = termios.tcgetattr(self.control)
        command = [sys.executable, "-m", "pcgrelay.cli", "top", "-c", os.fspath(node)]
        # A shell may have exported the size that it saw when it began.
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
        self.process = subprocess.Popen(
            command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, start_new_session=True
        )
        os.close(terminal)
        self.text = ""

    def size(self, width: int, height: int) -> None:
        fcntl.ioctl(self.control, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def until(self, true: Callable[[str], object]) -> None:
        deadline = time.monotonic() + 30
        while not true(self.text):
            assert time.monotonic() < deadline, self.text
            if select.select([self.control], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self.control, 65_536).decode()
                except OSError:  # the other end is closed
                    return

    def ended(self) -> int:
        self.until(lambda text: self.process.poll() is not None)
        return self.process.wait(10)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.control)


@pytest.fixture
def terminal(node: Path) -> Iterator[Terminal]:
    made = Terminal(node)
    yield made
    made.close()


@pytest.mark.parametrize("how", ["q", "interrupt", "terminate"])
def test_it_ends_by_a_key_and_leaves_the_terminal_as_it_was(terminal: Terminal, how: str) -> None:
    terminal.until(lambda text: "no answer" in text and "q: quit" in text)
    if how == "q":
        os.write(terminal.control, b"xq")
    else:
        terminal.process.send_signal(signal.SIGINT if how == "interrupt" else signal.SIGTERM)
    assert terminal.ended() == 0
    assert termios.tcgetattr(terminal.control) == terminal.before
    assert "Traceback" not in terminal.text
    assert terminal.text.count("\x1b[?1049h") == terminal.text.count("\x1b[?1049l") == 1  # the other screen


def is_narrow(frame: str) -> bool:
    """Whether a frame is whole and fits 60 columns. One that was begun before the resize may follow it."""
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame)
    return "q: quit" in drawn and max(len(line.rstrip()) for line in drawn.splitlines()) <= 60


def test_it_follows_the_size_of_the_window(terminal: Terminal) -> None:
    terminal.until(lambda text: "q: quit" in text)
    terminal.size(60, 10)
    terminal.process.send_signal(signal.SIGWINCH)
    terminal.until(lambda text: is_narrow(text.rpartition("\x1b[H")[2]))
    os.write(terminal.control, b"q")
    assert terminal.ended() == 0


def test_a_picture_fetches_nothing(node: Path, tmp_path: Path, invoke: Invoke) -> None:
    assert invoke("top", "-c", node, "--svg", tmp_path / "top.svg").code == 0
    drawn = (tmp_path / "top.svg").read_text()
    assert "no&#160;answer" in drawn
    assert "url(http" not in drawn
    assert "@font-face" not in drawn
