"""A path that may become a session's: the far edge alone makes it one, by speaking over it."""

from __future__ import annotations

import pytest

from tests.native.probe import LinkKeys
from tests.native.probe_edge import Edge
from tests.reference.flows import forged
from tests.reference.frames import FlowFrame, Type, body_encode
from tests.reference.records import record_data, record_open
from tests.reference.refusals import Code
from tests.support.reference_peer import LINK, SESSION, Peer
from tests.support.vectors import Json, load, octets, suite_of

OTHER, OTHER_OUT = 0x3333, 0x4444


def with_candidate(link: int = LINK, *, start: bool = True) -> Peer:
    """The core is the responder, and has a second path."""
    peer = Peer(start=start)
    assert peer.edge.session_candidate(SESSION, link=link, in_label=OTHER, out_label=OTHER_OUT)
    peer.arrivals.clear()
    return peer


def resume_of(peer: Peer, resume_id: int | None = None) -> FlowFrame:
    """The RESUME of the far edge, not yet on its way."""
    flow = peer.end.flow
    if resume_id is None:
        flow.path_lost(peer.now)
        flow.path_ready()
    else:
        flow.send_volatile(Type.RESUME, body_encode(Type.RESUME, resume_id=resume_id, next_number=flow.expected))
    return flow.out.pop()


def over(peer: Peer, frame: FlowFrame, label: int = OTHER) -> None:
    """A flow frame under that label, and all that follows of it."""
    peer.end.lane.send_flow(label, frame, peer.now)
    peer.settle()


def answers(peer: Peer) -> list[Type]:
    """What has come since the last time."""
    types, peer.arrivals = [arrival.type for arrival in peer.arrivals], []
    return types


def ping(peer: Peer) -> FlowFrame:
    peer.end.flow.send_volatile(Type.FLOW_PADDING, b"")
    return peer.end.flow.out.pop()


def test_a_resume_moves_the_session_and_what_was_sent_goes_on() -> None:
    peer = with_candidate()
    peer.send(record_open(1, "s", 1 << 20), record_data(1, b"before "))
    frame = resume_of(peer)
    peer.end.label_in, peer.end.label_out = OTHER_OUT, OTHER
    over(peer, frame)
    assert peer.end.is_up
    assert Type.RESUME in answers(peer)
    peer.send(record_data(1, b"after"))
    (application,) = peer.edge.answered
    assert bytes(application.received) == b"before after"
    assert peer.edge.flow(SESSION)["state"] == "UP"


def test_the_old_path_is_none_any_more_once_the_session_has_moved() -> None:
    peer = with_candidate()
    old = peer.end.label_out
    frame = resume_of(peer)
    peer.end.label_in, peer.end.label_out = OTHER_OUT, OTHER
    over(peer, frame)
    answers(peer)
    over(peer, ping(peer), old)
    assert answers(peer) == [Type.LOST]


@pytest.mark.parametrize("kind", [Type.ACK, Type.FLOW_CLOSE, Type.FLOW_PADDING, Type.BUNDLE, Type.FLOW_REKEY])
def test_nothing_else_moves_it(kind: Type) -> None:
    peer = with_candidate()
    flow = peer.end.flow
    if kind is Type.BUNDLE:
        flow.send_bundle(b"\0\0\0\0\x08\0\0\0", peer.now)
    elif kind is Type.FLOW_REKEY:
        flow.rekey(now=peer.now)
    else:
        fields = {Type.ACK: {"next_number": 1}, Type.FLOW_CLOSE: {"code": Code.DONE}}.get(kind)
        flow.send_volatile(kind, b"" if fields is None else body_encode(kind, **fields))
    over(peer, flow.out.pop())
    assert answers(peer) == []
    assert peer.edge.flow(SESSION)["state"] == "UP"
    # It still stands by: a RESUME does.
    frame = resume_of(peer)
    peer.end.label_in, peer.end.label_out = OTHER_OUT, OTHER
    over(peer, frame)
    assert peer.end.is_up


@pytest.mark.parametrize("resume_id", [0, 1])
def test_a_resume_that_is_no_news_moves_nothing(resume_id: int) -> None:
    """One with an id that was had already: a relay may have kept it back."""
    peer = with_candidate()
    peer.end.flow.path_lost(peer.now)
    peer.end.flow.path_ready()
    peer.settle()
    assert peer.end.flow.resume_id == 1
    answers(peer)
    over(peer, resume_of(peer, resume_id))
    assert answers(peer) == []
    peer.end.send_records(record_open(1, "s", 1 << 20), record_data(1, b"here"))
    peer.settle()
    assert bytes(peer.edge.answered[0].received) == b"here"


def test_who_has_no_key_ends_its_candidate_and_nothing_else() -> None:
    peer = with_candidate()
    frame = resume_of(peer)
    over(peer, forged(frame, sealed=frame.sealed[:-1] + bytes([frame.sealed[-1] ^ 1])))
    assert answers(peer) == []
    assert peer.edge.flow(SESSION)["state"] == "UP"
    over(peer, frame)
    assert answers(peer) == [Type.LOST]
    over(peer, frame, peer.end.label_out)
    assert peer.end.is_up


def test_a_resume_that_was_taken_is_not_taken_again() -> None:
    peer = with_candidate()
    frame = resume_of(peer)
    over(peer, frame, peer.end.label_out)
    answers(peer)
    over(peer, frame)
    assert peer.end.is_up
    peer.send(record_open(1, "s", 1 << 20), record_data(1, b"here"))
    assert bytes(peer.edge.answered[0].received) == b"here"


def test_a_candidate_is_of_its_own_link() -> None:
    peer = with_candidate(LINK + 1)
    over(peer, resume_of(peer))
    assert Type.LOST in answers(peer)
    assert peer.edge.flow(SESSION)["state"] == "UP"


def test_a_session_that_starts_is_confirmed_over_a_candidate() -> None:
    peer = with_candidate(start=False)
    peer.confirm()
    peer.end.flow.start()
    frame = peer.end.flow.out.pop()
    peer.end.label_in, peer.end.label_out = OTHER_OUT, OTHER
    over(peer, frame)
    assert peer.end.is_up
    assert peer.edge.flow(SESSION)["state"] == "UP"


def test_places_are_few_and_come_back() -> None:
    peer = with_candidate()
    labels = [0x100, 0x101, 0x102, 0x103]
    assert [peer.edge.session_candidate(SESSION, link=LINK, in_label=label, out_label=1) for label in labels] == [
        True, True, True, False,
    ]  # fmt: skip
    peer.edge.session_candidate_drop(SESSION, OTHER)
    peer.edge.session_candidate_drop(SESSION, OTHER)
    peer.edge.session_candidate_drop(SESSION, 0x999)
    assert peer.edge.session_candidate(SESSION, link=LINK, in_label=0x103, out_label=1)
    peer.edge.session_close(SESSION, 0)


def test_an_order_that_comes_late_takes_no_newer_path_away() -> None:
    peer = with_candidate()
    first = peer.end.given.responder_label
    frame = resume_of(peer)
    peer.end.label_in, peer.end.label_out = OTHER_OUT, OTHER
    over(peer, frame)
    for label in (OTHER, 0x777):
        peer.edge.session_path(SESSION, link=LINK, in_label=label, out_label=1, instead=first)
    peer.send(record_open(1, "s", 1 << 20), record_data(1, b"here"))
    assert bytes(peer.edge.answered[0].received) == b"here"


def test_many_moves_in_a_minute_end_the_session_and_many_requests_do_not() -> None:
    peer = with_candidate()
    for label in range(1_000, 1_200):
        peer.edge.session_candidate_drop(SESSION, OTHER if label == 1_000 else label - 1)
        assert peer.edge.session_candidate(SESSION, link=LINK, in_label=label, out_label=OTHER_OUT)
    assert peer.edge.flow(SESSION)["state"] == "UP"
    assert peer.end.flow.resume_id == 0


# -- candidates.json --------------------------------------------------------------------------------------------------

GIVEN_HERE = load("candidates")


@pytest.mark.parametrize("case", GIVEN_HERE["cases"], ids=lambda case: case["what"])
def test_frames_of_the_vectors_move_it_or_do_not(case: Json) -> None:
    edge = Edge()
    suite = suite_of(GIVEN_HERE["suite"])
    keys = LinkKeys(octets(GIVEN_HERE["link_secret"]), bytes(16), 1)
    keys.dial(0)
    edge.link_add(LINK, suite=suite, dialler=False, lanes=1, binding=octets(GIVEN_HERE["link_binding"]))
    secrets = {name: octets(GIVEN_HERE[f"session_{name}"]) for name in ("secret", "binding")}
    edge.session_add(SESSION, suite=suite, initiator=False, flows=1, cap=1 << 20, **secrets)
    path = {"in_label": GIVEN_HERE["responder_label"], "out_label": GIVEN_HERE["initiator_label"]}
    edge.session_path(SESSION, link=LINK, **path)
    edge.publish([(0, b"s")], [], [(SESSION, 0)])
    edge.connects = False
    second = {"in_label": GIVEN_HERE["candidate_label"], "out_label": GIVEN_HERE["candidate_out_label"]}
    assert edge.session_candidate(SESSION, link=LINK, **second)
    lane = edge.lane_start(LINK, index=0, number=0, secret=keys.take(0))
    for step in case["before"]:
        lane.feed(octets(step["wire"]))
    for step in case["frames"]:
        lane.feed(octets(step["wire"]))
        flow = edge.flow(SESSION)
        assert (flow["resume_id"], flow["next_expected"]) == (step["resume_id"], step["next_expected"])
        assert edge.led_by(SESSION) == (second if step["moves"] else path)["in_label"]
        assert edge.candidates(SESSION) == ([second["in_label"]] if step["is_candidate"] else [])
