"""What stands in the folder of a log when a node starts: whether it is whole, and agrees with what was signed.

What is behind the newest signed head was never promised to anybody. A power failure may have left anything there: the
records are taken as far as they are whole and in order, and the rest is moved aside. What is before that head must be
there. If it is not, the log is not signed any more, for it must never sign two histories.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from pcgrelay.audit.disk import Disk
from pcgrelay.audit.history import HISTORY, LINE_MOST_BYTES, HistoryLine, SignedHead, parse_head, read_newest
from pcgrelay.audit.keys import PublicKeys
from pcgrelay.audit.lines import number_is
from pcgrelay.audit.note import verify_note
from pcgrelay.audit.segments import Line, Segment, read_lines, segment_with, segments_of
from pcgrelay.audit.tile_sync import SYNCED
from pcgrelay.audit.tiles import TILE_WIDTH, TileWriter
from pcgrelay.audit.tree import leaf_hash
from pcgrelay.errors import PcgrelayError, ProofProblem
from pcgrelay.files import open_plain

TORN = ".torn"
_CHUNK = 4_096
_PIECE_BYTES = 1 << 20


class Torn(Struct, frozen=True):
    """What was not whole, and where it is now."""

    file: str
    size_bytes: int


class Found(Struct, frozen=True):
    """What there is."""

    size: int  # records
    segment: Segment | None  # the last one
    segment_bytes: int
    head: SignedHead | None  # the newest that was signed
    history_bytes: int
    torn: tuple[Torn, ...] = ()


def newest_head(folder: Path) -> tuple[SignedHead | None, int]:
    """Return the newest head, of `checkpoint` or of the history, and the bytes of the history that are whole.

    The history is written first, so it may be one ahead. ProofProblem: one cannot be read, or they contradict.
    """
    newest = read_newest(folder)
    last, whole = _last_of_history(folder / HISTORY)
    if newest is None or last is None:
        return newest or last, whole
    if newest.checkpoint.size == last.checkpoint.size and newest.checkpoint.root != last.checkpoint.root:
        raise ProofProblem(f"{newest.where} and {last.where} have two heads of {newest.checkpoint.size:,} records.")
    return (newest if newest.checkpoint.size >= last.checkpoint.size else last), whole


def find(folder: Path, keys: PublicKeys, disk: Disk) -> Found:
    """Look at a log, and move aside what is not whole behind its newest head.

    ProofProblem: records that were signed are not there, or the head is not by these keys. PcgrelayError, OSError: it
    cannot be read or moved.
    """
    head, history_bytes = newest_head(folder)
    signed = 0
    if head is not None:
        if head.checkpoint.origin != keys.origin:
            raise ProofProblem(
                f"{head.where}: this is a head of {head.checkpoint.origin}, and the log is {keys.origin}. A node "
                "that was renamed begins another log: audit restart."
            )
        for each in (head, read_newest(folder)):
            if each is not None:
                _check_keys(each, keys)
        signed = head.checkpoint.size
    segments = segments_of(folder)
    at = segment_with(segments, signed)
    if at is None:
        if segments:
            raise ProofProblem(
                f"The audit log begins with record {segments[0].first:,}, and its signed heads are gone."
            )
        if signed:
            raise ProofProblem(_too_short(0, signed))
        return Found(0, None, 0, head, history_bytes)
    rest = [each for each in segments if each.first >= at.first]
    size, segment, segment_bytes = _whole(rest, signed)
    if size < signed:
        raise ProofProblem(_too_short(size, signed))
    torn = _move_torn(rest, segment, segment_bytes, disk)
    return Found(size, segment, segment_bytes, head, history_bytes, torn)


def _check_keys(head: SignedHead, keys: PublicKeys) -> None:
    """ProofProblem: one of the keys that have signed a head for the log is not here any more."""
    own = (keys.ed25519, keys.ml_dsa_44)
    verify_note(head.note, own)
    named = [each for each in head.note.signatures if each.name == keys.origin]
    if not all(any(key.has_signed(each) for key in own) for each in named):
        raise ProofProblem(
            f"{head.where}: this head is signed by another key than those of the log; put its keys back."
        )


def tiles_of(folder: Path, found: Found, mark: int, disk: Disk) -> tuple[TileWriter, int]:
    """Return the writer of the tiles, grown to all records that are there, and up to where they are on the disk.

    mark: of how many records the tiles are known to be there, a multiple of 256. A power failure may have taken or torn
    any of the others: these are compared with the records, and made again where they differ. ProofProblem: the records
    do not give the root that was signed.
    """
    signed = 0 if found.head is None else found.head.checkpoint.size
    root = b"" if found.head is None else found.head.checkpoint.root
    segments = segments_of(folder)
    first = segments[0].first if segments else 0  # the hashes of records before it stand in tiles alone
    mark = _lowered(folder, mark, signed // TILE_WIDTH * TILE_WIDTH, disk)
    writer = _grown(folder, max(mark, first), signed, root, disk)
    if writer is None:
        mark = _lowered(folder, mark, 0, disk)
        writer = _grown(folder, first, signed, root, disk)
    if writer is None:
        raise ProofProblem(
            f"The {signed:,} records that are there are not those that were signed: one of them was changed, or the "
            "folder was put together of two."
        )
    _grow(writer, folder, found.size)
    writer.trim()
    return writer, mark


def _lowered(folder: Path, mark: int, to: int, disk: Disk) -> int:
    """The mark, at most as high as that; on the disk first, for what is made again may be lost once more."""
    if to < mark:
        disk.replace(folder / SYNCED, b"%d\n" % to)
    return min(mark, to)


def _grown(folder: Path, start: int, signed: int, root: bytes, disk: Disk) -> TileWriter | None:
    """The tiles of what was signed, compared with the records from start on; nothing: they give another root."""
    try:
        writer = TileWriter(folder, start, disk)
    except ProofProblem:
        return None
    _grow(writer, folder, signed)
    return writer if not signed or writer.edge().root() == root else None


def _grow(writer: TileWriter, folder: Path, size: int) -> None:
    """Add the records from where the tiles end up to size."""
    leaves: list[bytes] = []
    segments = segments_of(folder)
    for index, segment in enumerate(segments):
        if writer.size + len(leaves) >= size:
            break
        if index + 1 < len(segments) and segments[index + 1].first <= writer.size + len(leaves):
            continue
        for line in read_lines(segment):
            if writer.size + len(leaves) <= line.number < size:
                leaves.append(leaf_hash(line.data))
                if len(leaves) == _CHUNK:
                    writer.append(leaves)
                    leaves = []
    writer.append(leaves)


def _whole(segments: list[Segment], signed: int) -> tuple[int, Segment, int]:
    """Return up to where records are whole and in order: their number, the last segment, and its bytes up to there."""
    number, end = segments[0].first, 0
    last = segments[0]
    for segment in segments:
        if segment.first != number:
            break
        last, end = segment, 0
        for line in read_lines(segment):
            if not _is_whole(line, number, signed):
                return number, last, end
            number += 1
            end += len(line.data) + 1
    return number, last, end


def _is_whole(line: Line, number: int, signed: int) -> bool:
    # What was signed is judged by its hash, not here.
    return not line.is_torn and (number < signed or (not line.is_long and number_is(line.data, number)))


def _move_torn(segments: list[Segment], last: Segment, end: int, disk: Disk) -> tuple[Torn, ...]:
    moved = []
    for segment in reversed(segments):
        start = end if segment == last else 0
        size = os.path.getsize(segment.path)
        if segment.first < last.first or size <= start:
            if segment.first > last.first:
                disk.remove(segment.path)
            continue
        to = _free_name(segment.path.with_name(f"{segment.path.name}.{start}{TORN}"))
        moved.append(Torn(str(to), _copy(segment.path, start, to, disk)))
        if start:
            file = disk.open(segment.path, start)
            file.sync()
            file.close()
        else:
            disk.remove(segment.path)
            if segment == last:
                disk.open(segment.path, 0).close()
    return tuple(moved)


def _copy(path: Path, start: int, to: Path, disk: Disk) -> int:
    """Copy a file from a place on to a new one; return how many bytes that are."""
    copy = disk.open(to, 0)
    try:
        with open_plain(path) as source:
            source.seek(start)
            while data := source.read(_PIECE_BYTES):
                copy.append(data)
        copy.sync()
        return copy.size
    except OSError:
        # It is tried again each second, and each time under another name.
        to.unlink(missing_ok=True)
        raise
    finally:
        copy.close()


def _free_name(path: Path) -> Path:
    number = 1
    to = path
    while to.exists():
        number += 1
        to = path.with_name(f"{path.name.removesuffix(TORN)}-{number}{TORN}")
    return to


def _last_of_history(path: Path) -> tuple[SignedHead | None, int]:
    try:
        with open_plain(path) as source:
            end = source.seek(0, os.SEEK_END)
            start = max(0, end - 2 * LINE_MOST_BYTES)
            source.seek(start)
            data = source.read()
    except FileNotFoundError:
        return None, 0
    lines = data.splitlines(keepends=True)
    heads = [_head_in(line, path) for line in lines]
    last = next((head for head in reversed(heads) if head is not None), None)
    if last is None:
        return None, start + data.rfind(b"\n") + 1
    # A head was synced. The lines of its witnesses behind it were not, so a power failure may have left anything there.
    at = next(at for at, head in enumerate(heads) if head is not None and head.checkpoint == last.checkpoint)
    while at < len(lines) and heads[at] is not None:
        at += 1
    return last, start + sum(map(len, lines[:at]))


def _head_in(line: bytes, path: Path) -> SignedHead | None:
    if not line.endswith(b"\n"):
        return None
    try:
        read = msgspec.json.decode(line, type=HistoryLine)
        return parse_head(read.note.encode(), str(path), read.ts)
    except (msgspec.DecodeError, UnicodeDecodeError, PcgrelayError):
        return None


def _too_short(size: int, signed: int) -> str:
    return (
        f"The audit log has {size:,} records, and {signed:,} were signed: it was cut, or a back-up was put back. A log "
        "never signs two histories."
    )
