"""A log as the folder that C2SP tlog-tiles serves: checkpoint, tiles of hashes, bundles of records."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from pcgrelay.audit.history import read_newest
from pcgrelay.audit.problems import Problems
from pcgrelay.audit.segments import SegmentGone
from pcgrelay.audit.tiles import ENTRIES, FOLDER, TILE_HEIGHT, TILE_WIDTH, TileReader, entries_path, tile_path
from pcgrelay.audit.walk import Group, Walk
from pcgrelay.errors import ProofProblem
from pcgrelay.files import make_folder, refuse_present, write_new

FOLDER_MODE = 0o755
TRIES = 3


class Exported(Struct, frozen=True):
    """What was written."""

    size: int  # records in the tree
    first: int  # number of the first record that is there
    files: int


def export_tiles(folder: Path, out: Path) -> Exported:
    """Write the log of a folder, as far as it is signed, to a folder that is made.

    ProofProblem: nothing is signed yet, or records that were signed are not there. RunError: out is there already, or
    cannot be written. TileMissing: a tile is not there.
    """
    refuse_present(out)
    newest = read_newest(folder)
    if newest is None:
        raise ProofProblem(f"{folder}: nothing of this log is signed yet; a node signs within 60 seconds.")
    size = newest.checkpoint.size
    make_folder(out, FOLDER_MODE)
    write_new(out / "checkpoint", newest.note.encoded)
    files = 1 + _tiles(TileReader(folder, size), out / FOLDER)
    for _ in range(TRIES):
        with suppress(SegmentGone):
            first, bundles = _records(folder, size, out)
            return Exported(size, first, files + bundles)
        # A node has removed the oldest. What is left makes a folder of one piece.
        shutil.rmtree(out / FOLDER / ENTRIES, ignore_errors=True)
    raise ProofProblem(f"{folder}: segments go faster than they are read. What was written to {out} is not whole.")


def _records(folder: Path, size: int, out: Path) -> tuple[int, int]:
    """Write the bundles. Returns the number of the first record, and how many files."""
    problems, files = Problems(), 0
    walk = Walk(folder, problems, size)
    for group in walk.groups():
        if group.start < size:
            files += _entries(group, size, walk.first, out / FOLDER)
    if problems.count:
        raise ProofProblem(f"{problems.first[0].sentence} What was written to {out} is not whole.")
    return walk.first, files


def _tiles(reader: TileReader, out: Path) -> int:
    files, level = 0, 0
    while reader.size >> (TILE_HEIGHT * level):
        index = 0
        while width := reader.width(level, index):
            _write(out / tile_path(level, index, width), reader.tile(level, index))
            files, index = files + 1, index + 1
        level += 1
    return files


def _entries(group: Group, size: int, first: int, out: Path) -> int:
    """A bundle of records; none if some of it were removed from the front, as tlog-tiles has it."""
    lines: Sequence[bytes | None] = group.lines[: size - group.start]
    if group.start < first:
        return 0
    there = [line for line in lines if line is not None]
    data = b"".join(len(line).to_bytes(2) + line for line in there)
    width = min(TILE_WIDTH, size - group.start)
    _write(out / entries_path(group.start // TILE_WIDTH, width), data)
    return 1


def _write(path: Path, data: bytes) -> None:
    make_folder(path.parent, FOLDER_MODE)
    # It can be made again, so it is not synced, file by file, as write_new would.
    path.write_bytes(data)
