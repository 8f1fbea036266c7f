"""What lies beside a log and is not of it: ends that were torn, and logs before it; and which of these goes next.

Old logs are evidence, as segments are, and go when all of their records are older than they must be kept. Torn ends
were never signed; the newest of them are kept. What goes is on record, and signed, before it goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec import Struct

from pcgrelay.audit.checkpoint import base64_text
from pcgrelay.audit.history import history_bytes, read_last
from pcgrelay.audit.recovery import TORN, newest_head
from pcgrelay.audit.restarting import MOMENT, OLD, OLD_NAME, read_pending
from pcgrelay.audit.retention import began
from pcgrelay.audit.segments import FOLDER, segments_of
from pcgrelay.errors import PcgrelayError
from pcgrelay.log.audit_events import AuditRemoved
from pcgrelay.log.events import time_text

TORN_MOST = 16
TORN_MOST_BYTES = 64 << 20
# How the name of an old log begins that is being removed.
GONE = ".gone-"
MOMENT_CHARACTERS = len("2026-11-03T021407Z")


class Leftover(Struct, frozen=True):
    """Something that is to go, and the record of that."""

    path: Path
    record: AuditRemoved


def find_torn(folder: Path) -> Leftover | None:
    """Return the oldest torn end, if there are too many; nothing: all stay. OSError: as `stat`."""
    found = _torn(folder)
    if len(found) <= TORN_MOST and sum(each[1] for each in found) <= TORN_MOST_BYTES:
        return None
    return _leftover(found[0])


def find_old_torn(folder: Path, now: datetime, keep_days: int) -> Leftover | None:
    """Return the oldest torn end, if its records are older than they must be kept; nothing: it stays, or none is."""
    found = _torn(folder)
    is_old = found and found[0][0] < (now - timedelta(days=keep_days)).timestamp()
    return _leftover(found[0]) if is_old else None


def find_old_log(folder: Path, now: datetime, keep_days: int) -> Leftover | None:
    """Return the oldest log before this one, if it is older than it must be kept; nothing: none is.

    OSError, PcgrelayError: the folders cannot be read, or it is not known what is to be named still.
    """
    named = {Path(each.folder).name for each in read_pending(folder).records}
    oldest = time_text(now - timedelta(days=keep_days))
    for path in sorted(_old_logs(folder)):
        if path.name not in named and (ended := _ended(path, folder, now)) and ended < oldest:
            return Leftover(path, _record(path))
    return None


def gone(folder: Path) -> Iterator[Path]:
    """The old logs whose removal had begun."""
    return folder.glob(f"{GONE}{OLD}*")


def _torn(folder: Path) -> list[tuple[float, int, Path]]:
    """When each was moved aside, its bytes, and where it is; the oldest first."""
    found = ((path.stat(), path) for path in (folder / FOLDER).glob(f"*{TORN}"))
    return sorted((status.st_mtime, status.st_size, path) for status, path in found)


def _leftover(torn: tuple[float, int, Path]) -> Leftover:
    _, size_bytes, path = torn
    return Leftover(path, AuditRemoved(what="torn", file=f"{FOLDER}/{path.name}", size_bytes=size_bytes))


def _old_logs(folder: Path) -> Iterator[Path]:
    for path in folder.glob(f"{OLD}*"):
        if OLD_NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            yield path


def _ended(path: Path, folder: Path, now: datetime) -> str:
    """When an old log ended, at the latest; empty: nobody knows.

    The clock may have been wrong then: a time that is to come says nothing, and of the others the last one counts.
    """
    times = []
    with suppress(ValueError):
        moved = datetime.strptime(f"{path.name[len(OLD) :][:MOMENT_CHARACTERS]}+0000", f"{MOMENT}%z")
        times.append(time_text(moved.astimezone(UTC)))
    with suppress(PcgrelayError):
        if (last := read_last(path, history_bytes(path))) is not None:
            times.append(last.ts)
    if known := [each for each in times if each <= time_text(now)]:
        return max(known)
    # It had ended before this one began.
    segments = segments_of(folder)
    return began(segments[0]) if segments else ""


def _record(path: Path) -> AuditRemoved:
    try:
        head, _ = newest_head(path)
    except PcgrelayError:
        head = None
    return AuditRemoved(
        what="log",
        file=path.name,
        size_bytes=sum(each.path.stat().st_size for each in segments_of(path)),
        count=0 if head is None else head.checkpoint.size,
        root="" if head is None else base64_text(head.checkpoint.root),
    )
