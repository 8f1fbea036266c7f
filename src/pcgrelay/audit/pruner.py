"""What goes from the folder of a log: old segments, heads of these, logs before it, and torn ends.

All of it is on record, and signed, before it goes. The thread that writes the log looks once an hour.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pcgrelay.audit.disk import Disk
from pcgrelay.audit.history import HISTORY
from pcgrelay.audit.leftovers import GONE, find_old_log, find_old_torn, find_torn, gone
from pcgrelay.audit.retention import find_old
from pcgrelay.audit.segments import segments_of
from pcgrelay.audit.store import LogStore
from pcgrelay.audit.thinning import DRAFT, GAIN_LEAST_BYTES, GAIN_PART, Thinning, bytes_before
from pcgrelay.errors import PcgrelayError
from pcgrelay.log.audit_events import AuditRemoved
from pcgrelay.log.events import Record

# Looks in a row at which a log before this one must be too old: it goes at once, and a clock may be wrong for a while.
OLD_LOOKS = 12
# Torn ends that go at one look: a process that ends again and again may leave many within an hour.
TORN_AT_ONCE = 64
FILES_AT_ONCE = 1_024  # of an old log, which has one for each 256 records


class Pruner:
    """What removes. Its methods raise OSError or PcgrelayError if it cannot be done; it is tried again in an hour."""

    def __init__(self, folder: Path, disk: Disk, on_record: Callable[[Record], bool]) -> None:
        """on_record: write a record of what is to go and sign it; whether that is done."""
        self._folder = folder
        self._disk = disk
        self._on_record = on_record
        self._thinning: Thinning | None = None
        self._old_looks = 0  # in a row at which a log before this one was too old
        self._gone: list[Path] = []  # old logs that are on record as removed
        self._thin_bytes = 0  # at the front of the history, of which no more can go

    @property
    def is_busy(self) -> bool:
        """Whether there is a `step` to do."""
        return self._thinning is not None or bool(self._gone)

    def open(self) -> None:
        """Remove what a process that ended has left, and torn ends that are too many."""
        (self._folder / DRAFT).unlink(missing_ok=True)
        self._gone = list(gone(self._folder))
        self._torn()

    def look(self, store: LogStore, now: datetime, keep_days: int) -> None:
        """Remove what is to go now."""
        self._torn()
        if (torn := find_old_torn(self._folder, now, keep_days)) is not None and self._on_record(torn.record):
            self._disk.remove(torn.path)
        self._segments(store, now, keep_days)
        self._old_log(now, keep_days)
        self._begin_thinning(store)

    def step(self, store: LogStore) -> None:
        """Go on with what takes longer."""
        if self._gone:
            self._remove_gone()
        thinning = self._thinning
        if thinning is None:
            return
        try:
            if not thinning.is_done:
                thinning.step()
            elif not thinning.dropped:
                self._end_thinning(thinning.head_bytes)
            elif self._on_record(AuditRemoved(what="heads", file=HISTORY, count=thinning.dropped)):
                store.replace_history(thinning)
                self._end_thinning(thinning.head_bytes)
            else:
                self.close()
        except (OSError, PcgrelayError):
            self.close()
            raise

    def _remove_gone(self) -> None:
        path = self._gone.pop()
        # What cannot be removed now is tried again by the next process.
        if not self._disk.remove_folder(path, FILES_AT_ONCE):
            self._gone.append(path)

    def close(self) -> None:
        """Leave off what is under way; may be called twice."""
        if self._thinning is not None:
            self._thinning.close()
            self._thinning = None
            with suppress(OSError):
                (self._folder / DRAFT).unlink(missing_ok=True)

    def _segments(self, store: LogStore, now: datetime, keep_days: int) -> None:
        old = find_old(self._folder, store.signed, now, keep_days)
        if old is None:
            return
        # Their hashes stay, and nobody could make them again.
        store.sync_tiles(old.record.last + 1)
        if self._on_record(old.record):
            for segment in old.segments:
                self._disk.remove(segment.path)

    def _old_log(self, now: datetime, keep_days: int) -> None:
        found = find_old_log(self._folder, now, keep_days)
        if found is None:
            self._old_looks = 0
            return
        self._old_looks += 1
        if self._old_looks >= OLD_LOOKS and self._on_record(found.record):
            self._old_looks = 0
            # Nobody examines half of it.
            aside = found.path.with_name(f"{GONE}{found.path.name}")
            self._disk.rename(found.path, aside)
            self._gone.append(aside)

    def _torn(self) -> None:
        for _ in range(TORN_AT_ONCE):
            found = find_torn(self._folder)
            if found is None or not self._on_record(found.record):
                break
            self._disk.remove(found.path)

    def _begin_thinning(self, store: LogStore) -> None:
        segments, size_bytes = segments_of(self._folder), store.history_bytes
        if self._thinning is not None or not segments or not segments[0].first:
            return
        before = bytes_before(self._folder, segments[0].first, size_bytes)
        if before - self._thin_bytes >= max(GAIN_LEAST_BYTES, size_bytes // GAIN_PART):
            self._thinning = Thinning(self._folder, segments[0].first, size_bytes, self._disk)

    def _end_thinning(self, thin_bytes: int) -> None:
        self._thin_bytes = thin_bytes
        self.close()
