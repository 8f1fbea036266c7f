"""What a log says of itself: its keys and those of its witnesses, what was lost or removed, what was before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec
from msgspec import Struct, structs

from pcgrelay.audit.report import BegunAgain, Hole
from pcgrelay.log.audit_events import (
    AuditKeys,
    AuditLost,
    AuditPruned,
    AuditRemoved,
    AuditRestarted,
    LogKeysRecord,
    WitnessKeys,
)

KEPT_MOST = 1_000
_EVENTS = (b'"event":"audit.', b'"event":"witness.keys"')


class KeysAt(Struct, frozen=True):
    """A record of keys, and when it was written."""

    ts: str
    keys: LogKeysRecord


class _Head(Struct, frozen=True):
    """What all lines have."""

    n: int = -1
    ts: str = ""
    event: str = ""


class Told:
    """What was read so far."""

    _KINDS: ClassVar = {
        kind.EVENT: kind for kind in (AuditKeys, WitnessKeys, AuditLost, AuditPruned, AuditRemoved, AuditRestarted)
    }

    def __init__(self, signed_size: int = 0) -> None:
        """signed_size: of how many records there is a head. What one behind it tells of a removal is not believed."""
        self._signed_size = signed_size
        self.keys: list[KeysAt] = []
        self.holes: list[Hole] = []
        self.holes_count = 0
        self.begun_again: BegunAgain | None = None
        self.pruned_until = 0  # records before this number are said to be removed, by one that is signed
        self.heads_removed = False  # one that is signed says so
        self.since = self.until = ""

    def add(self, lines: Sequence[bytes | None]) -> None:
        """Read what is of interest in a group of lines. A line that makes no sense is passed over."""
        there = [line for line in lines if line is not None]
        if not there:
            return
        self.since = self.since or time_of(there[0])
        self.until = time_of(there[-1]) or self.until
        # Most groups have nothing; one search of all of it is cheaper than 256.
        whole = b"\n".join(there)
        if any(event in whole for event in _EVENTS):
            for line in there:
                if any(event in line for event in _EVENTS):
                    self._add(line)

    def _add(self, line: bytes) -> None:
        try:
            head = msgspec.json.decode(line, type=_Head)
            if (kind := self._KINDS.get(head.event)) is None:
                return
            record = msgspec.json.decode(line, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if isinstance(record, LogKeysRecord):
            if len(self.keys) < KEPT_MOST:
                self.keys.append(KeysAt(head.ts, record))
        elif isinstance(record, AuditLost):
            self.holes_count += 1
            if len(self.holes) < KEPT_MOST:
                self.holes.append(Hole(head.n, record.count, record.since, record.until, record.reason))
        elif isinstance(record, AuditRestarted):
            self.begun_again = self.begun_again or BegunAgain(number=head.n, ts=head.ts, **structs.asdict(record))
        elif isinstance(record, AuditPruned) and head.n < self._signed_size:
            # A node signs it before it removes anything. Else whoever cuts the front off would add the record too.
            self.pruned_until = max(self.pruned_until, record.last + 1)
        elif isinstance(record, AuditRemoved) and head.n < self._signed_size:
            self.heads_removed = self.heads_removed or record.what == "heads"


def time_of(line: bytes) -> str:
    """The time of a record; empty: it has none."""
    try:
        return msgspec.json.decode(line, type=_Head).ts
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
