"""DATAGRAMS between an edge of the core and the reference: both ways, late, replayed, over steps and lost lanes."""

from __future__ import annotations

import pytest

from tests.reference.flows import State
from tests.reference.frames import Type
from tests.reference.records import (
    Transport,
    record_accept,
    record_credit,
    record_data,
    record_datagram,
    record_fin,
    record_open,
    records_encode,
)
from tests.reference.refusals import Code
from tests.support.reference_peer import SESSION, Peer

DUPLICATES, IGNORED, UNKNOWN_FLOWS, LATE, REPLAYED = 14, 22, 19, 30, 31
DATAGRAM = record_datagram(1, 0, b"x").encode()


def heard(peer: Peer) -> list[bytes]:
    """What the reference has got, in order."""
    return [
        record.data[8:] for arrival in peer.arrivals if arrival.type is Type.DATAGRAMS for record in arrival.records
    ]


def say(peer: Peer, text: bytes) -> bool:
    said = peer.edge.datagrams(SESSION, record_datagram(1, 0, text).encode())
    peer.settle()
    return said


def test_the_core_sends_what_the_reference_opens() -> None:
    peer = Peer()
    retained = peer.edge.flow(SESSION)["retained_bytes"]
    body = records_encode([record_datagram(1, at, b"%d" % at) for at in range(3)])
    assert peer.edge.takes_datagrams(SESSION)
    assert peer.edge.datagrams(SESSION, body)
    peer.settle()
    assert say(peer, b"a large one" * 5_000)
    assert heard(peer) == [b"0", b"1", b"2", b"a large one" * 5_000]
    assert peer.edge.flow(SESSION)["retained_bytes"] == retained
    assert (peer.edge.flow(SESSION)["next_datagrams"], peer.end.flow.expected) == (2, 1)


def test_any_order_each_once_and_no_word_about_the_rest() -> None:
    peer = Peer()
    frames = [peer.end.flow.datagrams_frame(DATAGRAM) for _ in range(2_000)]
    before = len(peer.arrivals)
    for at in (3, 0, 1_500, 3, 1_000, 3, 476, 477, 477):
        peer.send_frame(frames[at])
    assert peer.edge.counted(IGNORED) == 5
    assert (peer.edge.counted(LATE), peer.edge.counted(REPLAYED)) == (3, 1)
    # Neither is a sign of a lost acknowledgement, or of anything: the sender hears nothing.
    assert len(peer.arrivals) == before
    assert (peer.edge.counted(DUPLICATES), peer.edge.refused()) == (0, {})


def test_the_core_steps_when_a_step_is_due_and_goes_on_with_the_old_key_until_it_is_acknowledged() -> None:
    peer = Peer()
    peer.edge.limits(2, 1 << 36, 120_000_000)
    for at in range(8):
        assert say(peer, b"%d" % at)
    assert heard(peer) == [b"%d" % at for at in range(8)]
    assert peer.end.flow.rx.number == 1
    # Only now does the reference say what it has got.
    peer.end.flow.send_ack()
    peer.settle()
    assert say(peer, b"after")
    assert heard(peer)[-1] == b"after"
    assert peer.end.flow.rx.number == peer.edge.flow(SESSION)["send_epoch"] == 2


def test_the_age_of_the_key_counts_from_a_datagram() -> None:
    peer = Peer()
    peer.edge.limits(1 << 22, 1 << 36, 1_000_000)
    assert say(peer, b"first")
    peer.end.flow.send_ack()
    peer.settle()
    peer.wait(1)
    assert say(peer, b"second")
    assert peer.end.flow.rx.number == 1
    assert heard(peer) == [b"first", b"second"]


def test_nothing_is_sent_without_a_lane_and_it_goes_on_with_the_next() -> None:
    peer = Peer()
    peer.lane.cut()
    assert not peer.edge.takes_datagrams(SESSION)
    assert not say(peer, b"lost")
    peer.new_lane(1)
    assert not peer.edge.takes_datagrams(SESSION)
    peer.confirm()
    assert peer.end.flow.state is State.UP
    assert say(peer, b"again")
    assert heard(peer) == [b"again"]
    assert peer.edge.has_session(SESSION)


def test_what_was_on_its_way_in_a_lost_lane_may_come_later_and_is_no_violation() -> None:
    peer = Peer()
    late = peer.end.flow.datagrams_frame(DATAGRAM)
    peer.lane.cut()
    peer.new_lane(1)
    peer.confirm()
    peer.end.flow.path_lost(peer.now)
    peer.end.flow.path_ready()
    peer.settle()
    peer.send_frame(late)
    assert peer.edge.counted(IGNORED) == 1
    assert peer.edge.has_session(SESSION)


def test_more_than_the_lane_takes_is_dropped() -> None:
    peer = Peer()
    sent = 0
    while peer.edge.datagrams(SESSION, record_datagram(1, 0, bytes(8_000)).encode()):
        sent += 1
        assert sent < 1_000
    assert 500_000 < sent * 8_064 < 600_000
    assert not peer.edge.takes_datagrams(SESSION)
    used = peer.edge.memory[0]
    for _ in range(100):
        assert not peer.edge.datagrams(SESSION, record_datagram(1, 0, bytes(8_000)).encode())
    assert peer.edge.memory[0] == used
    peer.settle()
    assert len(heard(peer)) == sent
    assert peer.edge.takes_datagrams(SESSION)


def test_no_lost_for_a_label_that_nobody_gave() -> None:
    peer = Peer()
    before = len(peer.arrivals)
    peer.end.lane.send_flow(0x3333, peer.end.flow.datagrams_frame(DATAGRAM), peer.now)
    peer.settle()
    assert len(peer.arrivals) == before
    assert peer.edge.counted(UNKNOWN_FLOWS) == 1


# -- streams of datagrams, of which this version serves none ----------------------------------------------------------


def test_an_open_of_datagrams_for_a_service_of_streams_is_refused() -> None:
    peer = Peer()
    peer.send(record_open(1, "s", 0, transport=Transport.DATAGRAM))
    (reset,) = [record for record in peer.records() if record.kind.name == "RESET"]
    assert (reset.stream, reset.fields["code"]) == (1, Code.REFUSED)
    peer.end.flow.send_datagrams(DATAGRAM)
    peer.settle()
    assert peer.edge.counted(IGNORED) == 1
    assert peer.edge.has_session(SESSION)
    assert peer.edge.flow(SESSION)["streams"] == 0


@pytest.mark.parametrize("limit", [1, 65_536])
def test_an_open_of_datagrams_with_a_limit_is_a_violation(limit: int) -> None:
    peer = Peer()
    peer.end.flow.send_bundle(record_open(1, "s", limit, transport=Transport.DATAGRAM).encode(), peer.now)
    peer.settle()
    assert peer.edge.refused() == {"BAD_CREDIT": 1}


@pytest.mark.parametrize("record", [record_data(1, b"x"), record_fin(1, 0), record_credit(1, 0), record_accept(1, 0)])
def test_after_its_refusal_whatever_comes_for_it_is_late(record: object) -> None:
    peer = Peer()
    peer.be_blind()
    opened = record_open(1, "s", 0, transport=Transport.DATAGRAM).encode()
    peer.send_body(opened + record.encode())  # type: ignore[attr-defined]
    assert peer.edge.refused() == {}
    assert peer.edge.has_session(SESSION)
