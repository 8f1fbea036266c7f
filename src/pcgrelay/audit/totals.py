"""Streams of a minute by service, peer and outlet, where the audit log has no record for each.

If another policy comes into force within the minute, there is a line for each of both.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from pcgrelay.audit.lines import Queued
from pcgrelay.log.audit_events import StreamTotals
from pcgrelay.log.ended import EndedAlike
from pcgrelay.log.stream_events import StreamEnd, StreamRefused

Key = tuple[str, str, str, str, str, str, int | None]  # the policy, whose, by what, and the rule

KINDS_MOST = 4_096
OTHERS = ("others", "", "", "", "", None)  # all beyond that


@dataclass(slots=True)
class _Total:
    streams: int = 0
    refused: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    rule_text: str = ""
    sent_datagrams: int = 0
    received_datagrams: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # by cause


class Totals:
    """What streams were, since it was last asked."""

    def __init__(self) -> None:
        self._totals: dict[Key, _Total] = {}

    def add(self, record: StreamEnd | StreamRefused, policy: str) -> None:
        """Count a stream. policy: the short digest of the approved policy that holds."""
        total = self._total(record, policy)
        if isinstance(record, StreamRefused):
            total.refused += 1
        else:
            total.streams += 1
            total.rule_text = record.rule_text
            total.sent_bytes += record.sent_bytes
            total.received_bytes += record.received_bytes
            total.sent_datagrams += record.sent_datagrams
            total.received_datagrams += record.received_datagrams
            total.dropped.update(record.dropped)

    def add_ended(self, ended: EndedAlike, policy: str) -> None:
        """Count streams that ended alike."""
        total = self._total(ended.record, policy)
        total.streams += ended.count
        total.rule_text = ended.record.rule_text
        total.sent_bytes += ended.sent_bytes
        total.received_bytes += ended.received_bytes
        total.sent_datagrams += ended.sent_datagrams
        total.received_datagrams += ended.received_datagrams
        total.dropped.update(ended.dropped)

    def _total(self, record: StreamEnd | StreamRefused, policy: str) -> _Total:
        whose = (record.service, record.from_organisation, record.to_organisation)
        key: Key = (policy, *whose, record.direction, record.outlet, record.rule)
        if key not in self._totals and len(self._totals) >= KINDS_MOST:
            key = (policy, *OTHERS)
        return self._totals.setdefault(key, _Total())

    def take(self, moment: datetime) -> list[Queued]:
        """Return the totals as records of this moment, and begin anew."""
        taken, self._totals = self._totals, {}
        return [
            Queued(
                StreamTotals(
                    service=service,
                    from_organisation=from_organisation,
                    to_organisation=to_organisation,
                    direction=direction,
                    outlet=outlet,
                    rule=rule,
                    rule_text=total.rule_text,
                    streams=total.streams,
                    refused=total.refused,
                    sent_bytes=total.sent_bytes,
                    received_bytes=total.received_bytes,
                    sent_datagrams=total.sent_datagrams,
                    received_datagrams=total.received_datagrams,
                    dropped=dict(total.dropped),
                ),
                moment,
                policy,
            )
            for (policy, service, from_organisation, to_organisation, direction, outlet, rule), total in taken.items()
        ]
