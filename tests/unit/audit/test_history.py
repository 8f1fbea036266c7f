"""The heads of a log as they are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcgrelay.audit.checkpoint import Checkpoint
from pcgrelay.audit.history import (
    HISTORY,
    LINE_MOST_BYTES,
    NEWEST,
    SignedHead,
    history_line,
    parse_head,
    read_history,
    read_newest,
)
from pcgrelay.audit.note import ED25519, Note, NoteSigner, sign_note
from pcgrelay.errors import ProofProblem

SIGNER = NoteSigner.generate("log", ED25519)
TS = "2026-11-03T02:14:07.113Z"


def note(size: int) -> Note:
    return sign_note(Checkpoint("log", size, bytes(32)).text, [SIGNER], 0)


def test_nothing_was_signed_yet(tmp_path: Path) -> None:
    assert read_newest(tmp_path) is None
    assert list(read_history(tmp_path)) == []


def test_what_was_signed_is_read(tmp_path: Path) -> None:
    (tmp_path / NEWEST).write_bytes(note(7).encoded)
    newest = read_newest(tmp_path)
    assert newest is not None
    assert (newest.note, newest.checkpoint.size) == (note(7), 7)
    (tmp_path / HISTORY).write_bytes(history_line(TS, note(5)) + history_line(TS, note(7)) + b'{"ts":"20')
    first, second = read_history(tmp_path)
    assert first == SignedHead(f"{tmp_path / HISTORY}:1", TS, note(5), Checkpoint("log", 5, bytes(32)))
    assert isinstance(second, SignedHead)
    assert second.checkpoint.size == 7


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b'{"ts":1,"note":"x"}',
        b'{"ts":"x","note":"y","more":1}',
        b'{"ts":"x","note":"y\\n\\nz"}',
        b"\xff",
    ],
)
def test_a_line_that_is_none_is_said_and_the_next_is_read(tmp_path: Path, line: bytes) -> None:
    (tmp_path / HISTORY).write_bytes(line + b"\n" + history_line(TS, note(5)))
    problem, head = read_history(tmp_path)
    assert isinstance(problem, ProofProblem)
    assert str(problem).startswith(f"{tmp_path / HISTORY}:1: ")
    assert isinstance(head, SignedHead)


def test_a_line_without_end_is_bounded(tmp_path: Path) -> None:
    (tmp_path / HISTORY).write_bytes(b"x" * 10_000_000)
    (problem,) = read_history(tmp_path)
    assert isinstance(problem, ProofProblem)
    assert str(LINE_MOST_BYTES) in str(problem)


def test_a_note_that_is_no_checkpoint_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ProofProblem, match="there: A checkpoint has three lines"):
        parse_head(sign_note("text\n", [SIGNER], 0).encoded, "there")
    (tmp_path / NEWEST).write_bytes(b"x" * 10_000_000)
    with pytest.raises(ProofProblem, match="65536"):
        read_newest(tmp_path)
