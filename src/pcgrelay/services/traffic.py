"""What the services of an edge carried, by service and the organisation at the far side, for the metrics.

A stream is counted when it ends: its bytes, its life, and for an import the time from the connection to the first byte
of the far side. Organisations are those that certificates have proved. There is one row for each pair that had a
stream, ROWS_MOST in all; further organisations are counted together as OTHER, so that no member grows the table without
end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pcgrelay.dataplane.events import StreamEnd, StreamsDone
from pcgrelay.figures import Durations
from pcgrelay.handover.traffic import TrafficHandover, TrafficRowHandover
from pcgrelay.model import ServiceName
from pcgrelay.services.counts import reason_of, was_refused
from pcgrelay.services.datagrams import dropped_by_cause

ROWS_MOST = 4_096
OTHER = "other"
UNKNOWN = "unknown"  # of streams to a service that this edge does not export, whatever they named
Key = tuple[str, str, str]  # direction, service, organisation


@dataclass(slots=True)
class Row:
    """The streams of one service with one organisation, since the first process."""

    streams: int = 0
    sent_bytes: int = 0  # towards the far edge
    received_bytes: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # by reason
    sent_datagrams: int = 0
    received_datagrams: int = 0
    dropped: Counter[str] = field(default_factory=Counter)  # datagrams, by cause
    changes: int = 0  # so that a view knows whether it has to be written anew


@dataclass(slots=True)
class Times:
    """How long the streams of one service took."""

    life: Durations = field(default_factory=Durations)
    first_byte: Durations = field(default_factory=Durations)  # of an import
    changes: int = 0


class Traffic:
    """The traffic of all services of an edge."""

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}
        self.times: dict[tuple[str, str], Times] = {}

    def count(self, event: StreamEnd, service: ServiceName | None, organisation: str) -> None:
        """Count the end of a stream. organisation: of the far edge, as its certificate says; empty: nobody's."""
        direction, name = _direction(event.opener), str(service) if service else UNKNOWN
        row = self._row((direction, name, organisation or OTHER))
        row.changes += 1
        row.sent_datagrams += event.sent_datagrams
        row.received_datagrams += event.received_datagrams
        row.dropped.update(dropped_by_cause(event.dropped))
        if was_refused(event):
            row.refused[reason_of(event)] += 1
            return
        row.streams += 1
        row.sent_bytes += event.bytes_sent
        row.received_bytes += event.bytes_received
        times = self._times(direction, name)
        times.changes += 1
        times.life.add(event.duration_us)
        if event.first_us:
            times.first_byte.add(event.first_us)

    def count_done(self, event: StreamsDone, service: ServiceName | None, organisation: str) -> None:
        """Count many that were done, or that made room for others."""
        direction, name = _direction(event.opener), str(service) if service else UNKNOWN
        row = self._row((direction, name, organisation or OTHER))
        row.changes += 1
        row.sent_datagrams += event.sums.sent_datagrams
        row.received_datagrams += event.sums.received_datagrams
        row.dropped.update(dropped_by_cause(event.sums.dropped))
        if was_refused(event):
            row.refused[reason_of(event)] += event.count
            return
        row.streams += event.count
        row.sent_bytes += event.sums.sent_bytes
        row.received_bytes += event.sums.received_bytes
        times = self._times(direction, name)
        times.changes += 1
        times.life.add_all(event.sums.lives, event.sums.life_us)
        times.first_byte.add_all(event.sums.firsts, event.sums.first_us)

    def keep(self, direction: str, services: Iterable[ServiceName]) -> None:
        """Forget the services of a direction that are no longer there."""
        names = {UNKNOWN, *map(str, services)}
        for key in [key for key in self.rows if key[0] == direction and key[1] not in names]:
            del self.rows[key]
        for pair in [pair for pair in self.times if pair[0] == direction and pair[1] not in names]:
            del self.times[pair]

    def _row(self, key: Key) -> Row:
        row = self.rows.get(key)
        if row is None:
            if len(self.rows) >= ROWS_MOST:
                key = (*key[:2], OTHER)
            row = self.rows.setdefault(key, Row())
        return row

    def _times(self, direction: str, name: str) -> Times:
        return self.times.setdefault((direction, name), Times())

    # -- a hand-over -------------------------------------------------------------------------------------------

    def to_handover(self) -> TrafficHandover:
        """Return all of it for the new process."""
        return TrafficHandover(
            rows=tuple(_rows_handover(self.rows)),
            times=tuple((*pair, times.life, times.first_byte) for pair, times in self.times.items()),
        )

    def restore(self, handover: TrafficHandover) -> None:
        """Count on from where the previous process was."""
        for each in handover.rows:
            row = Row(each.streams, each.sent_bytes, each.received_bytes, Counter(each.refused))
            row.sent_datagrams, row.received_datagrams = each.sent_datagrams, each.received_datagrams
            row.dropped = Counter(each.dropped)
            self.rows[each.direction, each.service, each.organisation] = row
        for direction, service, life, first_byte in handover.times:
            self.times[direction, service] = Times(life, first_byte)


def _rows_handover(rows: dict[Key, Row]) -> Iterator[TrafficRowHandover]:
    for (direction, service, organisation), row in rows.items():
        yield TrafficRowHandover(
            direction=direction,
            service=service,
            organisation=organisation,
            streams=row.streams,
            sent_bytes=row.sent_bytes,
            received_bytes=row.received_bytes,
            refused=dict(row.refused),
            sent_datagrams=row.sent_datagrams,
            received_datagrams=row.received_datagrams,
            dropped=dict(row.dropped),
        )


def _direction(opener: bool) -> str:
    return "import" if opener else "export"
