"""What services carried, by organisation: counted at the end of a stream, bounded, and handed over."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from pcgrelay.dataplane.events import DoneSums, StreamEnd, StreamsDone
from pcgrelay.figures import BUCKETS, Durations
from pcgrelay.handover.traffic import TrafficHandover
from pcgrelay.messages import Code
from pcgrelay.model import ServiceName
from pcgrelay.policy.rules import RULE_NONE
from pcgrelay.services import traffic as module
from pcgrelay.services.counts import StreamCounts
from pcgrelay.services.traffic import OTHER, UNKNOWN, Row, Traffic

KENT, MET = "kent.police.example", "met.police.example"
CUSTODY = ServiceName("custody", KENT)


def end(*, opener: bool = False, code: int = 0, cause: str = "done", carried: int = 10, first_us: int = 0) -> StreamEnd:
    return StreamEnd(
        opener, 0, 1, b"custody", carried, 2 * carried, 5_000, code, cause, RULE_NONE, False, first_us=first_us
    )


def test_each_pair_has_a_row() -> None:
    traffic = Traffic()
    traffic.count(end(), CUSTODY, MET)
    traffic.count(end(carried=1), CUSTODY, MET)
    traffic.count(end(), CUSTODY, KENT)
    row = traffic.rows["export", str(CUSTODY), MET]
    assert (row.streams, row.sent_bytes, row.received_bytes, row.refused.total()) == (2, 11, 22, 0)
    assert len(traffic.rows) == 2
    assert traffic.times["export", str(CUSTODY)].life.counts[(5_000).bit_length()] == 3


def test_a_refusal_has_its_reason_and_no_bytes() -> None:
    traffic = Traffic()
    traffic.count(end(code=Code.LIMIT, cause="limit", carried=0), CUSTODY, MET)
    row = traffic.rows["export", str(CUSTODY), MET]
    assert (row.streams, dict(row.refused)) == (0, {"limit": 1})
    assert traffic.times == {}


def test_datagrams_are_counted_and_handed_over() -> None:
    traffic, dropped = Traffic(), (0, 4, 0, 0, 0, 0, 0, 0)
    ended = msgspec.structs.replace(
        end(cause="done"), protocol="udp", sent_datagrams=5, received_datagrams=7, dropped=dropped
    )
    traffic.count(ended, CUSTODY, MET)
    traffic.count(ended, CUSTODY, MET)
    heir = Traffic()
    heir.restore(msgspec.convert(msgspec.to_builtins(traffic.to_handover()), TrafficHandover))
    row = heir.rows["export", str(CUSTODY), MET]
    assert (row.streams, row.sent_datagrams, row.received_datagrams, dict(row.dropped)) == (2, 10, 14, {"age": 8})
    older = {"direction": "export", "service": str(CUSTODY), "organisation": KENT, "streams": 3}
    heir.restore(msgspec.convert({"rows": [older]}, TrafficHandover))
    assert heir.rows["export", str(CUSTODY), KENT].sent_datagrams == 0


def test_what_nobody_offers_is_one_service_whatever_it_was_called() -> None:
    traffic = Traffic()
    traffic.count(end(code=Code.UNKNOWN, cause="unknown-service", carried=0), None, MET)
    traffic.count(end(code=Code.UNKNOWN, cause="unknown-service", carried=0), None, "")
    assert [key[1:] for key in traffic.rows] == [(UNKNOWN, MET), (UNKNOWN, OTHER)]


def test_the_first_byte_is_that_of_an_import() -> None:
    traffic = Traffic()
    traffic.count(end(opener=True, first_us=300), CUSTODY, KENT)
    traffic.count(end(opener=True), CUSTODY, KENT)
    first = traffic.times["import", str(CUSTODY)].first_byte
    assert (sum(first.counts), first.counts[9], first.sum_us) == (1, 1, 300)


def test_many_that_were_done_are_counted_as_if_each_had_been_told() -> None:
    one, many = Traffic(), Traffic()
    lives, firsts = Durations(), Durations()
    for us in (0, 1, 700, 1 << 45):
        one.count(StreamEnd(True, 0, 1, b"x", 3, 4, us, 0, "done", RULE_NONE, False, first_us=us // 2), CUSTODY, KENT)
        lives.add(us)
        if us // 2:
            firsts.add(us // 2)
    sums = DoneSums(12, 16, lives.sum_us, firsts.sum_us, tuple(lives.counts), tuple(firsts.counts))
    many.count_done(StreamsDone(True, 0, 1, 4, 0, sums), CUSTODY, KENT)
    assert msgspec.to_builtins(one.to_handover()) == msgspec.to_builtins(many.to_handover())


def test_datagrams_of_many_are_counted_as_if_each_had_been_told() -> None:
    one, many = Traffic(), Traffic()
    for dropped in ((1, 0, 0, 0, 0, 2, 0, 0), (0, 3, 0, 0, 0, 1, 0, 0)):
        end = StreamEnd(True, 0, 1, b"x", 3, 4, 0, 0, "done", RULE_NONE, False, protocol="udp")
        one.count(replace(end, sent_datagrams=5, received_datagrams=6, dropped=dropped), CUSTODY, KENT)
    lives = Durations()
    lives.add(0)
    lives.add(0)
    sums = DoneSums(6, 8, 0, 0, tuple(lives.counts), (0,) * BUCKETS, 10, 12, (1, 3, 0, 0, 0, 3, 0, 0))
    many.count_done(StreamsDone(True, 0, 1, 2, 0, sums, protocol="udp"), CUSTODY, KENT)
    assert msgspec.to_builtins(one.to_handover()) == msgspec.to_builtins(many.to_handover())


@pytest.mark.parametrize("is_answered", [True, False])
@pytest.mark.parametrize("remote", [True, False])
def test_many_that_made_room_are_counted_as_if_each_had_been_told(is_answered: bool, remote: bool) -> None:
    one, many, one_count, many_count = Traffic(), Traffic(), StreamCounts(), StreamCounts()
    cause = "far-reset" if remote else "limit"
    for _ in range(3):
        end = StreamEnd(True, 0, 1, b"x", 3, 4 * is_answered, 0, Code.LIMIT, cause, RULE_NONE, remote, protocol="udp")
        end = replace(end, sent_datagrams=1, received_datagrams=int(is_answered))
        one.count(end, CUSTODY, KENT)
        one_count.count(end)
    lives = (3, *(0,) * (BUCKETS - 1))
    sums = DoneSums(9, 12 * is_answered, 0, 0, lives, (0,) * BUCKETS, 3, 3 * is_answered, (0,) * 8)
    ended = {"code": Code.LIMIT, "cause": cause, "remote": remote, "answered": is_answered}
    done = StreamsDone(True, 0, 1, 3, 0, sums, protocol="udp", **ended)
    many.count_done(done, CUSTODY, KENT)
    many_count.count_done(done)
    assert msgspec.to_builtins(one.to_handover()) == msgspec.to_builtins(many.to_handover())
    assert one_count == many_count


def test_further_organisations_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_MOST", 3)
    traffic = Traffic()
    for number in range(9):
        traffic.count(end(), CUSTODY, f"force-{number}.police.example")
    assert len(traffic.rows) == 4
    assert traffic.rows["export", str(CUSTODY), OTHER].streams == 6


def test_what_is_gone_from_the_configuration_is_gone_here() -> None:
    traffic = Traffic()
    traffic.count(end(), CUSTODY, MET)
    traffic.count(end(opener=True), CUSTODY, KENT)
    traffic.count(end(), None, MET)
    traffic.keep("export", [])
    assert [key[:2] for key in traffic.rows] == [("import", str(CUSTODY)), ("export", UNKNOWN)]
    assert ("export", str(CUSTODY)) not in traffic.times


def test_it_is_handed_over_and_counted_on() -> None:
    before, after = Traffic(), Traffic()
    before.count(end(opener=True, first_us=300), CUSTODY, KENT)
    before.count(end(code=Code.LIMIT, cause="limit", carried=0), CUSTODY, MET)
    record = msgspec.msgpack.decode(msgspec.msgpack.encode(before.to_handover()), type=TrafficHandover)
    after.restore(record)
    assert msgspec.to_builtins(after.to_handover()) == msgspec.to_builtins(before.to_handover())
    after.count(end(opener=True, first_us=300), CUSTODY, KENT)
    assert after.rows["import", str(CUSTODY), KENT].streams == 2
    assert isinstance(after.rows["export", str(CUSTODY), MET], Row)


def test_durations_of_another_shape_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match=f"{BUCKETS} counts"):
        msgspec.msgpack.decode(msgspec.msgpack.encode({"counts": [1, 2], "sum_us": 3}), type=Durations)
