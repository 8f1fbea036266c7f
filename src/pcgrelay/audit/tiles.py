"""The hashes of a log's tree in files, laid out as C2SP tlog-tiles: 256 hashes each, level 0 those of the records.

`tile/0/x001/234` holds the hashes of 256 records, `tile/1/...` the heads of 256 tiles of level 0, and so on. Here a
tile that is not full yet has the name of the full one and is shorter; a growing file is appended to, and never written
again. (An export gives it the name with its width, `.p/W`.) All of it can be made again of the records. So tiles are
not synced with these but later (`tile_sync`), and what is not synced is compared and grown again at the next start.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from pcgrelay.audit.disk import Disk
from pcgrelay.audit.tree import HASH_BYTES, RightEdge, TreeRefused, check_size
from pcgrelay.errors import ProofProblem
from pcgrelay.files import open_plain, unreadable

FOLDER = "tile"
ENTRIES = "entries"  # below it, where a log is exported
TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
TILE_BYTES = TILE_WIDTH * HASH_BYTES
LEVELS = 8  # 63 bits of size, 8 for each level
_CACHED_MOST = 256


class TileMissing(ProofProblem):
    """A tile is not there, or too short for what is asked."""


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """The path of a tile below the folder of tiles, as C2SP writes it: 1234067 is x001/x234/067."""
    return f"{level}/{_index_path(index)}" + (f".p/{width}" if width < TILE_WIDTH else "")


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """The path of the bundle with the records themselves."""
    return f"{ENTRIES}/{_index_path(index)}" + (f".p/{width}" if width < TILE_WIDTH else "")


def _index_path(index: int) -> str:
    parts = [f"{index % 1_000:03d}"]
    while index := index // 1_000:
        parts.append(f"x{index % 1_000:03d}")
    return "/".join(reversed(parts))


def tile_head(hashes: Sequence[bytes]) -> bytes:
    """The head of the perfect tree over 1, 2, 4, ... 256 hashes."""
    row = list(hashes)
    if not row or len(row) & (len(row) - 1):
        raise TreeRefused("A perfect tree has a power of two of leaves.")
    while len(row) > 1:
        row = [sha256(b"\1" + left + right).digest() for left, right in zip(row[::2], row[1::2], strict=True)]
    return row[0]


def hashes_in(data: bytes) -> list[bytes]:
    """The hashes of a tile; what is left at its end is no whole hash and is left out."""
    return [data[at : at + HASH_BYTES] for at in range(0, len(data) - HASH_BYTES + 1, HASH_BYTES)]


def read_tile(tiles: Path, level: int, index: int) -> bytes:
    """A tile as far as it is there; nothing if it is not. tiles: the folder with the levels in it."""
    path = tiles / tile_path(level, index)
    try:
        with open_plain(path, buffering=0) as source:
            return source.read(TILE_BYTES) or b""
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise unreadable(path, "tile of the audit log", error) from None


class TileReader:
    """Tiles as somebody else writes them, of a tree of which so many leaves are known."""

    def __init__(self, folder: Path, size: int) -> None:
        """folder: that of the log (STATE/audit)."""
        check_size(size)
        self.folder = folder / FOLDER
        self.size = size
        self._cache: dict[tuple[int, int], bytes] = {}

    def hash_at(self, level: int, index: int) -> bytes:
        """A HashReader for `tree`. TileMissing: a tile is not there."""
        if (index + 1) << level > self.size:
            raise TreeRefused(f"A tree of {self.size} leaves has no hash {index} of level {level}.")
        tile_level, height = divmod(level, TILE_HEIGHT)
        first = index << height
        data = self.tile(tile_level, first >> TILE_HEIGHT)
        at, width = first % TILE_WIDTH, 1 << height
        return tile_head(hashes_in(data[at * HASH_BYTES : (at + width) * HASH_BYTES]))

    def tile(self, level: int, index: int) -> bytes:
        """A tile as far as the tree has it. TileMissing: it is not there, or shorter."""
        if (found := self._cache.get((level, index))) is not None:
            return found
        wanted = self.width(level, index) * HASH_BYTES
        data = read_tile(self.folder, level, index)[:wanted]
        if len(data) < wanted or not wanted:
            path = self.folder / tile_path(level, index)
            raise TileMissing(f"{path}: this tile has {len(data)} bytes, and {wanted} are needed.")
        if len(self._cache) >= _CACHED_MOST:
            self._cache.clear()
        self._cache[level, index] = data
        return data

    def width(self, level: int, index: int) -> int:
        """How many hashes a tile has in a tree of this size."""
        return max(0, min(TILE_WIDTH, (self.size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH))

    def edge(self, size: int) -> RightEdge:
        """The right edge of the first size leaves. TileMissing: tiles are not there, or shorter."""
        heads, at = [], 0
        for bit in range(size.bit_length() - 1, -1, -1):
            if size >> bit & 1:
                heads.append(self.hash_at(bit, at >> bit))
                at += 1 << bit
        return RightEdge(size, heads)


class TileWriter:
    """The tiles of a log that grows. Only the process that has the log's folder writes."""

    def __init__(self, folder: Path, size: int = 0, disk: Disk | None = None) -> None:
        """folder: that of the log. Go on after the first size leaves, and forget tiles beyond them.

        TileMissing: the tiles do not reach so far; make them again, from a size of 0.
        """
        self.size = size
        self._disk = disk or Disk()
        self._folder = folder / FOLDER
        self._rows: list[list[bytes]] = [[] for _ in range(LEVELS)]  # the tile of each level that is not full yet
        reader = TileReader(folder, size)
        for level in range(LEVELS):
            index = size >> (TILE_HEIGHT * (level + 1))
            if reader.width(level, index):
                self._rows[level] = hashes_in(reader.tile(level, index))

    def append(self, leaves: Sequence[bytes]) -> None:
        """Add leaves, by their hashes. OSError: not all was written; make a new writer from the size before."""
        row = self._rows[0]
        done = 0
        while done < len(leaves):
            index = self.size >> TILE_HEIGHT
            at = len(row)
            more = leaves[done : done + TILE_WIDTH - at]
            self._write(0, index, at, b"".join(more))
            row.extend(more)
            done += len(more)
            self.size += len(more)
            if len(row) == TILE_WIDTH:
                self._raise(0, index)

    def edge(self) -> RightEdge:
        """The right edge of what was written, without reading it."""
        heads: list[bytes] = []
        for row in reversed(self._rows):
            at = 0
            for bit in range(TILE_HEIGHT - 1, -1, -1):
                if len(row) >> bit & 1:
                    heads.append(tile_head(row[at : at + (1 << bit)]))
                    at += 1 << bit
        return RightEdge(self.size, heads)

    def trim(self) -> None:
        """Cut off what a stopped process left behind the known size."""
        for level, row in enumerate(self._rows):
            index = self.size >> (TILE_HEIGHT * (level + 1))
            if (self._folder / tile_path(level, index)).exists():
                self._write(level, index, len(row), b"")

    def _raise(self, level: int, index: int) -> None:
        """A tile is full: its head goes to the level above."""
        while level + 1 < LEVELS and len(self._rows[level]) == TILE_WIDTH:
            head = tile_head(self._rows[level])
            self._rows[level].clear()
            level, position = level + 1, index
            index = position >> TILE_HEIGHT
            self._write(level, index, position % TILE_WIDTH, head)
            self._rows[level].append(head)

    def _write(self, level: int, index: int, at: int, data: bytes) -> None:
        self._disk.write_end(self._folder / tile_path(level, index), at * HASH_BYTES, data)
