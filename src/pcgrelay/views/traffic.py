"""The metrics of what an edge's services carried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from pcgrelay.admin.families import PREFIX
from pcgrelay.admin.traffic_text import (
    FIRST_BYTE_BITS,
    LIFE_BITS,
    Family,
    RowsText,
    histogram_lines,
    labels_of,
)
from pcgrelay.figures import Durations
from pcgrelay.services.traffic import Key, Row, Times, Traffic

PAIRS = (
    Family("service_streams_total", "counter", "Streams that have ended, other than refused ones."),
    Family("service_sent_bytes_total", "counter", "Bytes towards the far edge, of streams that have ended."),
    Family("service_received_bytes_total", "counter", "Bytes from the far edge, of the same."),
    Family("service_refused_total", "counter", "Streams that were refused, by reason."),
    Family("service_sent_datagrams_total", "counter", "Datagrams towards the far edge, of streams that have ended."),
    Family("service_received_datagrams_total", "counter", "Datagrams from the far edge, of the same."),
    Family("service_dropped_datagrams_total", "counter", "Datagrams of these that were dropped here, by cause."),
)
TIMES = (
    Family("service_life_seconds", "histogram", "How long streams were open."),
    Family("service_first_byte_seconds", "histogram", "From an application's connection to the first byte for it."),
)
HANDSHAKES = Family("handshake_seconds", "histogram", "Handshakes that were completed, renewals included.")
ACTIVE = Family("service_streams_active", "gauge", "Streams that are open.")


def handshake_text(links: Durations, sessions: Durations) -> str:
    """Return the family of handshakes, which relays have too."""
    parts = [HANDSHAKES.head]
    for kind, each in (("link", links), ("session", sessions)):
        parts.append(histogram_lines(HANDSHAKES.name, labels_of(kind=kind), each.counts, each.sum_us, FIRST_BYTE_BITS))
    return "".join(parts)


def pair_lines(key: Key, row: Row) -> Sequence[str]:
    """Return the lines of one service with one organisation."""
    direction, service, organisation = key
    labels = labels_of(direction=direction, organisation=organisation, service=service)
    refused = [f'{PREFIX}service_refused_total{{{labels},reason="{why}"}} {n}\n' for why, n in row.refused.items()]
    return (
        f"{PREFIX}service_streams_total{{{labels}}} {row.streams}\n",
        f"{PREFIX}service_sent_bytes_total{{{labels}}} {row.sent_bytes}\n",
        f"{PREFIX}service_received_bytes_total{{{labels}}} {row.received_bytes}\n",
        "".join(refused),
        *_datagram_lines(labels, row),
    )


def _datagram_lines(labels: str, row: Row) -> Sequence[str]:
    if not (row.sent_datagrams or row.received_datagrams or row.dropped):
        return "", "", ""
    dropped = [
        f'{PREFIX}service_dropped_datagrams_total{{cause="{cause}",{labels}}} {n}\n' for cause, n in row.dropped.items()
    ]
    return (
        f"{PREFIX}service_sent_datagrams_total{{{labels}}} {row.sent_datagrams}\n",
        f"{PREFIX}service_received_datagrams_total{{{labels}}} {row.received_datagrams}\n",
        "".join(dropped),
    )


def times_lines(pair: tuple[str, str], times: Times) -> Sequence[str]:
    """Return the lines of one service."""
    labels = labels_of(direction=pair[0], service=pair[1])
    life, first = times.life, times.first_byte
    lives = histogram_lines("service_life_seconds", labels, life.counts, life.sum_us, LIFE_BITS)
    if pair[0] != "import":
        return lives, ""
    name = "service_first_byte_seconds"
    return lives, histogram_lines(name, labels, first.counts, first.sum_us, FIRST_BYTE_BITS)


class TrafficText:
    """The text of one edge's traffic; it keeps what has not changed since the last scrape."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._pairs = RowsText(PAIRS)
        self._times = RowsText(TIMES)

    def text(self, active: Mapping[tuple[str, str], int]) -> str:
        """Return all families. active: open streams by direction and service."""
        rows, times = self._traffic.rows, self._traffic.times
        parts = [
            self._pairs.text((key, row.changes, partial(pair_lines, key, row)) for key, row in rows.items()),
            self._times.text((pair, each.changes, partial(times_lines, pair, each)) for pair, each in times.items()),
            ACTIVE.head,
            *_active_lines(active),
        ]
        return "".join(parts)


def _active_lines(active: Mapping[tuple[str, str], int]) -> Iterator[str]:
    for (direction, service), count in active.items():
        yield f"{PREFIX}{ACTIVE.name}{{{labels_of(direction=direction, service=service)}}} {count}\n"
