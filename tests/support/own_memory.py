"""A search of this process's own memory for bytes that must have left it."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
from pathlib import Path

PIECE = 1 << 20


def found(*needles: bytes) -> tuple[int, ...]:
    """How often each of these is in the readable memory of this process, the needle itself among them, in one search.

    What the search reads lies in a mapping that it does not search. In the heap it would be found by the next search.
    """
    counts, longest = [0] * len(needles), max(map(len, needles))
    with Path("/proc/self/mem").open("rb", buffering=0) as memory, mmap.mmap(-1, PIECE) as piece:
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, rights, *rest = line.split(maxsplit=5)
            if not rights.startswith("rw-p") or (len(rest) == 4 and rest[3].startswith("[v")):
                continue
            at, end = (int(part, 16) for part in span.split("-"))
            seen = 0  # bytes at the begin of this piece that were at the end of the one before
            while at + seen < end:
                memory.seek(at)
                try:
                    got = memory.readinto(memoryview(piece)[: end - at])
                except OSError:
                    break
                for number, needle in enumerate(needles):
                    counts[number] += occurrences(piece, needle, max(0, seen - len(needle) + 1), got)
                seen = min(longest - 1, got)
                at += got - seen
    return tuple(counts)


def occurrences(piece: mmap.mmap, needle: bytes, at: int, end: int) -> int:
    count = 0
    at = piece.find(needle, at, end)
    while at >= 0:
        count += 1
        at = piece.find(needle, at + 1, end)
    return count


def digests_found(*makes: bytes) -> tuple[int, ...]:
    """The same for SHA-256 of each of these, which are only in memory while they are looked for."""
    needles = [hashlib.sha256(make).digest() for make in makes]
    try:
        return found(*needles)
    finally:
        # What Python frees stays where it was, and the next search would find it.
        for needle in needles:
            ctypes.memset(id(needle) + bytes.__basicsize__ - 1, 0, len(needle))
