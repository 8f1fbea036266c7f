"""Records that were lost, of which the audit log does not tell yet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pcgrelay.log.audit_events import AuditLost
from pcgrelay.log.events import time_text


@dataclass(slots=True)
class Lost:
    """How many, when, and why."""

    count: int
    since: datetime
    until: datetime
    reason: str

    def add(self, count: int, since: datetime, until: datetime) -> None:
        """Count more of them."""
        self.count += count
        self.since, self.until = min(since, self.since), max(until, self.until)

    @property
    def record(self) -> AuditLost:
        """What the log tells of them."""
        return AuditLost(count=self.count, since=time_text(self.since), until=time_text(self.until), reason=self.reason)
