"""Removal of records that are older than they must be kept: whole segments, from the front. Tiles and heads stay.

A clock that is wrong would make all of them old. So at each look, once an hour, only a small part of the segments goes;
each removal is a record.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from pcgrelay.audit.disk import Disk
from pcgrelay.audit.lines import time_in
from pcgrelay.audit.segments import Segment, segments_of
from pcgrelay.log.audit_events import AuditPruned
from pcgrelay.log.events import time_text

# At each look one of so many segments goes, at least one: within a day all that became old on that day, and more.
PART = 200


def prune(folder: Path, signed: int, now: datetime, keep_days: int, disk: Disk) -> AuditPruned | None:
    """Remove old segments, if all their records are signed. OSError, PcgrelayError: they cannot be removed."""
    segments = segments_of(folder)
    oldest = time_text(now - timedelta(days=keep_days))
    old = []
    for segment, following in pairwise(segments):
        # What follows begins after the last record of this one.
        if following.first > signed or not (began := _began(following)) or began >= oldest:
            break
        old.append(segment)
    old = old[: max(1, len(segments) // PART)]
    if not old:
        return None
    last = segments[len(old)].first - 1
    for segment in old:
        disk.remove(segment.path)
    return AuditPruned(first=old[0].first, last=last, segments=len(old))


def _began(segment: Segment) -> str:
    with segment.path.open("rb") as source:
        return time_in(source.readline(128))
