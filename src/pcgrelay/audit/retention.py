"""Which records are older than they must be kept: whole segments, from the front. Tiles stay.

A clock that is wrong would make all of them old, so at each look, once an hour, only a small part of the segments
goes. What is to go is on record, and signed, before it goes: an examination takes nothing for removed by the node that
no signed record tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from msgspec import Struct

from pcgrelay.audit.lines import time_in
from pcgrelay.audit.segments import Segment, segments_of
from pcgrelay.files import open_plain
from pcgrelay.log.audit_events import AuditPruned
from pcgrelay.log.events import time_text

# At each look one of so many segments goes, at least one,
PART = 200
# or so many for each day that is kept: within an hour no more become old than twice that part.
PART_EACH_DAY = 12
LOOKED_AT_MOST = 10_000  # segments, each of which is opened


class Old(Struct, frozen=True):
    """Segments that are to go, and the record of that."""

    segments: tuple[Segment, ...]
    record: AuditPruned


def find_old(folder: Path, signed: int, now: datetime, keep_days: int) -> Old | None:
    """Return the segments that go at this look, if all their records are signed; nothing: none goes.

    folder: that of the log (STATE/audit). signed: the records of the newest signed head. OSError, PcgrelayError: the
    segments cannot be read.
    """
    segments = segments_of(folder)
    count = _old(segments, signed, now, keep_days)
    if not count:
        return None
    last = segments[count].first - 1
    return Old(segments[:count], AuditPruned(first=segments[0].first, last=last, segments=count))


def _old(segments: Sequence[Segment], signed: int, now: datetime, keep_days: int) -> int:
    """How many go. A segment is old if one after it had begun before the oldest day that is kept."""
    most = max(1, len(segments) // min(PART, PART_EACH_DAY * keep_days))
    present, oldest = time_text(now), time_text(now - timedelta(days=keep_days))
    count = 0
    for index, following in enumerate(segments[1 : LOOKED_AT_MOST + 1], 1):
        if following.first > signed or count >= most:
            break
        start = began(following)
        if not start or start > present:
            # By a clock that was wrong then, or is now; the one after it says more.
            continue
        if start >= oldest:
            break
        count = index
    return min(count, most)


def began(segment: Segment) -> str:
    """The time of the first record of a segment; empty: it has none. OSError: as `open`."""
    with open_plain(segment.path) as source:
        return time_in(source.readline(128))
