"""Associations that made room for others, in the access log: one line a second for those that ended alike."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pcgrelay.dataplane.events import StreamsDone
from pcgrelay.log.events import Emit
from pcgrelay.log.stream_events import StreamEnd, StreamsEvicted
from pcgrelay.services.datagrams import dropped_by_cause

# In a second a service has few: one for each session, outlet and cause. What is beyond has a line that names none.
KINDS_MOST = 256


@dataclass(slots=True)
class _Sums:
    streams: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    sent_datagrams: int = 0
    received_datagrams: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


# What the associations of a line have in common: service, direction, from, to, session, outlet, code, cause, remote.
_Kind = tuple[str, str, str, str, int, str, str, str, bool]
_REST: _Kind = ("", "", "", "", 0, "", "", "", False)


class Evictions:
    """Those of one edge since the last line. `emit` is called once a second."""

    def __init__(self) -> None:
        self._sums: dict[_Kind, _Sums] = {}

    def add(self, event: StreamsDone, record: StreamEnd, code: str) -> None:
        """Count associations that the core told together. record: what their lines would have in common."""
        kind = (
            record.service,
            record.direction,
            record.from_organisation,
            record.to_organisation,
            record.session,
            record.outlet,
            code,
            event.cause,
            event.remote,
        )
        if kind not in self._sums and len(self._sums) >= KINDS_MOST:
            kind = _REST
        sums = self._sums.setdefault(kind, _Sums())
        sums.streams += event.count
        sums.sent_bytes += event.sums.sent_bytes
        sums.received_bytes += event.sums.received_bytes
        sums.sent_datagrams += event.sums.sent_datagrams
        sums.received_datagrams += event.sums.received_datagrams
        sums.dropped.update(dropped_by_cause(event.sums.dropped))

    def emit(self, emit: Emit) -> None:
        """Write a line for each kind, and begin anew."""
        kinds, self._sums = self._sums, {}
        for kind, sums in kinds.items():
            service, direction, from_organisation, to_organisation, session, outlet, code, cause, remote = kind
            emit(
                StreamsEvicted(
                    service=service,
                    direction=direction,
                    from_organisation=from_organisation,
                    to_organisation=to_organisation,
                    session=session,
                    outlet=outlet,
                    code=code,
                    cause=cause,
                    remote=remote,
                    streams=sums.streams,
                    sent_bytes=sums.sent_bytes,
                    received_bytes=sums.received_bytes,
                    sent_datagrams=sums.sent_datagrams,
                    received_datagrams=sums.received_datagrams,
                    dropped=dict(sums.dropped),
                )
            )
