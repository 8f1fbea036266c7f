"""The line of the log about evidence."""

from __future__ import annotations

from typing import ClassVar

from pcgrelay.log.events import Record


class AssureSealed(Record, frozen=True, kw_only=True):
    """A pack of evidence about this node was written."""

    EVENT: ClassVar[str] = "assure.sealed"
    AUDIT: ClassVar[bool] = True
    sha256: str  # of its SHA256SUMS
    profile: str
    passed: int  # numbers of controls
    failed: int  # with those whose test could not run
    told: int
    uid: int  # who wrote it, as the kernel names them at the admin socket
