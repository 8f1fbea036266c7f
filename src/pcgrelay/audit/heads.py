"""The heads of one log in the order of their sizes: its history, its newest, and what others have seen of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import chain
from pathlib import Path

from pcgrelay.audit.history import SignedHead, history_bytes, merged, read_history, read_last, read_newest
from pcgrelay.audit.problems import Problems
from pcgrelay.errors import ProofProblem


class Heads:
    """What was signed of one log."""

    def __init__(self, folder: Path, seen: Sequence[SignedHead], problems: Problems) -> None:
        """seen: checkpoints from elsewhere. ProofProblem: one of these is of another log."""
        self._folder = folder
        self._problems = problems
        self.seen = seen
        # A node may go on meanwhile: what is signed after this moment is of records that may not be read. It writes the
        # history first and the newest head after it, so these are read the other way round.
        self.newest = self._read_newest()
        self._most_bytes = history_bytes(folder)
        first = next(self.history(), self.newest)
        self.origin = first.checkpoint.origin if first else ""
        self.last = read_last(folder, self._most_bytes)  # the largest
        newest = self.newest if self.newest and self.newest.checkpoint.origin == self.origin else None
        if newest is not None and (self.last is None or _size(self.last) < _size(newest)):
            self.last = newest
        for head in seen:
            if self.origin and head.checkpoint.origin != self.origin:
                raise ProofProblem(
                    f"{head.where}: this is a checkpoint of {head.checkpoint.origin}, and the log is {self.origin}."
                )

    @property
    def signed_size(self) -> int:
        """The most records that a head of this folder has."""
        return self.last.checkpoint.size if self.last else 0

    def history(self) -> Iterator[SignedHead]:
        """Each head of the history with all signatures that it has; what is no head is left out."""
        lines = read_history(self._folder, self._most_bytes)
        yield from merged(head for head in lines if isinstance(head, SignedHead))

    def all(self) -> Iterator[SignedHead]:
        """Each head of the history, and the newest."""
        yield from self.history()
        if self.newest is not None:
            yield self.newest

    def in_order(self) -> Iterator[SignedHead]:
        """Each head to compare with the records, in the order of sizes. What is wrong with others becomes a problem."""
        return merge(self._own(), sorted(self.seen, key=_size), key=_size)

    def _own(self) -> Iterator[SignedHead]:
        before: SignedHead | None = None
        newest = () if self.newest is None else (self.newest,)
        for head in chain(read_history(self._folder, self._most_bytes), newest):
            if isinstance(head, ProofProblem):
                self._problems.add("head", str(head))
                continue
            if head.checkpoint.origin != self.origin:
                self._problems.add(
                    "head",
                    f"{head.where}: this checkpoint is of {head.checkpoint.origin}, and the log is {self.origin}.",
                )
                continue
            if before is not None and head.checkpoint.size < before.checkpoint.size:
                what = "the history goes on to" if head is self.newest else "the one before it has"
                self._problems.add(
                    "head",
                    f"{head.where}: this checkpoint has {head.checkpoint.size:,} records, and {what} "
                    f"{before.checkpoint.size:,}: an older one was put in its place.",
                )
                continue
            if before is None or head.checkpoint != before.checkpoint:
                yield head
            before = head

    def _read_newest(self) -> SignedHead | None:
        try:
            return read_newest(self._folder)
        except ProofProblem as problem:
            self._problems.add("head", str(problem))
            return None


def _size(head: SignedHead) -> int:
    return head.checkpoint.size
