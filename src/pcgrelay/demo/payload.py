"""What the demonstration sends: random bytes with a marker at every few of them, so that each frame has one."""

from __future__ import annotations

import hashlib
import os

MEBIBYTE = 1 << 20
MARKER = 32
SPACING = 2048


class Payload:
    """A block of one MiB and the markers in it. All of it is sent, received and thrown away; none of it is written."""

    def __init__(self) -> None:
        self.marker = os.urandom(MARKER)
        self.block = (self.marker + os.urandom(SPACING - MARKER)) * (MEBIBYTE // SPACING)
        self._digests: dict[int, str] = {}

    def digest(self, blocks: int) -> str:
        """SHA-256 of so many blocks, in hexadecimal."""
        if blocks not in self._digests:
            whole = hashlib.sha256()
            for _ in range(blocks):
                whole.update(self.block)
            self._digests[blocks] = whole.hexdigest()
        return self._digests[blocks]
