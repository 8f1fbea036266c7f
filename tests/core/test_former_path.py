"""Datagrams that come late by the path that a session has left: they alone are taken, once, and for a moment."""

from __future__ import annotations

import pytest

from tests.reference.flows import forged
from tests.reference.frames import FlowFrame, Type, body_encode
from tests.reference.records import record_datagram, record_open, records_encode
from tests.support.reference_peer import LINK, SESSION, Peer

OTHER, OTHER_OUT = 0x3333, 0x4444
# Of a stream that is not there: it opens, and counts as a datagram of no stream.
DATAGRAM = record_datagram(1, 0, b"x").encode()
IGNORED, UNKNOWN_FLOWS, LATE, REPLAYED = 22, 19, 30, 31
NOBODY = 0


def moved(*, link: int = LINK) -> tuple[Peer, int, list[FlowFrame]]:
    """The core after it has changed its path; the label of the path before, and frames that were sent by it."""
    peer = Peer()
    before = peer.end.label_out
    late = [peer.end.flow.datagrams_frame(DATAGRAM) for _ in range(4)]
    peer.edge.session_path(SESSION, link=link, in_label=OTHER, out_label=OTHER_OUT)
    peer.end.label_in, peer.end.label_out = OTHER_OUT, OTHER
    if link == LINK:
        peer.end.flow.path_lost(peer.now)
        peer.end.flow.path_ready()
        peer.settle()
        assert peer.end.is_up
    peer.arrivals.clear()
    return peer, before, late


def over(peer: Peer, label: int, frame: FlowFrame) -> None:
    peer.end.lane.send_flow(label, frame, peer.now)
    peer.settle()


def test_datagrams_that_come_late_are_taken_once() -> None:
    peer, before, late = moved()
    for frame in (late[2], late[0], late[2]):
        over(peer, before, frame)
    over(peer, OTHER, late[1])
    assert (peer.edge.counted(IGNORED), peer.edge.counted(REPLAYED)) == (3, 1)
    assert (peer.edge.counted(UNKNOWN_FLOWS), peer.edge.refused()) == (0, {})
    assert peer.arrivals == []


def test_after_a_moment_they_are_of_a_path_that_nobody_knows() -> None:
    peer, before, late = moved()
    peer.wait(0.999)
    over(peer, before, late[0])
    peer.wait(0.001)
    over(peer, before, late[1])
    assert (peer.edge.counted(IGNORED), peer.edge.counted(UNKNOWN_FLOWS)) == (1, 1)
    assert peer.edge.has_session(SESSION)


@pytest.mark.parametrize("kind", [Type.BUNDLE, Type.ACK, Type.RESUME, Type.FLOW_PADDING])
def test_nothing_else_is_taken_there(kind: Type) -> None:
    peer, before, _ = moved()
    expected = peer.edge.flow(SESSION)["next_expected"]
    if kind is Type.BUNDLE:
        peer.end.flow.send_bundle(records_encode([record_open(1, "s", 65_536)]), peer.now)
    elif kind is Type.FLOW_PADDING:
        peer.end.flow.send_volatile(kind, b"")
    elif kind is Type.ACK:
        peer.end.flow.send_volatile(kind, body_encode(kind, next_number=1))
    else:
        peer.end.flow.send_volatile(kind, body_encode(kind, resume_id=99, next_number=peer.end.flow.expected))
    over(peer, before, peer.end.flow.out.pop())
    assert peer.edge.counted(UNKNOWN_FLOWS) == 1
    assert [arrival.type for arrival in peer.arrivals] == [Type.LOST]
    assert peer.edge.led_by(SESSION) == OTHER
    assert peer.edge.flow(SESSION)["next_expected"] == expected


def test_one_that_does_not_open_ends_it_and_nothing_else() -> None:
    peer, before, late = moved()
    over(peer, before, forged(late[0], sealed=late[0].sealed[:-1] + bytes([late[0].sealed[-1] ^ 1])))
    assert peer.edge.has_session(SESSION)
    assert sum(peer.edge.refused().values()) == 1
    over(peer, before, late[1])
    assert (peer.edge.counted(IGNORED), peer.edge.counted(UNKNOWN_FLOWS)) == (0, 1)
    over(peer, OTHER, late[2])
    assert peer.edge.counted(IGNORED) == 1


def test_a_path_that_was_left_for_what_it_may_not_carry_is_none() -> None:
    peer = Peer()
    before = peer.end.label_out
    late = peer.end.flow.datagrams_frame(DATAGRAM)
    peer.edge.session_path(SESSION, link=NOBODY, in_label=before, out_label=peer.end.label_in)
    peer.edge.session_path(SESSION, link=LINK, in_label=OTHER, out_label=OTHER_OUT)
    over(peer, before, late)
    assert (peer.edge.counted(IGNORED), peer.edge.counted(UNKNOWN_FLOWS)) == (0, 1)


def test_when_what_paths_may_carry_has_changed_nothing_late_is_taken() -> None:
    peer, before, late = moved()
    peer.edge.session_candidate_drop(SESSION, 0)
    over(peer, before, late[0])
    assert (peer.edge.counted(IGNORED), peer.edge.counted(UNKNOWN_FLOWS)) == (0, 1)


def test_only_the_last_one_counts_and_its_label_is_free_with_the_session() -> None:
    peer, before, late = moved()
    peer.edge.session_path(SESSION, link=LINK, in_label=0x5555, out_label=OTHER_OUT)
    over(peer, before, late[0])
    assert (peer.edge.counted(IGNORED), peer.edge.counted(UNKNOWN_FLOWS)) == (0, 1)
    over(peer, OTHER, late[1])
    assert peer.edge.counted(IGNORED) == 1
    # Back to a former one: its label is that of the path, and no other's.
    peer.edge.session_path(SESSION, link=LINK, in_label=OTHER, out_label=OTHER_OUT)
    over(peer, OTHER, late[2])
    over(peer, 0x5555, late[3])
    assert peer.edge.counted(IGNORED) == 3
    peer.edge.session_close(SESSION, 0)
    over(peer, 0x5555, late[0])
    assert not peer.edge.has_session(SESSION)
