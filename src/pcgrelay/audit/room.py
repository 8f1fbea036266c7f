"""Whether the disk of the audit log may take something.

Whoever causes records must not fill the disk on which the node keeps its state: an approved policy that narrows is kept
there before it comes into force. So the last of a disk is left free.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from pcgrelay.audit.turns import SYNC_MS
from pcgrelay.clock import Clock

# So much of a disk is left, or this part of a small one.
RESERVE_BYTES, RESERVE_PART = 64 << 20, 50
# After the disk was full, it is tried again when so much of it is free: else the first line that just fits would be
# the first of many holes.
FREE_BYTES = 1 << 20


class Room:
    """What is known of the disk below one folder."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._full_until_ms = 0
        self._look_ms = 0  # when it is looked at again

    @property
    def is_full(self) -> bool:
        """Whether it has not taken what it was given last."""
        return bool(self._full_until_ms)

    def full(self) -> None:
        """It has just not taken something: wait for a second."""
        self._full_until_ms = self._clock.monotonic_ms() + SYNC_MS

    def forget(self) -> None:
        """Try it now, whatever was."""
        self._full_until_ms = 0

    def may_try(self) -> bool:
        """Whether to write; the disk is looked at once a second. OSError: it has just been seen to be full."""
        now_ms = self._clock.monotonic_ms()
        if now_ms < self._full_until_ms:
            return False
        if not self._full_until_ms and now_ms < self._look_ms:
            return True
        self._look_ms = now_ms + SYNC_MS
        if not self._has_room():
            self._full_until_ms = self._look_ms
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._full_until_ms = 0
        return True

    def _has_room(self) -> bool:
        with suppress(OSError):
            room = os.statvfs(self._folder)
            kept = min(RESERVE_BYTES, room.f_blocks * room.f_frsize // RESERVE_PART)
            return room.f_bavail * room.f_frsize >= kept + (FREE_BYTES if self._full_until_ms else 0)
        return True
