"""Lines for associations that made room for others: their number does not make more of them."""

from __future__ import annotations

from msgspec import structs

from pcgrelay.dataplane.events import DoneSums, StreamsDone
from pcgrelay.log.events import Record
from pcgrelay.log.stream_events import StreamEnd, StreamsEvicted
from pcgrelay.services.evictions import KINDS_MOST, Evictions

DONE = StreamsDone(True, 0, 1, 3, 0, DoneSums(sent_bytes=30, sent_datagrams=3, dropped=(0, 2)), protocol="udp")
RECORD = StreamEnd(
    id="", started="", from_organisation="met.example", to_organisation="kent.example", service="dns@kent.example",
    direction="import", session=1, sent_bytes=0, received_bytes=0, duration_ms=0.0, suite="", group="", code="DONE",
    cause="done", protocol="udp",
)  # fmt: skip


def emitted(evictions: Evictions) -> list[StreamsEvicted]:
    found: list[Record] = []
    evictions.emit(found.append)
    return [record for record in found if isinstance(record, StreamsEvicted)]


def test_alike_ones_are_one_line_and_it_is_written_once() -> None:
    evictions = Evictions()
    for _ in range(4):
        evictions.add(DONE, RECORD, "LIMIT")
    (line,) = emitted(evictions)
    assert (line.streams, line.sent_bytes, line.sent_datagrams, line.dropped) == (12, 120, 12, {"age": 8})
    assert (line.service, line.from_organisation, line.session, line.code) == (
        "dns@kent.example", "met.example", 1, "LIMIT",
    )  # fmt: skip
    assert emitted(evictions) == []


def test_more_kinds_than_there_may_be_share_a_line_that_names_none() -> None:
    evictions = Evictions()
    for session in range(KINDS_MOST + 100):
        evictions.add(DONE, structs.replace(RECORD, session=session + 1), "LIMIT")
    lines = emitted(evictions)
    assert len(lines) == KINDS_MOST + 1
    assert sum(line.streams for line in lines) == 3 * (KINDS_MOST + 100)
    assert [line.streams for line in lines if not line.service] == [300]
