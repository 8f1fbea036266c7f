"""Records of streams that ended alike: the core's lines are those of the one encoder."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import zip_longest
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pcgrelay.audit.audit_log import AuditLog
from pcgrelay.audit.ended import EPOCH, QueuedEnded, parts_of
from pcgrelay.audit.lines import BODY_MOST_BYTES, Queued, body_of, line_of, number_is
from pcgrelay.audit.totals import Totals
from pcgrelay.audit.write_queue import WriteQueue
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.config import AuditSettings
from pcgrelay.dataplane.adapter import end_bodies
from pcgrelay.dataplane.events import DROP_CAUSES
from pcgrelay.log.ended import EndedAlike
from pcgrelay.log.events import NodeDrainUndone, time_text
from pcgrelay.log.stream_events import StreamEnd
from pcgrelay.services.datagrams import dropped_by_cause
from pcgrelay.services.stream_ids import stream_id
from tests.support.waiting import until_async as until
from tests.support.written_logs import NODE, Endorser, check_log

DETAILS = struct.Struct("=QQQQQIIII9IBBBx")
ALIKE = StreamEnd(
    id="",
    started="",
    from_organisation="met.police.example",
    to_organisation="kent.police.example",
    service="custody@kent.police.example",
    direction="import",
    session=7,
    sent_bytes=0,
    received_bytes=0,
    duration_ms=0.0,
    suite="AES-256-GCM",
    group="X25519MLKEM768",
    code="done",
    cause="done",
)
NOON = datetime.fromisoformat("2026-11-03T12:00:00Z")

numbers = st.integers(0, 2**63 - 1)
words = st.integers(0, 2**32 - 1)
# A stream was opened after 1970, and ends before the year 10000.
moments = st.integers(10**15, 253_402_300_799_999_999).map(lambda us: EPOCH + timedelta(microseconds=us))
lives_us = st.integers(0, 10**15)
# Whatever a rule may be called, and what looks like the names that are looked for.
texts = st.text(max_size=40) | st.sampled_from(
    ['"id":"', '","started":"', '"sent_bytes":0,"received_bytes":0,"duration_ms":0.0', ',"outlet":', "\x1b[2J", "\\"]
)
details = st.tuples(numbers, numbers, lives_us, words, words, words, words, st.integers(0, 255), st.booleans())
# Datagrams sent, received, and dropped by cause; none: it was no association.
some = st.just(0) | words
datagrams = st.none() | st.tuples(st.just(0) | numbers, st.just(0) | numbers, st.tuples(*[some] * len(DROP_CAUSES)))
Datagrams = tuple[int, int, tuple[int, ...]]

QUEUE_MOST = 8_000


def pack(end: tuple[int, ...], of_datagrams: Datagrams | None = None) -> bytes:
    sent, received, dropped = of_datagrams or (0, 0, (0,) * len(DROP_CAUSES))
    return DETAILS.pack(*end[:3], sent, received, *end[3:7], *dropped, *end[7:], of_datagrams is not None)


def ended(
    record: StreamEnd,
    ends: list[tuple[int, ...]],
    id_head: int = 0,
    of_datagrams: Sequence[Datagrams | None] = (),
) -> EndedAlike:
    packed = b"".join(pack(*each) for each in zip_longest(ends, of_datagrams))

    def bodies(parts: tuple[bytes, ...], wall_us: int) -> list[bytes]:
        return end_bodies(parts, packed, wall_us, id_head, b"0badcafe-", 41)

    return EndedAlike(record, len(ends), sum(each[0] for each in ends), sum(each[1] for each in ends), bodies)


@given(
    st.lists(st.tuples(details, datagrams), max_size=5),
    moments,
    words,
    texts,
    texts,
    texts,
    st.none() | st.integers(0, 10**9),
    st.booleans(),
)
def test_each_line_is_that_of_its_record(
    ends: list[tuple[tuple[int, ...], Datagrams | None]],
    moment: datetime,
    id_head: int,
    rule_text: str,
    outlet: str,
    policy: str,
    rule: int | None,
    has_policy: bool,
) -> None:
    alike = replace(ALIKE, rule=rule, rule_text=rule_text, outlet=outlet)
    policy = policy if has_policy else ""
    expected, alone = [], 41
    for (sent, received, life_us, setup_us, head, flow, stream, moved, remote), of_datagrams in ends:
        if stream and (head or id_head):
            name = stream_id(head or id_head, flow, stream)
        else:
            name, alone = f"0badcafe-{alone}", alone + 1
        record = replace(
            alike,
            id=name,
            started=time_text(moment - timedelta(microseconds=life_us)),
            sent_bytes=sent,
            received_bytes=received,
            duration_ms=life_us / 1000,
            remote=bool(remote),
            setup_ms=setup_us / 1000 if outlet else None,
            moved=moved,
        )
        if of_datagrams is not None:
            out, into, dropped = of_datagrams
            by_cause = dropped_by_cause(dropped)
            record = replace(record, protocol="udp", sent_datagrams=out, received_datagrams=into, dropped=by_cause)
        expected.append(body_of(Queued(record, moment, policy)))
    plain, associations = [end for end, _ in ends], [each for _, each in ends]
    assert QueuedEnded(ended(alike, plain, id_head, associations), moment, policy).bodies() == expected


@given(st.integers(0, 253_402_300_799_999_999))
def test_the_time_is_that_of_the_calendar(us: int) -> None:
    (body,) = QueuedEnded(ended(ALIKE, [(0, 0, us, 0, 0, 0, 0, 0, 0)]), EPOCH + timedelta(microseconds=us), "").bodies()
    record = json.loads(line_of(0, body))
    assert record["ts"] == time_text(EPOCH + timedelta(microseconds=us))
    assert record["started"] == "1970-01-01T00:00:00.000Z"


def test_what_was_opened_before_1970_by_a_wrong_clock_was_opened_then() -> None:
    (body,) = QueuedEnded(ended(ALIKE, [(0, 0, 10**9, 0, 0, 0, 0, 0, 0)]), EPOCH, "").bodies()
    assert json.loads(line_of(0, body))["started"] == "1970-01-01T00:00:00.000Z"


def test_a_rule_whose_text_is_too_long_is_cut_and_the_line_fits() -> None:
    alike = replace(ALIKE, rule=1, rule_text="x" * 2 * BODY_MOST_BYTES)
    most = 2**64 - 1, 2**63, 2**62, 2**32 - 1, 2**32 - 1, 2**32 - 1, 2**32 - 1, 255, 1
    all_dropped = 2**64 - 1, 2**64 - 1, (2**32 - 1,) * len(DROP_CAUSES)
    (body,) = QueuedEnded(ended(alike, [most], 0, [all_dropped]), NOON, "7f3ac1000000").bodies()
    assert len(body) <= BODY_MOST_BYTES
    line = line_of(2**63 - 1, body)
    assert number_is(line, 2**63 - 1)
    assert json.loads(line)["cut"] is True
    assert json.loads(line)["sent_bytes"] == 2**64 - 1


def test_details_that_are_cut_off_and_parts_that_are_missing_are_refused() -> None:
    parts = parts_of(ALIKE, "")
    for wrong in ((parts, b"\0" * (DETAILS.size - 1), 0), (parts[1:], b"\0" * DETAILS.size, 0), (parts, b"", -1)):
        with pytest.raises(ValueError, match="no details of ends"):
            end_bodies(*wrong, 0, b"", 0)
    with pytest.raises(TypeError):
        end_bodies((*parts[1:], 7), b"", 0, 0, b"", 0)  # type: ignore[arg-type]


def test_a_queue_counts_records_and_keeps_their_order() -> None:
    queue = WriteQueue()
    first, request = Queued(NodeDrainUndone(node="kent-1"), NOON, ""), lambda: None
    alike = QueuedEnded(ended(ALIKE, [(each, 0, 0, 0, 0, 0, 0, 0, 0) for each in range(3)]), NOON, "")
    for item in (first, alike, request, first):
        queue.put(item)
    assert (queue.waiting, queue.queued, queue.is_request_next) == (5, 4, False)
    everything = list(queue.bodies())
    assert len(everything) == 5
    queue.restore([b"before"])
    assert queue.waiting == 6
    records = queue.take(128)
    assert (records[:2], queue.handled, queue.waiting) == ([b"before", first], 3, 1)
    assert records[2:] == everything[1:4]
    assert queue.take(128) == []
    assert queue.take_request() is request
    assert queue.take_request() is None
    assert queue.take(128) == [first]
    assert (queue.waiting, bool(queue)) == (0, False)


async def test_those_that_find_no_room_are_counted_each_and_others_are_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is real is eight times as many, and some hundred megabytes once they are read again.
    monkeypatch.setattr("pcgrelay.audit.audit_log.QUEUE_MOST", QUEUE_MOST)
    settings = AuditSettings(keep_days=400, kept_streams="all")
    log = AuditLog(tmp_path / "audit", NODE, settings, Endorser(), lambda record: None, SYSTEM_CLOCK)
    log.start()
    thousand = ended(ALIKE, [(each, 0, 0, 0, 0, 0, 0, 0, 0) for each in range(1_000)])
    assert await log.settle(5)
    with log._writer._files:
        for _ in range(2 * QUEUE_MOST // 1_000):
            log.emit_ended(thousand, "")
        figures = log.figures
        assert figures.lost > 0
        assert QUEUE_MOST <= figures.queue < QUEUE_MOST + 1_000
    await until(lambda: log.figures.queue == 0)
    log.emit_ended(thousand, "")
    assert await log.flush()
    records = check_log(log.folder)
    (told,) = [each for each in records if each["event"] == "audit.lost"]
    assert told["count"] == figures.lost
    taken = [each for each in records if each["event"] == "stream.end"]
    assert len(taken) + figures.lost == (2 * QUEUE_MOST // 1_000 + 1) * 1_000
    assert [each["sent_bytes"] for each in taken[:1_000]] == list(range(1_000))
    # Another process goes on with what was queued.
    log._writer.queue.put(QueuedEnded(thousand, NOON, ""))
    bodies = log.release()
    assert len(bodies) in (0, 1_000)
    heir = AuditLog(log.folder, NODE, settings, Endorser(), lambda record: None, SYSTEM_CLOCK)
    heir.restore(bodies)
    heir.start()
    assert await heir.flush()
    assert len([each for each in check_log(log.folder) if each["event"] == "stream.end"]) == len(taken) + 1_000
    await heir.stop()


def test_totals_count_them_as_they_count_each() -> None:
    alone, together = Totals(), Totals()
    ends = [(each, 2 * each, 0, 0, 0, 0, 0, 0, 0) for each in range(5)]
    for sent, received, *_ in ends:
        alone.add(replace(ALIKE, sent_bytes=sent, received_bytes=received), "7f3ac1000000")
    together.add_ended(ended(ALIKE, ends), "7f3ac1000000")
    assert alone.take(NOON) == together.take(NOON)


def test_totals_count_datagrams_as_they_count_each() -> None:
    alone, together = Totals(), Totals()
    record = replace(ALIKE, protocol="udp", sent_datagrams=2, received_datagrams=1, dropped={"age": 1, "queue": 3})
    for _ in range(5):
        alone.add(record, "7f3ac1000000")
    alike = replace(ended(record, [(0,) * 9] * 5), sent_datagrams=10, received_datagrams=5)
    together.add_ended(replace(alike, dropped={"age": 5, "queue": 15}), "7f3ac1000000")
    ((alone_record,), (together_record,)) = alone.take(NOON), together.take(NOON)
    assert alone_record == together_record
    told = json.loads(line_of(0, body_of(alone_record)))
    assert (told["sent_datagrams"], told["received_datagrams"]) == (10, 5)
    assert told["dropped"] == {"age": 5, "queue": 15}
