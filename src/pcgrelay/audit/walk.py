"""The lines of a log in their places: groups of 256 records, each as wide as a tile of hashes.

A line says its own number. If that is not the one that is due, a line before it was removed or put in, and the number
says where the log goes on. So one change does not make all that follows look changed. The number is believed only if
the hash of the line is the one that the tiles have for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from pcgrelay.audit.problems import Problems
from pcgrelay.audit.report import TornEnd
from pcgrelay.audit.segments import HOLE, LINE_MOST_BYTES, Line, Segment, read_lines, segment_with, segments_of
from pcgrelay.audit.tiles import FOLDER, TILE_WIDTH, read_tile
from pcgrelay.audit.tree import HASH_BYTES, SIZE_MOST, leaf_hash

_NUMBER = re.compile(rb'\{"n":(0|[1-9][0-9]{0,17}),')


class Group(Struct, frozen=True, gc=False):
    """Up to 256 records."""

    start: int  # number of the first, a multiple of 256
    lines: list[bytes | None]  # nothing: this one is not there


class Walk:
    """One reading of all segments of a log."""

    def __init__(self, folder: Path, problems: Problems, signed_size: int = SIZE_MOST) -> None:
        """folder: that of the log (STATE/audit). signed_size: of how many records there is a head."""
        self.segments: Sequence[Segment] = segments_of(folder)
        self.first = self.segments[0].first if self.segments else 0
        self.torn: TornEnd | None = None
        self._tiles = folder / FOLDER
        self._problems = problems
        self._signed_size = signed_size
        self._number = self.first  # of the record that is due
        self._lines: list[bytes | None] = []

    def groups(self) -> Iterator[Group]:
        """The records in their order; those before the first segment are there as nothing."""
        self._number = 0
        yield from self._nothing_until(self.first)
        for segment in self.segments:
            if segment.first > self._number:
                self._missing(self._number, segment.first, f"segment {segment.path.name} is the next that is there")
                yield from self._nothing_until(segment.first)
            for line in read_lines(segment):
                # Once for each record of the log, so it calls nothing for one that is signed and as it should be.
                if (
                    not line.data.startswith(b'{"n":%d,' % self._number)
                    or line.is_torn
                    or line.is_long
                    or self._number >= self._signed_size
                ):
                    if self._is_hole(line, segment):
                        break
                    yield from self._gap_before(line, segment)
                    if not self._may_be_due(line, segment):
                        continue
                self._lines.append(line.data)
                self._number += 1
                if len(self._lines) == TILE_WIDTH:
                    yield self._group()
        if self._lines:
            yield self._group()

    def place_of(self, number: int) -> str:
        """Where a record is, in words."""
        segment = segment_with(self.segments, number)
        return f"segment {segment.path.name}, line {number - segment.first + 1:,}" if segment else "in no segment"

    def _is_due(self, line: Line) -> bool:
        return line.data.startswith(b'{"n":%d,' % self._number) and not line.is_torn and not line.is_long

    def _is_hole(self, line: Line, segment: Segment) -> bool:
        """Whether a power failure has taken what was not synced; what stands behind it was never signed either."""
        if HOLE not in line.data or self._number < self._signed_size or segment is not self.segments[-1]:
            return False
        self.torn = TornEnd(str(segment.path), len(line.data))
        return True

    def _gap_before(self, line: Line, segment: Segment) -> Iterator[Group]:
        """Records that are not there before this line, if it is a later one in its own words and by its hash."""
        number = _number_in(line.data)
        if number is None or number <= self._number or line.is_torn or line.is_long:
            return
        if (self._leaf(number) or leaf_hash(line.data)) != leaf_hash(line.data):
            return
        self._missing(self._number, number, f"{_place(segment, line)} has record {number:,}")
        yield from self._nothing_until(number)

    def _may_be_due(self, line: Line, segment: Segment) -> bool:
        """Whether a line is taken as the record that is due, though something is wrong with it."""
        if self._is_due(line):
            return True
        if line.is_torn and segment is self.segments[-1]:
            self.torn = TornEnd(str(segment.path), len(line.data))
            return False
        number = _number_in(line.data)
        if number is not None and number < self._number:
            self._problems.add(
                "extra",
                f"A line is not in its place: {_place(segment, line)} has record {number:,} here.",
                self._number,
            )
            return False
        if line.is_long:
            self._problems.add(
                "record",
                f"Record {self._number:,} is longer than {LINE_MOST_BYTES:,} bytes ({_place(segment, line)}), "
                "and no node writes such a record.",
                self._number,
            )
        elif not self._leaf(self._number):
            self._problems.add("tail", f"{_place(segment, line)}: this is no record {self._number:,}.", self._number)
        return True

    def _nothing_until(self, number: int) -> Iterator[Group]:
        # A name of a file can say any number; hashes of records that were there once have tiles.
        while self._number < number:
            is_known = self._number % TILE_WIDTH or self._has_tile(self._number)
            if not is_known and number - self._number > TILE_WIDTH:
                self._problems.add(
                    "missing",
                    f"Neither records nor hashes are there from {self._number:,} to {number - 1:,}, so nothing after "
                    "them can be compared.",
                    self._number,
                )
                raise WalkEnded
            self._lines.append(None)
            self._number += 1
            if len(self._lines) == TILE_WIDTH:
                yield self._group()

    def _group(self) -> Group:
        lines, self._lines = self._lines, []
        return Group(self._number - len(lines), lines)

    def _missing(self, first: int, end: int, why: str) -> None:
        words = f"Record {first:,} is" if end == first + 1 else f"Records {first:,} to {end - 1:,} are"
        self._problems.add("missing", f"{words} not there: {why}.", first)

    def _has_tile(self, number: int) -> bool:
        return bool(read_tile(self._tiles, 0, number // TILE_WIDTH))

    def _leaf(self, number: int) -> bytes:
        at = number % TILE_WIDTH * HASH_BYTES
        return read_tile(self._tiles, 0, number // TILE_WIDTH)[at : at + HASH_BYTES]


class WalkEnded(Exception):
    """What follows cannot be put in its place."""


def _number_in(data: bytes) -> int | None:
    found = _NUMBER.match(data)
    return int(found[1]) if found else None


def _place(segment: Segment, line: Line) -> str:
    return f"segment {segment.path.name}, line {line.number - segment.first + 1:,}"
