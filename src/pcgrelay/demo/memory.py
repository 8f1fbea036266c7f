"""Search of all readable memory of a process for a few byte strings.

/proc/PID/maps lists the memory regions, /proc/PID/mem has their contents. The process runs while it is read, so one
pass is no snapshot: data that moves at the wrong moment can be missed, and passes are repeated. memmem(3) is called
without the interpreter lock, so that traffic of the searching process continues.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from pcgrelay.errors import PermissionProblem, RunError
from pcgrelay.files import reason_of

CHUNK = 4 << 20
_LINE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (r|-)\S{3} \S+ \S+ \S+ *(.*)")
# The kernel's own pages; they cannot be read through /proc, and no process can write to them.
_KERNEL = ("[vvar", "[vsyscall]")

_libc = ctypes.CDLL(None)
_libc.memmem.restype = ctypes.c_void_p
_libc.memmem.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]


class Search(Struct, frozen=True, kw_only=True):
    """The result of one pass over a process."""

    searched_bytes: int
    unreadable_bytes: int  # in regions that disappeared meanwhile
    found: tuple[int, ...]  # number of hits for each wanted string


def searched(pid: int, wanted: Sequence[bytes]) -> Search:
    """Count the wanted strings in a process's memory. PermissionProblem: it may not be read. RunError: it is gone."""
    most = max(map(len, wanted))
    buffer = bytearray(most - 1 + CHUNK)
    view = memoryview(buffer)
    found = [0] * len(wanted)
    read = unreadable = 0
    try:
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        raise PermissionProblem(
            f"The memory of process {pid} may not be read by this user; run the demo as root."
        ) from None
    except OSError as error:
        raise RunError(f"The memory of process {pid} cannot be read ({reason_of(error)}); is it still there?") from None
    try:
        for start, end in _regions(pid):
            kept = 0  # bytes from the previous chunk, because a match may span two chunks
            while start < end:
                try:
                    count = os.preadv(memory, [view[kept : kept + min(CHUNK, end - start)]], start)
                except OSError:
                    count = 0
                if not count:
                    unreadable += end - start
                    break
                length = kept + count
                for number, bytes_wanted in enumerate(wanted):
                    found[number] += _count(buffer, length, bytes_wanted, kept)
                start += count
                read += count
                kept = min(most - 1, length)
                buffer[:kept] = buffer[length - kept : length]
    finally:
        os.close(memory)
        view.release()
    return Search(searched_bytes=read, unreadable_bytes=unreadable, found=tuple(found))


def _regions(pid: int) -> Iterator[tuple[int, int]]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        match = _LINE.fullmatch(line)
        if match and match[3] == "r" and not match[4].startswith(_KERNEL):
            yield int(match[1], 16), int(match[2], 16)


def _count(buffer: bytearray, length: int, wanted: bytes, kept: int) -> int:
    """Count the matches, without those that ended in the bytes kept from before and were counted then."""
    base = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    at = max(0, kept - len(wanted) + 1)
    count = 0
    while hit := _libc.memmem(base + at, length - at, wanted, len(wanted)):
        count += 1
        at = hit - base + len(wanted)
    return count
