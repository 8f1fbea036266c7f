"""What an examination of a log has found."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

KEPT_MOST = 100  # sentences of one examination; all are counted

Kind = Literal[
    "record",  # it is not the one that was signed
    "missing",  # a record is not there
    "extra",  # a line is not in its place
    "tile",  # a hash in a tile is wrong; the records are right
    "head",  # a checkpoint is none, or does not agree with the records
    "signature",  # a signature does not hold, or is by no known key
    "cut",  # more was signed than there is
    "fork",  # a head from elsewhere cannot be of this log
    "range",  # something between two checkpoints; the tiles were changed along
    "tail",  # something behind the newest checkpoint
]


class Problem(Struct, frozen=True):
    """One thing that is not as it was signed."""

    kind: Kind
    sentence: str
    number: int | None = None  # of the first record that is concerned


class Problems:
    """A bounded list of problems."""

    def __init__(self) -> None:
        self.first: list[Problem] = []
        self.count = 0

    def add(self, kind: Kind, sentence: str, number: int | None = None) -> None:
        """Note a problem."""
        self.count += 1
        if len(self.first) < KEPT_MOST:
            self.first.append(Problem(kind, sentence, number))
