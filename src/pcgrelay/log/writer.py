"""Records as lines on standard error, one write for each: JSON for programs, or text for people.

If the sink does not accept a line (a full disk, a reader that is gone or stuck), the line is lost and counted; once
lines are accepted again, the log reports how many are missing. Nothing here blocks.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from datetime import datetime
from typing import Protocol, TextIO

import msgspec
from msgspec import structs

from pcgrelay.clock import SYSTEM_CLOCK, Clock
from pcgrelay.log.ended import EndedAlike
from pcgrelay.log.events import LEVELS, HandshakeRefused, LaneDown, LinkDown, LogLost, Record, time_text
from pcgrelay.log.journal import PRIORITIES, is_journal
from pcgrelay.log.text import text_line
from pcgrelay.log.throttle import BOUNDED_BY, Throttle, owner_of
from pcgrelay.printable import json_bytes, json_printable

STANDARD_ERROR = 2
# For lines that others cause: this many of one kind and peer at once, and one more in each interval.
LINES_AT_ONCE = 60
LINE_INTERVAL_MS = 1_000
KEYS_MOST = 8_192
# How long somebody who must not act before a record is kept waits for the disk.
KEEP_S = 1.0


def level_of(record: Record) -> str:
    """Return the level of this line: what somebody wanted, or a check whether a port is open, is no warning."""
    match record:
        case HandshakeRefused(untried=True) | LinkDown(wanted=True) | LaneDown(wanted=True):
            return "info"
    return record.LEVEL


def text_of(record: Record, now: datetime, suppressed: int = 0) -> str:
    """Format one line for people, as line_of does for programs."""
    fields = msgspec.to_builtins(record)
    if suppressed:
        fields["suppressed"] = fields.get("suppressed", 0) + suppressed
    return text_line(time_text(now), level_of(record), record.EVENT, fields)


def line_of(record: Record, now: datetime, suppressed: int = 0) -> str:
    """Format one line of the log, without its end. suppressed: number of similar lines left out before it."""
    head: dict[str, object] = {
        "ts": time_text(now),
        "level": level_of(record),
        "event": record.EVENT,
    }
    if suppressed:
        if hasattr(record, "suppressed"):
            record = structs.replace(record, suppressed=record.suppressed + suppressed)
        else:
            head["suppressed"] = suppressed
    fields, text = json_bytes(record), json_bytes(head)
    return json_printable((text if fields == b"{}" else text[:-1] + b"," + fields[1:]).decode())


class StandardError:
    """Standard error without a buffer, where an unwritten line would stay and corrupt the next one."""

    def __init__(self) -> None:
        self._torn = False  # the last write ended within a line
        self.takes_priorities = is_journal(STANDARD_ERROR)
        self._ready = select.poll()
        self._ready.register(STANDARD_ERROR, select.POLLOUT)

    def write(self, text: str) -> None:
        """Write a whole line, or raise OSError."""
        # A pipe that reports ready accepts a line without blocking; a file always does.
        if not self._ready.poll(0):
            raise BlockingIOError
        data = ("\n" if self._torn else "").encode() + text.encode()
        written = os.write(STANDARD_ERROR, data)
        if written < len(data):
            self._torn = written > 0 or self._torn
            raise OSError
        self._torn = False

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""


class AuditSink(Protocol):
    """Where audited records go besides: the audit log."""

    def emit(self, record: Record, policy: str) -> bool:
        """Queue a record; return whether there was room. Never blocks, never raises."""

    def emit_ended(self, ended: EndedAlike, policy: str) -> None:
        """Queue the records of streams that ended alike. Never blocks, never raises."""

    async def settle(self, seconds: float) -> bool:
        """Wait until all that was queued is on the disk; return whether it is."""


class Log:
    """Destination of records. A sink that fails is tolerated: the log never stops the node."""

    def __init__(self, level: str = "info", sink: TextIO | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._least = LEVELS.index(level)
        self._sink: TextIO | StandardError = sink or StandardError()
        self._line: Callable[[Record, datetime, int], str] = line_of
        self._clock = clock
        self._throttle = Throttle(LINE_INTERVAL_MS, KEYS_MOST, at_once=LINES_AT_ONCE)
        self.audit: AuditSink | None = None  # none: there is no audit log
        self.policy = ""  # the short digest of the approved policy that holds; none: there are no approvals
        self.lost_total = 0
        self._told_total = 0  # how many of these the log itself has reported

    def set_level(self, level: str) -> None:
        """Leave out records below this level from now on."""
        self._least = LEVELS.index(level)

    def set_format(self, name: str) -> None:
        """Write "json" or "text" from now on."""
        self._line = text_of if name == "text" else line_of

    def sink_changed(self) -> None:
        """Look at standard error again: it was replaced by that of another process."""
        if isinstance(self._sink, StandardError):
            self._sink.takes_priorities = is_journal(STANDARD_ERROR)

    def emit(self, record: Record) -> None:
        """Write a record here and, if it is audited, to the audit log."""
        self.emit_audit(record)
        self.tell(record)

    def emit_audit(self, record: Record) -> None:
        """Write a record to the audit log alone, if there is one and the record is audited."""
        self._audit(record)

    def audit_ended(self, ended: EndedAlike) -> None:
        """Write records of streams that ended alike to the audit log, if there is one."""
        if self.audit is not None:
            self.audit.emit_ended(ended, self.policy)

    def _audit(self, record: Record) -> bool:
        return not record.AUDIT or self.audit is None or self.audit.emit(record, self.policy)

    def tell(self, record: Record) -> None:
        """Write a record here alone, unless its level is too low or its kind is throttled."""
        if LEVELS.index(level_of(record)) < self._least:
            return
        suppressed = self._left_out_before(record)
        if suppressed is None:
            return
        try:
            if self.is_failing:
                self._write(LogLost(count=self.lost_total - self._told_total))
                self._told_total = self.lost_total
            self._write(record, suppressed)
        except (OSError, ValueError):
            self.lost_total += 1

    async def keep(self, record: Record) -> bool:
        """Write a record that promises something. Return whether the audit log has it on the disk, if there is one.

        It waits for KEEP_S at most: a disk that fails stops no decision, and the audit log tells what it lost.
        """
        has_room = self._audit(record)
        self.tell(record)
        return self.audit is None or (await self.audit.settle(KEEP_S) and has_room)

    def _left_out_before(self, record: Record) -> int | None:
        """Return how many similar lines were left out since the last, or None if this one is left out too."""
        fields = BOUNDED_BY.get(record.EVENT)
        if fields is None:
            return 0
        key = " ".join([record.EVENT, *(str(getattr(record, field)) for field in fields)])
        return self._throttle.admit(key, self._clock.monotonic_ms(), owner_of(record))

    @property
    def is_failing(self) -> bool:
        """Whether the last line was lost."""
        return self.lost_total > self._told_total

    def _write(self, record: Record, suppressed: int = 0) -> None:
        priority = PRIORITIES[level_of(record)] if getattr(self._sink, "takes_priorities", False) else ""
        self._sink.write(f"{priority}{self._line(record, self._clock.wall(), suppressed)}\n")
        self._sink.flush()
