"""A log that is begun again, because the one before can no longer be signed.

The old one stays beside it as it is. The new one has new keys, so that no key ever signs two histories, and its first
records after these name the heads of those before it. What they have to name stands in a file from before the first
file is moved until those records are signed, so a process may end anywhere in between.
"""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from pcgrelay.audit.checkpoint import base64_text
from pcgrelay.audit.disk import FOLDER_MODE, Disk
from pcgrelay.audit.history import HISTORY, NEWEST
from pcgrelay.audit.keys import ED25519_FILE, ML_DSA_44_FILE
from pcgrelay.audit.recovery import newest_head
from pcgrelay.audit.segments import FOLDER as SEGMENTS
from pcgrelay.audit.segments import read_lines, segments_of
from pcgrelay.audit.tile_sync import SYNCED
from pcgrelay.audit.tiles import FOLDER as TILES
from pcgrelay.errors import ConfigError, PcgrelayError, ProofProblem
from pcgrelay.files import read_bounded, sync_folder
from pcgrelay.log.audit_events import AuditRestarted
from pcgrelay.log.events import Record

# There if a witness has proved that this log signs two histories; its text says how.
CONFLICT = "conflict"
# The digest of the certificate that has signed the keys.
CERTIFIED = "certificate.sha256"
# What the log has to name that was begun last.
PENDING = "restarted.json"
# In the order in which they are moved: if that breaks off, a head is still there, and last of all what forbids to sign.
PARTS = (SEGMENTS, TILES, SYNCED, ED25519_FILE, ML_DSA_44_FILE, CERTIFIED, NEWEST, HISTORY, CONFLICT)
OLD = "old-"  # how the name of a folder begins in which an old log is
MOMENT = "%Y-%m-%dT%H%M%SZ"  # when it was moved aside
OLD_NAME = re.compile(r"old-([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{6}Z)(-[0-9]{1,4})?", re.ASCII)
PENDING_MOST_BYTES = 1 << 20
NAMED_MOST = 64  # logs that were begun and never signed, one after the other
LOOKED_AT_MOST = 1_024  # records at the beginning of a log


class Restart(Struct, frozen=True, kw_only=True):
    """Who begins a new log, and why."""

    uid: int
    by: str
    reason: str


class Pending(Struct, frozen=True):
    """Old logs that are not named by a signed record yet."""

    records: tuple[AuditRestarted, ...] = ()  # the oldest first
    is_moving: bool = False  # the files of the last one are being moved


def move_old(folder: Path, problem: str, restart: Restart, now: datetime, disk: Disk) -> None:
    """Move the old log aside. OSError, PcgrelayError: part of it may have moved; it can be tried again."""
    try:
        pending = read_pending(folder)
    except PcgrelayError:
        pending = Pending()
    if pending.is_moving:
        # The head may have moved already, and is named there.
        *before, last = pending.records
        record = structs.replace(last, uid=restart.uid, by=restart.by, reason=restart.reason)
    else:
        before = list(pending.records[-NAMED_MOST + 1 :])
        record = _record(folder, problem, restart, now)
    if not (folder / CONFLICT).exists():
        # A process that finds half of it must not begin a log by the old keys.
        disk.replace(folder / CONFLICT, problem.encode("utf-8", "replace"))
    _write(folder, Pending((*before, record), is_moving=True), disk)
    old = folder / Path(record.folder).name
    old.mkdir(mode=FOLDER_MODE, exist_ok=True)
    sync_folder(folder)
    for name in PARTS:
        if (folder / name).exists():
            disk.rename(folder / name, old / name)
    _write(folder, Pending((*before, record)), disk)


def read_pending(folder: Path) -> Pending:
    """What is to be named. ConfigError: it cannot be read; PermissionProblem: it may not be."""
    path = folder / PENDING
    if not path.exists():
        return Pending()
    data = read_bounded(path, "names of old audit logs", PENDING_MOST_BYTES)
    try:
        pending = msgspec.json.decode(data, type=Pending)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pending = None
    if pending is None or not all(OLD_NAME.fullmatch(Path(each.folder).name) for each in pending.records):
        raise ConfigError(f"{path}: this names no old audit logs; move it away if the folders {OLD}... are kept.")
    return pending


class OldLogs:
    """What a log has to say of those before it, until that is signed."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder = folder
        self._disk = disk
        self._numbers: dict[AuditRestarted, int | None] = {}  # of their records; nothing: there is none yet

    def read(self) -> None:
        """Read what is to be named; no old log is being moved any more.

        ProofProblem, PcgrelayError, OSError: it cannot be read, or not be kept.
        """
        try:
            pending = read_pending(self._folder)
        except ConfigError as error:
            raise ProofProblem(str(error)) from None
        if pending.is_moving:
            # What forbids to sign was moved last of all, so all has moved.
            _write(self._folder, Pending(pending.records), self._disk)
        self._numbers = dict.fromkeys(pending.records)
        if self._numbers:
            told = _told(self._folder)
            self._numbers = {each: told.get(_key(each)) for each in self._numbers}

    def due(self, size: int) -> list[AuditRestarted]:
        """Those of which a log of so many records does not tell."""
        return [each for each, number in self._numbers.items() if number is None or number >= size]

    def written(self, record: Record, number: int) -> None:
        """A record has got this number."""
        if isinstance(record, AuditRestarted) and record in self._numbers:
            self._numbers[record] = number

    def signed(self, size: int) -> None:
        """So many records are signed. OSError: the file of names is still there; it is tried again at the next."""
        if self._numbers and not self.due(size):
            self._disk.remove(self._folder / PENDING)
            self._numbers = {}


def _record(folder: Path, problem: str, restart: Restart, now: datetime) -> AuditRestarted:
    try:
        head, _ = newest_head(folder)
    except PcgrelayError:
        head = None
    return AuditRestarted(
        old_size=0 if head is None else head.checkpoint.size,
        old_root="" if head is None else base64_text(head.checkpoint.root),
        folder=str(_free(folder, f"{OLD}{now.strftime(MOMENT)}")),
        problem=problem,
        uid=restart.uid,
        by=restart.by,
        reason=restart.reason,
    )


def _free(folder: Path, name: str) -> Path:
    """A name that no other old log has, though the clock may have been set back."""
    number, free = 1, folder / name
    while free.exists():
        number += 1
        free = folder / f"{name}-{number}"
    return free


def _write(folder: Path, pending: Pending, disk: Disk) -> None:
    disk.replace(folder / PENDING, msgspec.json.encode(pending))


class _Told(Struct, frozen=True):
    """What is read of a record."""

    event: str = ""
    old_size: int = 0
    old_root: str = ""
    folder: str = ""


def _told(folder: Path) -> dict[tuple[int, str, str], int]:
    """The numbers of the records at the beginning of a log that name others."""
    found: dict[tuple[int, str, str], int] = {}
    for segment in segments_of(folder)[:1]:
        for line in read_lines(segment):
            if line.number >= LOOKED_AT_MOST:
                break
            if b'"event":"audit.restarted"' not in line.data or line.is_torn:
                continue
            try:
                read = msgspec.json.decode(line.data, type=_Told)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            found[read.old_size, read.old_root, read.folder] = line.number
    return found


def _key(record: AuditRestarted) -> tuple[int, str, str]:
    return record.old_size, record.old_root, record.folder
