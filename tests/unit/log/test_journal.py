"""Lines for the journal begin with their priority; lines for people are words."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pcgrelay.log import events as records
from pcgrelay.log import journal
from pcgrelay.log.events import Record
from pcgrelay.log.journal import PRIORITIES, is_journal
from pcgrelay.log.writer import Log, level_of, text_of

NOW = datetime(2027, 1, 2, 3, 4, 5, 67_890, tzinfo=UTC)
LINK_DOWN = records.LinkDown(link=1, peer="kent-1.kent.police.example", bearer="psn", reason="silent", duration_ms=5)
PROGRAM = """
import os, sys
from pcgrelay.log.events import EventsLost, LinkDown, NodeStopped
from pcgrelay.log.writer import Log
if len(sys.argv) > 1:
    status = os.fstat(2)
    os.environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
log = Log("info")
log.emit(NodeStopped(node="x", streams=0))
log.emit(LinkDown(link=1, peer="x", bearer="psn", reason="silent", duration_ms=5))
log.emit(LinkDown(link=1, peer="x", bearer="psn", reason="stopped", duration_ms=5, wanted=True))
log.emit(EventsLost(count=1))
"""


def test_every_level_has_a_priority() -> None:
    assert set(PRIORITIES) == set(records.LEVELS)


@pytest.mark.parametrize(("argument", "heads"), [([], ["{"] * 4), (["journal"], ["<6>{", "<4>{", "<6>{", "<3>{"])])
def test_lines_have_their_priority_where_the_journal_reads_them(argument: list[str], heads: list[str]) -> None:
    command = [sys.executable, "-c", PROGRAM, *argument]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stderr.splitlines()
    assert [line[: line.index("{") + 1] for line in lines] == heads


def test_a_stream_of_another_process_is_known_by_its_other_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "stdout")
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        server.listen()
        client.connect(path)
        assert not is_journal(client.fileno())
        monkeypatch.setattr(journal, "JOURNAL_SOCKET", path)
        assert is_journal(client.fileno())
        assert client.getpeername() == path  # it is still open
    with (tmp_path / "file").open("w") as file:
        assert not is_journal(file.fileno())
        status = os.fstat(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert is_journal(file.fileno())
    assert not is_journal(99_999)


def test_a_pipe_is_not_kept_open() -> None:
    """Whoever reads the error output of an upgrade waits for its end."""
    read, write = os.pipe()
    assert not is_journal(write)
    os.close(write)
    assert os.read(read, 1) == b""
    os.close(read)


@pytest.mark.parametrize(
    ("record", "level"),
    [
        (LINK_DOWN, "warning"),
        (records.LinkDown(link=1, peer="x", bearer="y", reason="stopped", duration_ms=5, wanted=True), "info"),
        (records.LaneDown(link=1, peer="x", index=0, code="OK", reason="replaced", wanted=True), "info"),
        (records.LaneDown(link=1, peer="x", index=0, code="OK", reason="silent"), "warning"),
    ],
)
def test_what_somebody_wanted_warns_nobody(record: Record, level: str) -> None:
    assert level_of(record) == level


TEXTS = [
    (
        LINK_DOWN,
        "warning link.down          link=1 peer=kent-1.kent.police.example bearer=psn reason=silent duration_ms=5",
    ),
    (records.ConfigRefused(reason='a "b" c=d'), "error   config.refused     reason=\"a 'b' c=d\""),
    (
        records.ConfigReloaded(changes=("a added", "b"), milliseconds=3),
        'info    config.reloaded    changes="a added, b" milliseconds=3',
    ),
    (
        records.HandshakeRefused(purpose="link", reason="closed", cause="", untried=True),
        'info    handshake.refused  purpose=link reason=closed cause="" untried=yes',
    ),
    (records.Failure(where="x\n\x1b[31m", error="y"), "error   node.failure       where=x\\x0a\\x1b[31m error=y"),
]


@pytest.mark.parametrize(("record", "words"), TEXTS)
def test_a_line_for_people(record: Record, words: str) -> None:
    assert text_of(record, NOW) == f"2027-01-02T03:04:05.067Z {words}"


def test_the_format_changes_with_the_next_line() -> None:
    sink = io.StringIO()
    log = Log("info", sink)
    for name in ("json", "text", "json"):
        log.set_format(name)
        log.emit(records.NodeStopped(node="x", streams=0))
    assert ["{" in line for line in sink.getvalue().splitlines()] == [True, False, True]
    assert text_of(records.NodeStopped(node="x", streams=0), NOW, 7).endswith("suppressed=7")
