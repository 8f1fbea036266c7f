"""The history of heads without most of those whose records are gone.

A node signs each minute, which is a megabyte a day. Of records that retention has removed, the last head of each day
stays: it still proves that what follows continues what was there then. All heads of records that are there stay too, as
they are. The history is copied in pieces, between other things that the thread does, and the copy is put in its place.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from pcgrelay.audit.checkpoint import read_size
from pcgrelay.audit.disk import AppendFile, Disk
from pcgrelay.audit.history import HISTORY, LINE_MOST_BYTES, HistoryLine
from pcgrelay.errors import ProofProblem
from pcgrelay.files import open_plain

DRAFT = f".{HISTORY}.thin"
# Less than so much is not worth a copy, and neither is less than this part of the whole.
GAIN_LEAST_BYTES, GAIN_PART = 1 << 20, 8
PIECE_BYTES = 1 << 20
DAY_CHARACTERS = len("2026-11-03")
_NEAR_BYTES = 64 << 10


def bytes_before(folder: Path, first: int, size_bytes: int) -> int:
    """About how much of a history of so many bytes is of heads of at most so many records. OSError: as `open`."""
    start, end = 0, size_bytes
    with open_plain(folder / HISTORY) as source:
        while end - start > _NEAR_BYTES:
            middle = (start + end) // 2
            source.seek(middle)
            lines = (source.read(2 * LINE_MOST_BYTES) or b"").split(b"\n")[1:]
            known = next((found[1] for line in lines if (found := _read(line)) is not None), None)
            # Sizes never fall.
            start, end = (middle, end) if known is not None and known <= first else (start, middle)
    return start


class Thinning:
    """One copy that is being made."""

    def __init__(self, folder: Path, first: int, until: int, disk: Disk) -> None:
        """first: number of the first record that is there. until: bytes of the history now. OSError: as `open`."""
        self._source = open_plain(folder / HISTORY, buffering=1 << 20)
        try:
            self.draft = disk.open(folder / DRAFT, 0)
        except OSError:
            self._source.close()
            raise
        self.done = 0  # bytes of the history
        self.dropped = 0  # lines
        self.head_bytes = 0  # of the copy, of heads whose records are gone
        self._first = first
        self._until = until
        self._held: list[bytes] = []  # the lines of the newest head of its day
        self._text = self._day = ""
        self._is_beyond = False  # all that follows is copied as it is
        self._is_taken = False

    @property
    def is_done(self) -> bool:
        """Whether all is copied that was there when this began."""
        return self.done >= self._until

    def step(self) -> None:
        """Copy a piece. OSError: it cannot be; `close`, and begin again."""
        self.draft.append(self._piece(min(PIECE_BYTES, self._until - self.done)))
        self.draft.sync()

    def finish(self, size_bytes: int) -> None:
        """Copy what was written meanwhile, up to so many bytes. OSError: as `step`."""
        self._until = size_bytes
        while not self.is_done:
            self.draft.append(self._piece(min(PIECE_BYTES, self._until - self.done)))
        self.draft.append(self._flushed())
        self.draft.sync()
        self._source.close()

    def hand_over(self) -> AppendFile:
        """Give the copy to whoever goes on with it; `close` leaves it alone then."""
        self._is_taken = True
        return self.draft

    def close(self) -> None:
        """Let go of the files; may be called twice."""
        self._source.close()
        if not self._is_taken:
            self.draft.close()

    def _piece(self, size_bytes: int) -> bytes:
        out, end = list[bytes](), self.done + size_bytes
        while self.done < end:
            if self._is_beyond:
                data = self._source.read(end - self.done)
            else:
                data = self._source.readline(min(LINE_MOST_BYTES + 1, self._until - self.done))
            if not data:
                raise OSError(f"{HISTORY}: it has become shorter")
            self.done += len(data)
            out.append(data if self._is_beyond else self._kept(data))
        return b"".join(out)

    def _kept(self, line: bytes) -> bytes:
        """What is written now that this line was read."""
        found = _read(line)
        if found is None:
            return line  # nobody can say what it is; an examination tells of it
        text, size, day = found
        if size > self._first:
            self._is_beyond = True
            return self._flushed() + line
        if text == self._text:
            self._held.append(line)
            return b""
        done = b""
        if day != self._day:
            done = self._flushed()
        self.dropped += len(self._held)
        self._text, self._day, self._held = text, day, [line]
        return done

    def _flushed(self) -> bytes:
        done, self._held = b"".join(self._held), []
        self.head_bytes += len(done)
        return done


def _read(line: bytes) -> tuple[str, int, str] | None:
    """The text, the size and the day of a head; nothing: the line is none."""
    try:
        read = msgspec.json.decode(line, type=HistoryLine)
        text, blank, _ = read.note.partition("\n\n")
        size = read_size(text.split("\n")[1], "The size") if blank else -1
    except (msgspec.DecodeError, UnicodeDecodeError, IndexError, ProofProblem):
        return None
    return None if size < 0 else (text, size, read.ts[:DAY_CHARACTERS])
