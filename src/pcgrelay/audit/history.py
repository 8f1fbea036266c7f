"""What was signed: `checkpoint`, the newest head of a log, and `checkpoints.jsonl`, each one that ever was.

A line of the history is {"ts": "2026-11-03T02:14:07.113Z", "note": "..."} with a signed note in it. The signature of a
witness, which comes later, is a line with the same text again: `merged` puts these together. Sizes never fall. A last
line without its end is torn, as that of a segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from pcgrelay.audit.checkpoint import Checkpoint
from pcgrelay.audit.note import NOTE_MOST_BYTES, SIGNATURES_MOST, Note
from pcgrelay.audit.segments import HOLE
from pcgrelay.errors import ProofProblem
from pcgrelay.files import open_plain, unreadable

NEWEST = "checkpoint"
HISTORY = "checkpoints.jsonl"
LINE_MOST_BYTES = 2 * NOTE_MOST_BYTES


class HistoryLine(Struct, frozen=True, forbid_unknown_fields=True):
    """One line, as it stands in the file."""

    ts: str  # when it was signed, or a signature came
    note: str


class SignedHead(Struct, frozen=True):
    """A head of the log with its signatures, none of which is verified yet."""

    where: str  # file, and line if it has many
    ts: str  # empty: it stands alone in its file, which has no time
    note: Note
    checkpoint: Checkpoint
    is_elsewhere: bool = False  # somebody else keeps it


def history_line(ts: str, note: Note) -> bytes:
    """A line for the history, with its end."""
    return msgspec.json.encode(HistoryLine(ts, note.encoded.decode())) + b"\n"


def parse_head(data: bytes, where: str, ts: str = "") -> SignedHead:
    """Read a signed note that is a checkpoint. ProofProblem, with where: it is none."""
    try:
        note = Note.parse(data)
        return SignedHead(where, ts, note, Checkpoint.parse(note.text))
    except ProofProblem as problem:
        raise ProofProblem(f"{where}: {problem}") from None


def read_newest(folder: Path) -> SignedHead | None:
    """The newest head of the log in that folder (STATE/audit); nothing if none was ever signed."""
    path = folder / NEWEST
    try:
        with open_plain(path) as source:
            data = source.read(NOTE_MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, "checkpoint of the audit log", error) from None
    return parse_head(data, str(path))


def history_bytes(folder: Path) -> int:
    """How long the history is now; 0 if there is none."""
    try:
        return (folder / HISTORY).stat().st_size
    except OSError:
        return 0


def read_history(folder: Path, most_bytes: int | None = None) -> Iterator[SignedHead | ProofProblem]:
    """Each line of the history in its order; in the place of one that is no head, what is wrong with it.

    A line with a hole is passed over: it was that of a witness, was not synced, and a power failure took it.
    most_bytes: read no line that ends after so many: a node may write more meanwhile.
    """
    path = folder / HISTORY
    try:
        with open_plain(path, buffering=1 << 20) as source:
            number = read = 0
            while line := source.readline(LINE_MOST_BYTES + 1):
                number, read = number + 1, read + len(line)
                if most_bytes is not None and read > most_bytes:
                    return
                if HOLE in line:
                    continue
                if line.endswith(b"\n"):
                    yield _head(line, f"{path}:{number}")
                elif len(line) > LINE_MOST_BYTES:
                    yield ProofProblem(f"{path}:{number}: a line has at most {LINE_MOST_BYTES} bytes; this has more.")
                    return
    except FileNotFoundError:
        return
    except OSError as error:
        raise unreadable(path, "history of checkpoints", error) from None


def read_last(folder: Path, most_bytes: int) -> SignedHead | None:
    """The last head of the history in its first most_bytes, without reading all of it; nothing: there is none."""
    path = folder / HISTORY
    try:
        with open_plain(path) as source:
            source.seek(max(0, most_bytes - 2 * LINE_MOST_BYTES))
            lines = source.read(min(most_bytes, 2 * LINE_MOST_BYTES)).split(b"\n")[:-1]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, "history of checkpoints", error) from None
    found = (_head(line, str(path)) for line in reversed(lines))
    return next((head for head in found if isinstance(head, SignedHead)), None)


def merged(heads: Iterable[SignedHead]) -> Iterator[SignedHead]:
    """Heads that follow one another with the same text as one, with the signatures of all."""
    for _, group in groupby(heads, key=lambda head: head.note.text):
        first, *others = group
        signatures = {(each.name, each.key_id): each for each in first.note.signatures}
        for other in others:
            if len(signatures) < SIGNATURES_MOST:
                signatures |= {(s.name, s.key_id): s for s in other.note.signatures} | signatures
        several = tuple(signatures.values())[:SIGNATURES_MOST]
        yield structs.replace(first, note=Note(first.note.text, several)) if others else first


def _head(line: bytes, where: str) -> SignedHead | ProofProblem:
    try:
        read = msgspec.json.decode(line, type=HistoryLine)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ProofProblem(f'{where}: a line is {{"ts": ..., "note": ...}}, and this is none.')
    try:
        return parse_head(read.note.encode(), where, read.ts)
    except ProofProblem as problem:
        return problem
