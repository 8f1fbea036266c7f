"""A bound on records that others can cause in any number. What is left out is counted in the next record of its kind.

As for lines of the log (`log.throttle`), but nothing stays untold: a minute later at the latest, the last record of a
kind that was left out is written with the number of the others. An organisation that has its part of the keys shares
one for each kind from then on, so that the others' records are written as before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pcgrelay.audit.lines import Queued
from pcgrelay.log.audit_events import AuditLeftOut
from pcgrelay.log.events import Record
from pcgrelay.log.throttle import BOUNDED_BY, Owned, owner_of
from pcgrelay.net.ratelimit import TokenBucket

AT_ONCE = 60
EACH_SECOND = 1.0
KEYS_MOST = 8_192


@dataclass(slots=True)
class _Kind:
    """The records of one kind and peer."""

    bucket: TokenBucket
    owner: str  # the organisation that causes them
    count: int = 0  # left out since the last that was written
    last: Queued | None = None  # of these


class Bounds:
    """Which records are written."""

    def __init__(self, keys_most: int = KEYS_MOST) -> None:
        self._keys_most = keys_most
        self._kinds: dict[tuple[str, ...], _Kind] = {}
        self._owned = Owned()
        self._others = 0  # left out, of more kinds than are counted apart

    def admit(self, record: Record, moment: datetime, policy: str, now_ms: int) -> Queued | None:
        """Return what is to be written for a record; nothing: it is left out for now."""
        fields = BOUNDED_BY.get(record.EVENT)
        if fields is None:
            return Queued(record, moment, policy)
        key = (record.EVENT, *(str(getattr(record, field)) for field in fields))
        owner = owner_of(record)
        if key not in self._kinds and self._owned.is_full(owner):
            key = (record.EVENT, f"*.{owner}")
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= self._keys_most:
                self._others += 1
                return None
            kind = self._kinds[key] = _Kind(TokenBucket(AT_ONCE, EACH_SECOND, now_ms), owner)
            self._owned.add(owner)
        if not kind.bucket.spend(now_ms):
            kind.count += 1
            kind.last = Queued(record, moment, policy)
            return None
        queued = Queued(record, moment, policy, kind.count)
        kind.count, kind.last = 0, None
        return queued

    def left_out(self, moment: datetime, policy: str, now_ms: int) -> list[Queued]:
        """Return what tells of all that was left out up to now; kinds with their full allowance are forgotten."""
        told = []
        for key, kind in list(self._kinds.items()):
            if kind.last is not None:
                told.append(Queued(kind.last.record, kind.last.moment, kind.last.policy, kind.count - 1))
                kind.count, kind.last = 0, None
            elif kind.bucket.is_whole(now_ms):
                del self._kinds[key]
                self._owned.remove(kind.owner)
        if self._others:
            told.append(Queued(AuditLeftOut(count=self._others), moment, policy))
            self._others = 0
        return told
