"""The data that the demonstration sends: random bytes with markers so close together that each frame has one."""

from __future__ import annotations

import hashlib
import os

MEBIBYTE = 1 << 20
MARKER = 32
SPACING = 2048


class Payload:
    """A block of one MiB with its markers. It is sent, received and discarded; none of it is written to a file."""

    def __init__(self) -> None:
        self.marker = os.urandom(MARKER)
        self.block = (self.marker + os.urandom(SPACING - MARKER)) * (MEBIBYTE // SPACING)
        self._digests: dict[int, str] = {}

    def digest(self, blocks: int) -> str:
        """Return the SHA-256 of that many blocks, in hexadecimal."""
        if blocks not in self._digests:
            whole = hashlib.sha256()
            for _ in range(blocks):
                whole.update(self.block)
            self._digests[blocks] = whole.hexdigest()
        return self._digests[blocks]
