"""A search of this process's own memory for bytes that must have left it."""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path

PIECE = 1 << 20


def found(needle: bytes) -> int:
    """How often these bytes are in the readable memory of this process, the needle itself among them.

    What the search reads lies in a mapping that it does not search. In the heap it would be found by the next search.
    """
    count = 0
    with Path("/proc/self/mem").open("rb", buffering=0) as memory, mmap.mmap(-1, PIECE) as piece:
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, rights, *rest = line.split(maxsplit=5)
            if not rights.startswith("rw-p") or (len(rest) == 4 and rest[3].startswith("[v")):
                continue
            at, end = (int(part, 16) for part in span.split("-"))
            while end - at >= len(needle):
                memory.seek(at)
                try:
                    got = memory.readinto(memoryview(piece)[: end - at])
                except OSError:
                    break
                count += occurrences(piece, needle, got)
                at += max(got - len(needle) + 1, 1)
    return count


def occurrences(piece: mmap.mmap, needle: bytes, end: int) -> int:
    count = 0
    at = piece.find(needle, 0, end)
    while at >= 0:
        count += 1
        at = piece.find(needle, at + 1, end)
    return count


def digest_found(make: bytes) -> int:
    """The same for SHA-256(make), which is only in memory while it is looked for."""
    return found(hashlib.sha256(make).digest())
