"""The memory file that carries the core's record between two processes; its size is sealed and it has no name."""

from __future__ import annotations

import fcntl
import mmap
import os

from pcgrelay.errors import RunError

RECORD_LIMIT_BYTES = 64 << 30
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


def make_record(size: int) -> tuple[int, mmap.mmap]:
    """Create a memory file of size bytes; return its descriptor and its mapping."""
    descriptor = os.memfd_create("pcgrelay-state", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
        return descriptor, mmap.mmap(descriptor, size)
    except BaseException:
        os.close(descriptor)
        raise


def map_record(descriptor: int, size: int) -> mmap.mmap:
    """Map a memory file that another process made. RunError: its size is wrong, or not sealed against change."""
    if not 0 < size <= RECORD_LIMIT_BYTES or os.fstat(descriptor).st_size != size:
        raise RunError("The state of the running node is not as large as it says; restart it instead.")
    if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
        raise RunError("The state of the running node is not sealed against a change of its size; restart it instead.")
    return mmap.mmap(descriptor, size)
