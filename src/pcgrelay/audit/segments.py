"""The segments of a log: files of JSON lines, each named by the number of its first record.

`log/000003900000.jsonl` holds record 3,900,000 in its first line. Retention removes whole segments from the front, so
the first one that is there says up to where records are gone. A last line without its newline is torn: the machine
stopped within the write, and nobody has signed it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from msgspec import Struct

from pcgrelay.errors import ConfigError, ProofProblem
from pcgrelay.files import open_plain, unreadable

FOLDER = "log"
LINE_MOST_BYTES = 65_535  # without the newline: a C2SP entry bundle has a length of 16 bits for each entry
SEGMENT_MOST_BYTES = 64 << 20
DIGITS = 12
# What a power failure leaves in a file where nothing was written yet. No line of a log has that.
HOLE = bytes(16)
_NAME = re.compile(rf"([0-9]{{{DIGITS}}})\.jsonl", re.ASCII)


class SegmentGone(ConfigError):
    """A segment was removed while its log was read: a node does so when it is old (retention)."""


class Segment(Struct, frozen=True):
    """One file of the log."""

    first: int  # number of its first record
    path: Path


class Line(Struct, frozen=True, gc=False):
    """One line of a segment."""

    number: int  # of the record, by the name of the segment and the lines before it
    data: bytes  # without the newline
    is_torn: bool = False  # it has no newline: the file ends within it
    is_long: bool = False  # data is the beginning alone, of LINE_MOST_BYTES


def segment_name(first: int) -> str:
    """The name of the segment that begins with this record."""
    return f"{first:0{DIGITS}d}.jsonl"


def segments_of(folder: Path) -> tuple[Segment, ...]:
    """The segments in the folder of a log (STATE/audit), in their order. Other files are passed over."""
    try:
        names = sorted(entry.name for entry in (folder / FOLDER).iterdir())
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise unreadable(folder / FOLDER, "folder of segments", error) from None
    return tuple(Segment(int(found[1]), folder / FOLDER / name) for name in names if (found := _NAME.fullmatch(name)))


def segment_with(segments: Sequence[Segment], number: int) -> Segment | None:
    """The segment in which a record must be, or nothing if it was before the first."""
    return next((each for each in reversed(segments) if each.first <= number), None)


def read_lines(segment: Segment) -> Iterator[Line]:
    """The lines of a segment, with the numbers of their records; of a line that is too long, its beginning.

    SegmentGone: it is not there any more. ConfigError, PermissionProblem: it cannot be read.
    """
    try:
        with open_plain(segment.path, buffering=1 << 20) as source:
            yield from _lines(source, segment.first)
    except FileNotFoundError:
        raise SegmentGone(f"{segment.path}: this segment was removed while the audit log was read.") from None
    except OSError as error:
        raise unreadable(segment.path, "segment of the audit log", error) from None


def read_record(segments: Sequence[Segment], number: int) -> bytes:
    """The line of one record. ProofProblem: there is none with that number, or it is not whole."""
    segment = segment_with(segments, number)
    if segment is not None:
        for line in read_lines(segment):
            if line.number == number and not line.is_torn and not line.is_long:
                return line.data
    raise ProofProblem(f"There is no record {number:,} in this log{_range_words(segments)}.")


def _lines(source: BinaryIO, first: int) -> Iterator[Line]:
    number = first
    while data := source.readline(LINE_MOST_BYTES + 1):
        if data[-1:] == b"\n":
            yield Line(number, data[:-1])
        elif len(data) <= LINE_MOST_BYTES:
            yield Line(number, data, is_torn=True)
        else:
            rest = data
            while rest and not rest.endswith(b"\n"):
                rest = source.readline(LINE_MOST_BYTES + 1)
            yield Line(number, data[:-1], is_torn=not rest, is_long=True)
        number += 1


def _range_words(segments: Sequence[Segment]) -> str:
    return f", whose records begin at {segments[0].first:,}" if segments and segments[0].first else ""
