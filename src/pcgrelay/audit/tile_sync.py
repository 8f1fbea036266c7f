"""Up to where the tiles of a log outlast a power failure.

Tiles may be a hundred files a second, so they are not synced with the records. Once a minute those are that were
written before the minute, which the system has put on the disk by itself by then, so that it costs little.
`tiles.synced` says up to which record that is done. At a start all tiles from there on are compared with the records,
and made again where they differ. To have all of them compared, remove that file, and start the node again.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from pathlib import Path

from pcgrelay.audit.disk import Disk
from pcgrelay.audit.tiles import FOLDER, LEVELS, TILE_HEIGHT, TILE_WIDTH, tile_path
from pcgrelay.files import open_plain

SYNCED = "tiles.synced"
MARK_MOST_BYTES = 32
# For so long at a time; then it goes on a minute later.
STEP_S = 0.25
PIECE = 256  # tiles between two looks at the time


def read_mark(folder: Path) -> int:
    """Of how many records the tiles are on the disk; 0: nothing says so. OSError: it cannot be read."""
    try:
        with open_plain(folder / SYNCED) as source:
            text = source.read(MARK_MOST_BYTES) or b""
    except FileNotFoundError:
        return 0
    number = text.removesuffix(b"\n")
    return int(number) // TILE_WIDTH * TILE_WIDTH if number.isdigit() else 0


class TileSync:
    """What is synced of the tiles below one folder (STATE/audit)."""

    def __init__(self, folder: Path, mark: int, disk: Disk) -> None:
        """mark: of how many records all is synced already, a multiple of 256."""
        self.mark = mark
        self._folder = folder
        self._disk = disk
        self._before = 0  # records that had tiles at the last turn

    def turn(self, size: int) -> None:
        """Sync the tiles of records that had theirs at the last turn; called once a minute. OSError: it cannot be.

        size: how many records have tiles now.
        """
        until, self._before = min(self._before, size), size
        self._advance(until // TILE_WIDTH * TILE_WIDTH, time.monotonic() + STEP_S)

    def reach(self, number: int) -> None:
        """Sync the tiles of all records before this one, for they are to go. OSError, PcgrelayError: it cannot be."""
        self._advance(number // TILE_WIDTH * TILE_WIDTH, math.inf)
        if number % TILE_WIDTH:
            path = self._folder / FOLDER / tile_path(0, number // TILE_WIDTH)
            for each in (path, *self._folders_of(path)):
                self._disk.sync(each)

    def _advance(self, until: int, until_s: float) -> None:
        end, folders = self.mark, set[Path]()
        while end < until and time.monotonic() < until_s:
            start, end = end, min(end + PIECE * TILE_WIDTH, until)
            folders |= self._sync(start, end)
        if end == self.mark:
            return
        for folder in sorted(folders):
            self._disk.sync(folder)
        self._disk.replace(self._folder / SYNCED, b"%d\n" % end)
        self.mark = end

    def _sync(self, start: int, end: int) -> set[Path]:
        """Sync what has hashes of these records, on each level. Returns the folders in which that is."""
        folders = set[Path]()
        for level in range(LEVELS):
            # A hash of this level is of so many records. Of trees that are not full yet there is none.
            first, last = start >> (TILE_HEIGHT * level), (end >> (TILE_HEIGHT * level)) - 1
            if last < first:
                break
            for index in range(first // TILE_WIDTH, last // TILE_WIDTH + 1):
                path = self._folder / FOLDER / tile_path(level, index)
                # One that somebody has removed cannot be synced; an examination tells of it.
                with suppress(FileNotFoundError):
                    self._disk.sync(path)
                    folders |= self._folders_of(path)
        return folders

    def _folders_of(self, path: Path) -> set[Path]:
        """The folder of a tile, and those above up to that of the log."""
        return set(path.parents) - set(self._folder.parents)
