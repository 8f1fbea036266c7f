"""What the core is told of services of datagrams."""

from __future__ import annotations

import ipaddress
from collections import Counter

import pytest

from pcgrelay.config import Address, ExportSettings, ImportSettings
from pcgrelay.config.settings import Limits
from pcgrelay.dataplane.events import DROP_CAUSES, StreamEnd
from pcgrelay.log.stream_events import StreamEnd as StreamEndRecord
from pcgrelay.log.stream_events import StreamRefused
from pcgrelay.messages import Code
from pcgrelay.model import Marking, ServiceName, Transport
from pcgrelay.policy.rules import RULE_NONE
from pcgrelay.services.counts import ServiceCounts, StreamCounts, emit_stream_end, service_handover
from pcgrelay.services.datagrams import (
    datagram_words,
    dropped_by_cause,
    export_datagrams,
    import_datagrams,
)
from pcgrelay.services.stream_ids import StreamIdentity

DNS = ServiceName("dns", "kent.police.example")


def export(port: int = 1812, transport: Transport = Transport.DATAGRAM, **limits: int) -> ExportSettings:
    return ExportSettings(
        service=DNS,
        target=Address("10.1.2.3", port, transport),
        allow=(),
        marking=Marking.OFFICIAL,
        connect_timeout_ms=1_000,
        wait_ms=200,
        limits=Limits(**limits),
    )


def entry(transport: Transport = Transport.DATAGRAM, sources: tuple[str, ...] = (), **limits: int) -> ImportSettings:
    return ImportSettings(
        service=DNS,
        listen=Address("127.0.0.1", 1812, transport),
        limits=Limits(**limits),
        prefixes=tuple(map(ipaddress.ip_network, sources)),
        wait_ms=50,
    )


def end(**changes: object) -> StreamEnd:
    values: dict[str, object] = {
        "opener": True, "number": 3, "session": 1, "service": b"dns", "bytes_sent": 90, "bytes_received": 400,
        "duration_us": 10_000, "code": Code.DONE, "cause": "done", "rule": RULE_NONE, "remote": False,
        "protocol": "udp", "sent_datagrams": 3, "received_datagrams": 2, "dropped": (0, 1, 0, 0, 0, 0, 0, 0, 0),
    }  # fmt: skip
    return StreamEnd(**{**values, **changes})  # type: ignore[arg-type]


def test_a_stream_has_none_of_it() -> None:
    assert export_datagrams(export(transport=Transport.STREAM)) is None
    assert import_datagrams(entry(transport=Transport.STREAM)) is None
    assert datagram_words(entry(transport=Transport.STREAM)) == ""


def test_rows_have_milliseconds_and_the_limits_in_force() -> None:
    assert export_datagrams(export()) == (120_000, 300_000, 200)
    assert export_datagrams(export(53)) == (10_000, 10_000, 200)
    assert export_datagrams(export(idle_s=30)) == (30_000, 30_000, 200)
    assert import_datagrams(entry()) == (120_000, 300_000, 50, 4_096, 256, 400, ())
    given = import_datagrams(entry(sources=("10.0.0.0/8", "2001:db8::/32"), streams=9, per_source=3, new_per_second=7))
    assert given == (120_000, 300_000, 50, 9, 3, 7, (("10.0.0.0", 8), ("2001:db8::", 32)))


def test_words_say_what_holds() -> None:
    words = datagram_words(entry(sources=("10.0.0.0/8",)))
    assert "after 120 s without a datagram; after 300 s if none was ever answered" in words
    assert "at most 4,096 associations, 256 of one source" in words
    assert words.endswith("from 10.0.0.0/8")
    assert datagram_words(entry()).endswith("from everybody")
    assert datagram_words(export(53)) == (
        "an association ends after 10 s without a datagram; what waited 200 ms is dropped"
    )
    assert datagram_words(export(53, rate_bytes=2 << 20)).endswith("; at most 2.0 MiB in a second each way")


def test_causes_are_in_the_order_of_the_core() -> None:
    known = len(DROP_CAUSES)
    by_cause = dict(zip(DROP_CAUSES[1:], range(1, known), strict=True))
    assert dropped_by_cause(tuple(range(known))) == by_cause
    assert dropped_by_cause(()) == {}
    assert dropped_by_cause(tuple(range(known + 1))) == by_cause  # of a newer core


def test_an_association_has_a_line_as_a_stream_and_says_what_it_is() -> None:
    said: list[object] = []
    emit_stream_end(said.append, end(), "met.police.example", None, DNS, (), StreamIdentity("1-2-3", ""))
    (record,) = said
    assert isinstance(record, StreamEndRecord)
    assert (record.protocol, record.sent_datagrams, record.received_datagrams) == ("udp", 3, 2)
    assert (record.dropped, record.cause, record.service) == ({"age": 1}, "done", "dns@kent.police.example")
    refused = end(code=Code.UNREACHABLE, cause="target-refused", bytes_received=0, received_datagrams=0)
    emit_stream_end(said.append, refused, "met.police.example", None, DNS, (), StreamIdentity("1-2-4", ""))
    assert isinstance(said[-1], StreamRefused)
    assert said[-1].protocol == "udp"


def test_a_service_counts_datagrams_and_hands_them_over() -> None:
    counts = StreamCounts()
    for _ in range(2):
        counts.count(end())
    # Dropped datagrams of an association that came to nothing count as well.
    counts.count(end(code=Code.UNREACHABLE, cause="x", bytes_received=0, received_datagrams=0))
    expected = ServiceCounts(2, 1, 9, 4, Counter(age=3))
    assert counts.imports[3] == expected
    heir = StreamCounts()
    heir.restore(counts.to_handover(), [service_handover(3, DNS, counts.imports)], [])
    assert heir.imports[3] == expected


@pytest.mark.parametrize("opener", [False, True])
def test_a_stream_says_nothing_of_datagrams(opener: bool) -> None:
    said: list[object] = []
    stream = StreamEnd(opener, 3, 1, b"dns", 1, 1, 9, 0, "done", RULE_NONE, False)
    emit_stream_end(said.append, stream, "met.police.example", None, DNS, (), StreamIdentity("1", ""))
    (record,) = said
    assert isinstance(record, StreamEndRecord)
    assert (record.protocol, record.sent_datagrams, record.dropped) == ("tcp", 0, {})
