"""What a log says of itself before it goes on: its keys with the certificate of now, and the logs before it."""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from pcgrelay.audit.disk import Disk
from pcgrelay.audit.keys import Endorse
from pcgrelay.audit.restarting import CERTIFIED, OldLogs
from pcgrelay.audit.store import LogStore
from pcgrelay.errors import PcgrelayError
from pcgrelay.files import open_plain
from pcgrelay.log.audit_events import AuditKeys
from pcgrelay.log.events import Record

DIGEST_MOST_BYTES = 128


class Introduction:
    """The records that go before any other."""

    def __init__(self, folder: Path, endorse: Endorse, disk: Disk) -> None:
        self._folder = folder
        self._endorse = endorse
        self._disk = disk
        self._must_certify = True
        self._certified: tuple[str, int] | None = None  # the digest of a certificate, and the record of its keys
        self._old_logs = OldLogs(folder, disk)

    def open(self) -> None:
        """Begin, with the log that is there. ProofProblem, PcgrelayError, OSError: old logs cannot be named."""
        self._must_certify, self._certified = True, None
        self._old_logs.read()

    def certify(self) -> None:
        """Say the keys again, if the certificate is another."""
        self._must_certify = True

    def records(self, store: LogStore) -> list[Record]:
        """What is to be said now."""
        told = list[Record]()
        if store.size == 0 or self._must_certify:
            keys = store.keys.endorsed(self._endorse)
            known = self._certified[0] if self._certified is not None else self._has_certified()
            if store.size and _digest(keys) == known:
                self._must_certify = False
            else:
                told.append(keys)
        return [*told, *self._old_logs.due(store.size)]

    def written(self, record: Record, number: int) -> None:
        """A record was written as this one; it is not on the disk yet."""
        if isinstance(record, AuditKeys):
            self._must_certify, self._certified = False, (_digest(record), number)
        else:
            self._old_logs.written(record, number)

    def synced(self, size: int) -> None:
        """So many records are on the disk. If what is noted now is lost, the keys are said again."""
        if self._certified is not None and self._certified[1] < size:
            with suppress(OSError, PcgrelayError):
                self._disk.replace(self._folder / CERTIFIED, self._certified[0].encode())
            self._certified = None

    def undone(self) -> None:
        """Records that were written are not on the disk, and others get their numbers."""
        self._must_certify, self._certified = True, None
        with suppress(OSError):
            (self._folder / CERTIFIED).unlink()

    def signed(self, size: int) -> None:
        """So many records are signed."""
        with suppress(OSError):
            self._old_logs.signed(size)

    def _has_certified(self) -> str:
        try:
            with open_plain(self._folder / CERTIFIED) as source:
                return (source.read(DIGEST_MOST_BYTES) or b"").decode("ascii", "replace")
        except OSError:
            return ""


def _digest(keys: AuditKeys) -> str:
    return sha256(keys.certificates[0].encode()).hexdigest()
