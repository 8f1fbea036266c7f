"""Secrets of renewals enter the next step of lanes and flows, as the reference has it, and are forgotten after that."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pcgrelay._core.face import core as native
from tests.reference.frames import Type, body_encode
from tests.reference.lanes import State as LaneState
from tests.support.cores import CoreRealm
from tests.support.echo_exchange import echo_server, exchange
from tests.support.reference_peer import GIVEN, LINK, SESSION, Peer
from tests.support.renewed import renew_link, renew_session, until

LINK_SECRETS = {number: bytes([number]) * 32 for number in range(1, 5)}
SESSION_SECRETS = {number: bytes([0x80 + number]) * 32 for number in range(1, 5)}
MIXED = replace(GIVEN, link_renewals=tuple(LINK_SECRETS.items()), session_renewals=tuple(SESSION_SECRETS.items()))


def keep(peer: Peer, number: int) -> None:
    peer.edge.link_renew(LINK, number, LINK_SECRETS[number])
    peer.edge.session_renew(SESSION, number, SESSION_SECRETS[number])


def agree(peer: Peer, number: int) -> None:
    peer.edge.link_mix(LINK, number)
    peer.edge.session_mix(SESSION, number)
    peer.wait(1.0)
    peer.settle()


@pytest.mark.parametrize("is_initiator", [False, True])
def test_both_ends_mix_as_the_reference_does(is_initiator: bool) -> None:
    peer = Peer(is_initiator=is_initiator, given=MIXED)
    for number in (1, 2, 3):
        keep(peer, number)
        # The far side may be the first to know that both keep it.
        peer.end.lane.rekey(number)
        peer.end.flow.rekey(number)
        peer.settle()
        before = peer.lane.epochs
        assert before == (number - 1, number)
        agree(peer, number)
        assert peer.lane.epochs == (number, number)
        assert peer.end.lane.rx.number == number
        assert peer.end.flow.rx.number == number
        peer.end.flow.send_ack()
        peer.settle()
    flow = peer.edge.flow(SESSION)
    assert (flow["send_epoch"], flow["receive_epoch"]) == (3, 3)
    # Each is mixed in once; what follows are plain steps, and only when they are due.
    peer.wait(1.0)
    peer.settle()
    assert peer.lane.epochs == (3, 3)


def test_a_flow_has_stepped_once_no_step_is_under_way() -> None:
    peer = Peer(is_initiator=True, given=MIXED)

    def stepped() -> int:
        return peer.edge.session_stats(SESSION)["stepped"]

    for number in (1, 2):
        keep(peer, number)
        agree(peer, number)
        assert peer.end.flow.rx.number == number
        peer.end.flow.rekey(number)
        peer.settle()
        # The far edge's step has arrived; whether ours did, its acknowledgement shows.
        assert stepped() == number - 1
        peer.end.flow.send_ack()
        peer.settle()
        assert stepped() == number
    keep(peer, 3)
    agree(peer, 3)
    peer.end.flow.send_ack()
    peer.settle()
    # Here ours has arrived, and the far edge's has not.
    assert stepped() == 2


def test_a_responder_has_stepped_once_its_own_step_is_acknowledged() -> None:
    """The initiator may not have heard that both keep the renewal, and will never step with it."""
    peer = Peer(given=MIXED)
    for number in (1, 2):
        keep(peer, number)
        agree(peer, number)
        assert peer.end.flow.rx.number == number
        assert peer.edge.session_stats(SESSION)["stepped"] == number - 1
        peer.end.flow.send_ack()
        peer.settle()
        assert peer.edge.session_stats(SESSION)["stepped"] == number
    assert peer.edge.flow(SESSION)["receive_epoch"] == 0


def test_a_lane_has_stepped_once_no_step_is_under_way() -> None:
    peer = Peer(given=MIXED)

    def stepped() -> int:
        return peer.edge.link_stats(LINK)["stepped"]

    for number in (1, 2):
        keep(peer, number)
        agree(peer, number)
        peer.end.lane.rekey(number)
        peer.settle()
        assert peer.lane.epochs == (number, number)
        peer.wait(0.6)
        peer.settle()
        # A PING went out after the step, and was answered.
        assert stepped() == number
    peer.lane.cut()
    assert stepped() == 0


def test_the_answer_to_an_earlier_ping_does_not_show_that_a_step_arrived() -> None:
    peer = Peer(given=MIXED)
    keep(peer, 1)
    peer.end.lane.rekey(1)
    peer.settle()
    peer.wait(0.6)
    peer.edge.turn()
    peer.end.receive(peer.lane.take(), peer.now)
    pong = peer.end.take_out()
    assert pong
    peer.edge.link_mix(LINK, 1)
    # The next PING, which makes the lane step before it, has the token of the one that is out.
    peer.wait(0.6)
    peer.edge.turn()
    peer.end.receive(peer.lane.take(), peer.now)
    assert peer.lane.epochs == (1, 1)
    for wire in pong:
        peer.feed(wire)
    peer.settle()
    assert peer.edge.link_stats(LINK)["stepped"] == 0
    peer.wait(0.6)
    peer.settle()
    assert peer.edge.link_stats(LINK)["stepped"] == 1


def test_a_renewal_that_was_not_agreed_is_not_named() -> None:
    peer = Peer(given=MIXED)
    keep(peer, 1)
    peer.wait(1.0)
    peer.settle()
    assert peer.lane.epochs == (0, 0)
    assert peer.edge.flow(SESSION)["send_epoch"] == 0


def test_a_lane_that_is_opened_later_steps_right_after_it_is_up() -> None:
    peer = Peer(given=MIXED)
    keep(peer, 1)
    agree(peer, 1)
    peer.lane.cut()
    peer.new_lane(1)
    peer.confirm()
    peer.wait(0.05)
    peer.settle()
    assert peer.lane.epochs == (1, 0)
    assert peer.end.lane.rx.number == 1


def test_the_newest_and_the_one_before_are_taken_and_no_other() -> None:
    for named, reason in ((3, None), (2, None), (1, "UNKNOWN_MIX"), (4, "UNKNOWN_MIX")):
        peer = Peer(given=MIXED)
        for number in (1, 2, 3):
            keep(peer, number)
        peer.end.lane.rekey(named)
        peer.settle()
        assert (peer.lane.state, peer.lane.reason) == (("CLOSED", reason) if reason else ("UP", None)), named
        peer = Peer(given=MIXED)
        for number in (1, 2, 3):
            keep(peer, number)
        peer.end.flow.rekey(named)
        peer.settle()
        assert peer.edge.has_session(SESSION) is (reason is None), named
        assert peer.end.lane.state is LaneState.UP


def test_a_renewal_may_be_tried_again_until_it_is_agreed() -> None:
    peer = Peer(given=MIXED)
    peer.edge.link_renew(LINK, 1, b"?" * 32)
    keep(peer, 1)
    agree(peer, 1)
    # Too late: what both have agreed on is in use, and what is older is past.
    peer.edge.link_renew(LINK, 1, b"?" * 32)
    peer.end.lane.rekey(1)
    peer.settle()
    assert peer.lane.epochs == (1, 1)


def test_a_step_that_names_no_renewal_and_a_wrong_epoch_is_refused_for_the_epoch() -> None:
    peer = Peer(given=MIXED)
    peer.send_lane(Type.REKEY, body_encode(Type.REKEY, next_epoch=2, mix_id=9))
    assert peer.lane.reason == "BAD_EPOCH"


# -- with real workers ------------------------------------------------------------------------------------------------


@pytest.fixture
def realm() -> Iterator[CoreRealm]:
    made = CoreRealm()
    yield made
    made.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_renewals_while_streams_flow(realm: CoreRealm, workers: int) -> None:
    a, relay, b = realm.edge(workers=workers), realm.relay(workers=workers), realm.edge(workers=workers)
    lanes = 2
    first, last = realm.link(a, relay, lanes=lanes), realm.link(relay, b, lanes=lanes)
    session = realm.session(a, b, [(relay, first)], last, flows=lanes)
    with echo_server() as target:
        address = realm.service(a, b, session, target)
        streams = [threading.Thread(target=exchange, args=(address, 16 << 20, seed)) for seed in range(3)]
        for stream in streams:
            stream.start()
        for number in (1, 2, 3):
            renew_link(first, number, a, relay)
            renew_link(last, number, relay, b)
            renew_session(session, number, a, b)
            until(lambda number=number: all(node.core.sessions()[session]["mix"] == number for node in (a, b)), a, b)
            for link, nodes in ((first, (a, relay)), (last, (relay, b))):
                until(
                    lambda number=number, link=link, nodes=nodes: all(
                        node.core.links()[link]["mix"] == number for node in nodes
                    ),
                    *nodes,
                )
        for stream in streams:
            stream.join(60)
            assert not stream.is_alive()
    counters = a.core.counters()
    # Three renewals in each lane and in each flow of this end; one that is slow to step names the newest only.
    assert 3 * 2 <= counters["rekeys_mixed_total"] <= 3 * 2 * lanes
    assert {name: count for name, count in counters.items() if name.startswith("refused_") and count} == {}


def test_calls_that_are_refused_wipe_the_secret_too(realm: CoreRealm) -> None:
    a, b = realm.edge(), realm.edge()
    link = realm.link(a, b)
    for number, mix, length in ((link, 0, 32), (link, 1, 31)):
        given = bytearray(b"s" * length)
        with pytest.raises(native.CoreError, match="renewal"):
            a.core.link_renew(number, secret=given, mix=mix)
        assert given == bytearray(length)
    with pytest.raises(native.CoreError, match="no link 99"):
        a.core.link_mix(99, 1)
    with pytest.raises(native.CoreError, match="no session 99"):
        a.core.session_mix(99, 1)


def test_limits_are_lowered_while_it_runs(realm: CoreRealm) -> None:
    a, b = realm.edge(), realm.edge()
    session = realm.session(a, b, [], realm.link(a, b))
    with echo_server() as target:
        address = realm.service(a, b, session, target)
        exchange(address, 1 << 20, 1)
        assert b.core.sessions()[session]["epoch"] == 0
        a.core.settings(rekey_frames=4)
        exchange(address, 1 << 20, 2)
    assert b.core.sessions()[session]["epoch"] >= 2
