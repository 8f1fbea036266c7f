"""A log that is begun again, because the one before can no longer be signed.

The old one stays beside it as it is. The new one has new keys, so that no key ever signs two histories, and its first
record after these names the head of the old one.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from msgspec import Struct

from pcgrelay.audit.checkpoint import base64_text
from pcgrelay.audit.disk import FOLDER_MODE, Disk
from pcgrelay.audit.history import HISTORY, NEWEST
from pcgrelay.audit.keys import ED25519_FILE, ML_DSA_44_FILE
from pcgrelay.audit.recovery import newest_head
from pcgrelay.audit.segments import FOLDER as SEGMENTS
from pcgrelay.audit.tiles import FOLDER as TILES
from pcgrelay.errors import PcgrelayError
from pcgrelay.log.audit_events import AuditRestarted

# There if a witness has proved that this log signs two histories; its text says how.
CONFLICT = "conflict"
# The digest of the certificate that has signed the keys.
CERTIFIED = "certificate.sha256"
# In the order in which they are moved: if that breaks off, a head is still there, and last of all what forbids to sign.
PARTS = (SEGMENTS, TILES, ED25519_FILE, ML_DSA_44_FILE, CERTIFIED, NEWEST, HISTORY, CONFLICT)
OLD = "old-"  # how the name of a folder begins in which an old log is


class Restart(Struct, frozen=True, kw_only=True):
    """Who begins a new log, and why."""

    uid: int
    by: str
    reason: str


def move_old(folder: Path, problem: str, restart: Restart, now: datetime, disk: Disk) -> AuditRestarted:
    """Move the old log aside. OSError, PcgrelayError: part of it may have moved; it can be tried again."""
    try:
        head, _ = newest_head(folder)
    except PcgrelayError:
        head = None
    old = folder / f"{OLD}{now:%Y-%m-%dT%H%M%SZ}"
    old.mkdir(mode=FOLDER_MODE, exist_ok=True)
    if not (folder / CONFLICT).exists():
        # A process that finds half of it must not begin a log by the old keys.
        disk.replace(folder / CONFLICT, problem.encode())
    for name in PARTS:
        if (folder / name).exists():
            disk.rename(folder / name, old / name)
    return AuditRestarted(
        old_size=0 if head is None else head.checkpoint.size,
        old_root="" if head is None else base64_text(head.checkpoint.root),
        folder=str(old),
        problem=problem,
        uid=restart.uid,
        by=restart.by,
        reason=restart.reason,
    )
