"""Whether the records of a log lead to the heads that were signed, and if not, which record was changed.

The tree is grown of the records. Beside it stand hashes that were kept when they were written: in the tiles of level 0
those of the records, in those of level 1 the heads of 256 records. As long as all agree there is one way to grow the
tree. Where they differ there are up to three ways, and the next head that was signed says which of them is right:

    records   the records lead to it: a tile was changed
    tile      the hashes in the tiles do: the records that differ from them were changed
    above     the heads in the tiles above do: a record was changed, and its hash along with it

If none does, it is known that something was changed between two heads, and no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from msgspec import Struct

from pcgrelay.audit.history import SignedHead
from pcgrelay.audit.problems import KEPT_MOST, Problems
from pcgrelay.audit.tile_sync import SYNCED
from pcgrelay.audit.tiles import FOLDER, LEVELS, TILE_HEIGHT, TILE_WIDTH, hashes_in, read_tile, tile_head, tile_path
from pcgrelay.audit.tree import EMPTY_ROOT, HASH_BYTES, RightEdge, leaf_hash

UNKNOWN = bytes(HASH_BYTES)  # what no hash is


class Way:
    """One way to grow the tree. Within a group it is grown from one head to the next."""

    def __init__(self, edge: RightEdge) -> None:
        self.edge = edge
        self.leaves: Sequence[bytes] = ()  # of the group
        self.head = b""  # of the group; empty: by its leaves
        self.done = 0  # leaves of the group that the edge has

    def begin(self, leaves: Sequence[bytes], head: bytes) -> None:
        """A new group."""
        self.leaves, self.head, self.done = leaves, head, 0

    def grow(self, count: int) -> None:
        """Have the edge include so many leaves of the group."""
        if self.head and not self.done and count == TILE_WIDTH:
            self.edge.append_tree(TILE_HEIGHT, self.head)
        else:
            self.edge.extend(self.leaves[self.done : count])
        self.done = count


class Doubt(Struct, frozen=True):
    """A place where two hashes differ."""

    number: int  # of the record, or of the first below a tile's hash
    level: int  # of the tile
    is_record: bool  # the record is there, and differs from the hash in the tile of level 0


class Roots:
    """The growing tree of one log."""

    def __init__(
        self,
        folder: Path,
        heads: Iterator[SignedHead],
        signed_size: int,
        place_of: Callable[[int], str],
        problems: Problems,
    ) -> None:
        """heads: in the order of their sizes. signed_size: the most records of any: for these there are tiles.

        place_of: where a record is, in words.
        """
        self.size = 0
        self.agreed = 0  # heads that agree
        self.agreed_size = 0  # of the largest of them
        self.short_tiles = 0  # that are not there, or too short for what was signed
        self.first_short_tile = ""
        self._tiles = folder / FOLDER
        self._signed_size = signed_size
        self._heads = heads
        self._next = next(heads, None)
        self._place_of = place_of
        self._problems = problems
        self._records = Way(RightEdge())
        self._others: dict[str, Way] = {}
        self._found: list[Doubt] = []  # in the present group
        self._doubts: list[Doubt] = []  # in groups before, as far as no head has decided
        self._unsaid = 0  # more of these, beyond the bound of the list
        self._unmatched: list[SignedHead] = []
        # The heads of full tiles, for the tiles above; nothing where a hash is in doubt.
        self._rows: list[list[bytes | None]] = [[] for _ in range(LEVELS)]

    def add(self, start: int, lines: Sequence[bytes | None]) -> None:
        """Add a group of records, the next in order."""
        kept = read_tile(self._tiles, 0, start // TILE_WIDTH)[: len(lines) * HASH_BYTES]
        if None in lines:
            leaves = [
                (kept[at * HASH_BYTES : (at + 1) * HASH_BYTES] or UNKNOWN) if line is None else leaf_hash(line)
                for at, line in enumerate(lines)
            ]
        else:
            leaves = [sha256(b"\0" + line).digest() for line in lines if line is not None]  # as leaf_hash
        head = tile_head(leaves) if len(leaves) == TILE_WIDTH else b""
        if UNKNOWN in kept:
            kept = self._filled(start, leaves, kept)
        self._compare(start, leaves, head, kept)
        self._records.begin(leaves, head)
        self.size = start
        while self._next is not None and self._next.checkpoint.size <= start + len(leaves):
            self._judge(self._next, start)
            self._next = next(self._heads, None)
        for way in self._ways:
            way.grow(len(leaves))
        self.size = start + len(leaves)
        kept_most = KEPT_MOST - len(self._doubts)
        self._unsaid += len(self._found[kept_most:])
        self._doubts += self._found[:kept_most]
        self._found = []
        if not self._doubts:
            self._others.clear()

    def finish(self) -> SignedHead | None:
        """Say what no head has decided. Returns the largest head of more records than there are."""
        elsewhere = [head for head in self._unmatched if head.is_elsewhere]
        for head in elsewhere:
            self._say_fork(head)
        if len(self._unmatched) > len(elsewhere):
            self._say_range(next(head for head in self._unmatched if not head.is_elsewhere))
        else:
            for doubt in self._doubts:
                self._problems.add("tail", self._tail_words(doubt), doubt.number)
            self._problems.count += self._unsaid
        largest = self._next
        for head in self._heads:
            largest = head
        return largest

    @property
    def _ways(self) -> tuple[Way, ...]:
        return (self._records, *self._others.values())

    def _filled(self, start: int, leaves: Sequence[bytes], kept: bytes) -> bytes:
        """A tile without the holes that a power failure leaves in a file: no hash is of zeroes alone."""
        pairs = list(zip(hashes_in(kept), leaves, strict=False))
        if any(each == UNKNOWN for each, _ in pairs):
            self._note_short(0, start // TILE_WIDTH)
        return b"".join(leaf if each == UNKNOWN else each for each, leaf in pairs)

    def _compare(self, start: int, leaves: Sequence[bytes], head: bytes, kept: bytes) -> None:
        """Compare a group with its tiles; from the first difference on there are several ways."""
        found = []
        if not b"".join(leaves).startswith(kept):
            pairs = zip(leaves, hashes_in(kept), strict=False)
            found = [Doubt(start + at, 0, True) for at, (leaf, other) in enumerate(pairs) if leaf != other]
        if len(kept) < min(len(leaves), self._signed_size - start) * HASH_BYTES:
            self._note_short(0, start // TILE_WIDTH)
        above = self._compare_above(start, head, bool(found)) if head else b""
        if above and above != head and not found:
            found = [Doubt(start, 1, False)]
        if found and not self._others:
            self._others = {"tile": Way(self._records.edge.copy()), "above": Way(self._records.edge.copy())}
        self._found += found
        if self._others:
            tile = [*hashes_in(kept), *leaves[len(kept) // HASH_BYTES :]]
            self._others["tile"].begin(tile, b"")
            self._others["above"].begin(tile, above)

    def _compare_above(self, start: int, of_group: bytes, is_doubtful: bool) -> bytes:
        """Compare the heads of full tiles with those in the tiles above. Returns what level 1 has for this group."""
        index, first = start // TILE_WIDTH, b""
        head: bytes | None = of_group
        for level in range(1, LEVELS):
            at = index % TILE_WIDTH * HASH_BYTES
            kept = read_tile(self._tiles, level, index // TILE_WIDTH)[at : at + HASH_BYTES]
            if kept == UNKNOWN or len(kept) < HASH_BYTES:
                kept = b""
            if not kept and (index + 1) << (TILE_HEIGHT * level) <= self._signed_size:
                self._note_short(level, index // TILE_WIDTH)
            if level == 1:
                first = kept
                head = None if is_doubtful or kept != head else head
            elif kept and head is not None and kept != head:
                self._found.append(Doubt(index << (TILE_HEIGHT * level), level, False))
            row = self._rows[level]
            row.append(head)
            if len(row) < TILE_WIDTH:
                break
            known = [each for each in row if each is not None]
            head = tile_head(known) if len(known) == TILE_WIDTH else None
            row.clear()
            index //= TILE_WIDTH
        return first

    def _judge(self, head: SignedHead, start: int) -> None:
        """Compare a head with the tree of that size by each way."""
        size, root = head.checkpoint.size, head.checkpoint.root
        if size == 0:
            if root == EMPTY_ROOT:
                self.agreed += 1
            elif len(self._unmatched) < KEPT_MOST:
                self._unmatched.append(head)
            return
        for way in self._ways:
            way.grow(size - start)
        if self._records.edge.root() == root:
            self._decide("records", self._records, head)
            return
        for name, way in self._others.items():
            if way.edge.root() == root:
                self._decide(name, way, head)
                return
        if len(self._unmatched) < KEPT_MOST:
            self._unmatched.append(head)

    def _decide(self, name: str, right: Way, head: SignedHead) -> None:
        """A head is of the tree that was grown this way: say what was changed, and go on with this tree."""
        self.agreed += 1
        self.agreed_size = size = head.checkpoint.size
        for other in self._unmatched:
            self._say_unmatched(other)
        self._unmatched.clear()
        if not self._doubts and not self._found:
            return
        for doubt in (*self._doubts, *self._found):
            if doubt.number < size:
                self._say(name, doubt, head)
        self._problems.count += self._unsaid
        self._unsaid = 0
        self._doubts = []
        self._found = [doubt for doubt in self._found if doubt.number >= size]
        for way in self._ways:
            way.edge = right.edge.copy()

    def _say(self, name: str, doubt: Doubt, head: SignedHead) -> None:
        number = doubt.number
        signed = f"signed on {head.ts}" if head.ts else f"signed, in {head.where}"
        if name == "tile" and doubt.is_record:
            self._problems.add(
                "record",
                f"Record {number:,} was changed ({self._place_of(number)}): its hash is not the one that was {signed}.",
                number,
            )
        elif name == "records" or doubt.level > 1:
            path = tile_path(doubt.level, number >> (TILE_HEIGHT * (doubt.level + 1)))
            self._problems.add(
                "tile",
                f"{self._tiles / path}: this tile was changed; the records are those that were {signed}. "
                f"The node makes it again of these if it is started without the file {SYNCED}.",
                number,
            )
        else:
            self._problems.add(
                "record",
                f"One of the records {number:,} to {number | (TILE_WIDTH - 1):,} was changed (from "
                f"{self._place_of(number)} on), and its hash along with it: they are not those that were {signed}.",
                number,
            )

    def _note_short(self, level: int, index: int) -> None:
        self.short_tiles += 1
        self.first_short_tile = self.first_short_tile or str(self._tiles / tile_path(level, index))

    def _say_unmatched(self, head: SignedHead) -> None:
        """A head does not agree, and a later one does."""
        size = head.checkpoint.size
        if head.is_elsewhere:
            self._say_fork(head)
            return
        self._problems.add(
            "head",
            f"{head.where}: this checkpoint of {size:,} records does not agree with the records, and later ones do: "
            "it was changed, or the log signed two histories.",
        )

    def _say_fork(self, head: SignedHead) -> None:
        self._problems.add(
            "fork",
            f"{head.where}: this checkpoint of {head.checkpoint.size:,} records is not one of these records: if its "
            "signature holds, the log has signed two histories, and this is not the one that others have seen.",
        )

    def _say_range(self, first: SignedHead) -> None:
        what = f"the checkpoint of {first.checkpoint.size:,} that was signed" + (f" on {first.ts}" if first.ts else "")
        self._problems.add(
            "range",
            f"The records from {self.agreed_size:,} to {first.checkpoint.size - 1:,} are not all those of {what} "
            f"({first.where}): one of them was changed, removed or put in, with its hash, or the checkpoint was. "
            f"The {self.agreed_size:,} before them are whole.",
            self.agreed_size,
        )

    def _tail_words(self, doubt: Doubt) -> str:
        if doubt.level:
            path = tile_path(doubt.level, doubt.number >> (TILE_HEIGHT * (doubt.level + 1)))
            return f"{self._tiles / path}: this tile does not agree with the records, which are not signed yet."
        place = self._place_of(doubt.number)
        return f"Record {doubt.number:,} ({place}), or its hash in the tiles, was changed; neither is signed yet."
