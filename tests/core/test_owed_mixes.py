"""What is owed after a renewal: a step with the newest mix, so that who stole a secret before it is shut out by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.native import probe
from tests.native.probe import Refusal
from tests.native.probe_edge import Edge
from tests.native.probe_flow import Flow
from tests.native.probe_link import DAY_US
from tests.native.probe_store import Pool
from tests.reference.frames import Type, body_encode
from tests.reference.keys import KeyLimits, LinkSecrets
from tests.reference.lanes import State as LaneState
from tests.reference.records import record_data, record_open
from tests.support.reference_peer import GIVEN, LINK, SESSION, Peer
from tests.support.vectors import Json, load, octets, suite_of

OWED = load("rekeying")["owed"]
SESSION_DOWN = 4
EXPIRED, MIX_OVERDUE = 10, 31
SECOND = 1_000_000
AGELESS = KeyLimits(age=(1e9, 1e9))
SECRETS = {number: bytes([number]) * 32 for number in range(1, 9)}
MIXED = replace(GIVEN, link_renewals=tuple(SECRETS.items()), session_renewals=tuple(SECRETS.items()))


# -- by the vectors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", OWED["flow"], ids=lambda case: case["what"])
def test_flows_take_what_the_vectors_say(case: Json) -> None:
    flow = Flow(
        Pool(1 << 20),
        probe.expand_number(octets(case["session_secret"]), b"flow", case["index"], 2),
        index=case["index"],
        suite=suite_of(case["suite"]),
        initiator=case["initiator"],
        binding=octets(case["session_binding"]),
        cap=1 << 20,
    )
    for number, secret in OWED["renewals"].items():
        # A flow keeps the newest and the one before.
        if int(number) in (1, 2) or "straight" in case["what"]:
            flow.renew(int(number), octets(secret), 0)
    for step in case["steps"]:
        now = DAY_US + round(step["at"] * SECOND)
        if "agree" in step:
            flow.agree(step["agree"], now)
        elif "sends" in step:
            sent = flow.confirm(now) if step["sends"] == "FLOW_CONFIRM" else flow.rekey(now)
            kept = octets(step["frame"])
            assert (sent[:16], sent[32:]) == (kept[:16], kept[32:])
        elif "acknowledge" in step:
            assert flow.next_expected == step["acknowledge"]
            flow.ack()
        else:
            assert taken(flow, step["type"], octets(step["frame"]), now) == step["outcome"], step


def taken(flow: Flow, kind: str, frame: bytes, now: int) -> str:
    try:
        body = flow.open(frame, now)
        if kind == "FLOW_CONFIRM":
            flow.take_confirm(body)
        elif kind == "FLOW_REKEY":
            flow.take_rekey(body, now)
        elif kind == "ACK":
            flow.take_ack(int.from_bytes(body, "big"), now)
    except Refusal as refusal:
        return refusal.reason
    return "taken"


@pytest.mark.parametrize("case", OWED["lane"], ids=lambda case: case["what"])
def test_lanes_take_what_the_vectors_say(case: Json) -> None:
    edge = Edge()
    edge.link_add(LINK, suite=suite_of(case["suite"]), dialler=False, lanes=1, binding=octets(case["link_binding"]))
    secret = LinkSecrets(octets(case["link_secret"])).lane_secret(0)
    lane = edge.lane_start(LINK, index=0, number=0, secret=secret)
    for number, renewal in OWED["renewals"].items():
        if int(number) in (1, 2) or "straight" in case["what"]:
            edge.link_renew(LINK, int(number), octets(renewal))
    for step in case["steps"]:
        if "agree" in step:
            edge.link_mix(LINK, step["agree"])
            continue
        lane.feed(octets(step["wire"]))
        assert (lane.reason or "taken") == step["outcome"], step


# -- the thief --------------------------------------------------------------------------------------------------------


def renewed(peer: Peer, number: int, *, link: bool = True) -> None:
    """Both control planes have told RENEWED; nothing of the far side's has come since."""
    peer.edge.session_renew(SESSION, number, SECRETS[number])
    peer.edge.session_mix(SESSION, number)
    if link:
        peer.edge.link_renew(LINK, number, SECRETS[number])
        peer.edge.link_mix(LINK, number)


def healthy_lane(peer: Peer, seconds: float, each: Callable[[], None] = lambda: None) -> None:
    """Time passes, with a PING each half second, so that the lane is no reason for anything."""
    for token in range(round(seconds * 2)):
        if peer.end.lane.state is not LaneState.UP or not peer.edge.has_session(SESSION):
            return
        peer.wait(0.5)
        peer.end.lane.send(Type.PING, body_encode(Type.PING, token=token + 1), peer.now)
        each()
        # What this side says is acknowledged, by the far side or by who stands in its place.
        peer.end.flow.send_ack()
        peer.settle()


def speaking(rekey_each: float) -> tuple[Peer, list[float]]:
    """A far side that has the session's memory of before a renewal, and speaks on: when it was last believed."""
    peer = Peer(given=MIXED)
    peer.end.flow.limits = peer.end.lane.limits = AGELESS
    peer.end.flow.use.limits = peer.end.lane.use.limits = AGELESS
    peer.send(record_open(1, "s", 1 << 20))
    renewed(peer, 1, link=False)
    believed: list[float] = [peer.now]
    began = peer.now
    steps = 0

    def speak() -> None:
        nonlocal steps
        if peer.now - began >= (steps + 1) * rekey_each:
            steps += 1
            # What it forges is acknowledged, but not to the reference.
            peer.settle()
            peer.end.flow.rekey_number, peer.end.flow.tx_control = None, peer.end.flow.tx
            peer.end.flow.rekey(0, peer.now)
        before = peer.edge.flow(SESSION)["next_expected"]
        peer.end.send_records(record_data(1, b"forged"), now=peer.now)
        peer.settle()
        if peer.edge.has_session(SESSION) and peer.edge.flow(SESSION)["next_expected"] != before:
            believed.append(peer.now - began)

    healthy_lane(peer, 400, speak)
    return peer, believed


@pytest.mark.parametrize(("rekey_each", "latest"), [(0.4, 1.5), (60.0, 120.0), (1e9, 300.0)])
def test_a_thief_who_stands_in_the_way_is_shut_out_by_a_renewal(rekey_each: float, latest: float) -> None:
    """By plain steps, few or many, or with none at all: at the second one, or after the grace, the session ends."""
    peer, believed = speaking(rekey_each)
    assert not peer.edge.has_session(SESSION)
    assert believed[-1] <= latest
    (down,) = [event for event in peer.edge.events() if event[0] == SESSION_DOWN]
    assert down[2:4] == (EXPIRED, MIX_OVERDUE)
    assert peer.edge.refused()["MIX_OVERDUE"] == 1
    assert peer.end.lane.state is LaneState.UP


def test_a_lane_whose_peer_never_names_the_mix_is_closed() -> None:
    peer = Peer(given=MIXED)
    peer.end.lane.limits = peer.end.lane.use.limits = AGELESS
    peer.edge.link_renew(LINK, 1, SECRETS[1])
    peer.edge.link_mix(LINK, 1)
    healthy_lane(peer, 299)
    assert peer.lane.state == "UP"
    healthy_lane(peer, 2)
    assert (peer.lane.state, peer.lane.reason) == ("CLOSED", "MIX_OVERDUE")


def test_a_lane_takes_one_step_without_it_and_a_new_lane_none() -> None:
    peer = Peer(given=MIXED)
    peer.edge.link_renew(LINK, 1, SECRETS[1])
    peer.edge.link_mix(LINK, 1)
    peer.end.lane.rekey(0)
    peer.settle()
    assert peer.lane.state == "UP"
    peer.lane.cut()
    peer.new_lane(1)
    peer.confirm()
    peer.end.lane.rekey(1)
    peer.end.lane.rekey(0)
    peer.end.lane.rekey(0)
    peer.settle()
    assert peer.lane.state == "UP"
    peer.lane.cut()
    peer.new_lane(2)
    peer.confirm()
    peer.end.lane.rekey(0)
    peer.settle()
    assert (peer.lane.state, peer.lane.reason) == ("CLOSED", "MIX_OVERDUE")


# -- who is honest notices nothing ------------------------------------------------------------------------------------


def test_steps_and_renewals_each_second_for_ten_minutes() -> None:
    """The far side steps plainly until it knows, and then with the mix, as a node of before does."""
    peer = Peer(given=MIXED)
    for second in range(600):
        number = second % 3 + 1 if second < 3 else second + 1
        secret = bytes([number % 256]) * 32
        for renewals in (peer.end.flow.renewals, peer.end.lane.renewals):
            renewals[number] = secret
        peer.edge.session_renew(SESSION, number, secret)
        peer.edge.link_renew(LINK, number, secret)
        if second % 2:
            # One is under way while this side hears that both keep it.
            peer.end.flow.rekey(0, peer.now)
            peer.end.lane.rekey(0, peer.now)
        peer.edge.session_mix(SESSION, number)
        peer.edge.link_mix(LINK, number)
        acknowledged(peer)
        peer.end.flow.rekey(number, peer.now)
        peer.end.lane.rekey(number, peer.now)
        acknowledged(peer)
        peer.wait(0.5)
        peer.end.lane.send(Type.PING, body_encode(Type.PING, token=second + 1), peer.now)
        acknowledged(peer)
        peer.wait(0.5)
        acknowledged(peer)
    assert peer.edge.has_session(SESSION)
    assert peer.lane.state == "UP"
    assert peer.edge.refused() == {}


def acknowledged(peer: Peer) -> None:
    peer.settle()
    peer.wait(0.03)
    peer.settle()
    peer.end.flow.send_ack()
    peer.settle()


def test_idle_for_three_days_and_then_the_mix() -> None:
    """Nothing is owed by who says nothing: 6.4 lets the first frame after that be the step."""
    peer = Peer(given=MIXED)
    renewed(peer, 1, link=False)
    peer.lane.cut()
    peer.wait(3 * 86_400)
    back(peer, 1)
    healthy_lane(peer, 290)
    assert peer.edge.has_session(SESSION)
    peer.end.flow.rekey(1, peer.now)
    peer.settle()
    healthy_lane(peer, 100)
    assert peer.edge.has_session(SESSION)
    assert peer.edge.flow(SESSION)["receive_epoch"] == 1


def back(peer: Peer, number: int) -> None:
    """A new lane, and the flow resumes over it."""
    peer.end.flow.path_lost(peer.now)
    peer.new_lane(number)
    peer.confirm()
    peer.end.flow.path_ready()
    peer.settle()


@pytest.mark.parametrize("before", [10.0, 250.0])
def test_a_stall_over_the_renewal_does_not_count(before: float) -> None:
    """Up for a while, then without a way for ten minutes, then up: only the two ends of it count."""
    peer = Peer(given=MIXED)
    peer.end.flow.limits = peer.end.lane.limits = AGELESS
    peer.end.flow.use.limits = peer.end.lane.use.limits = AGELESS
    peer.send(record_open(1, "s", 1 << 20))
    renewed(peer, 1, link=False)
    healthy_lane(peer, before)
    peer.end.send_records(record_data(1, b"sealed before"), now=peer.now)
    peer.end.flow.out.clear()
    peer.lane.cut()
    peer.wait(600)
    back(peer, 1)
    assert peer.edge.has_session(SESSION)
    healthy_lane(peer, 299 - before)
    peer.end.send_records(record_data(1, b"still"), now=peer.now)
    peer.settle()
    assert peer.edge.has_session(SESSION)
    healthy_lane(peer, 2)
    peer.end.send_records(record_data(1, b"no more"), now=peer.now)
    peer.settle()
    assert not peer.edge.has_session(SESSION)


def test_a_renewal_within_a_stall_counts_from_its_end() -> None:
    peer = Peer(given=MIXED)
    peer.end.flow.limits = peer.end.lane.limits = AGELESS
    peer.end.flow.use.limits = peer.end.lane.use.limits = AGELESS
    peer.send(record_open(1, "s", 1 << 20))
    peer.lane.cut()
    peer.wait(100)
    renewed(peer, 1, link=False)
    peer.wait(1_000)
    back(peer, 1)
    healthy_lane(peer, 290)
    peer.end.send_records(record_data(1, b"still"), now=peer.now)
    peer.settle()
    assert peer.edge.has_session(SESSION)


def test_a_full_cap_delays_the_step_and_ends_nothing() -> None:
    """Two hundred seconds in which the far side may seal nothing more; then what it had, and the step."""
    peer = Peer(given=MIXED)
    peer.end.flow.limits = peer.end.lane.limits = AGELESS
    peer.end.flow.use.limits = peer.end.lane.use.limits = AGELESS
    peer.send(record_open(1, "s", 1 << 20))
    peer.end.flow.rekey(0, peer.now)
    kept = [*peer.end.flow.out]
    peer.end.flow.out.clear()
    renewed(peer, 1, link=False)
    healthy_lane(peer, 200)
    for frame in kept:
        peer.send_frame(frame)
    acknowledged(peer)
    peer.end.flow.rekey(1, peer.now)
    acknowledged(peer)
    peer.send(record_data(1, b"and on"))
    healthy_lane(peer, 200)
    for _ in range(3):
        peer.end.flow.rekey(0, peer.now)
        acknowledged(peer)
    assert peer.edge.has_session(SESSION)


# -- the sender -------------------------------------------------------------------------------------------------------


def test_a_plain_step_waits_for_a_renewal_that_is_about_to_be_agreed() -> None:
    """The peer may know already that it is, and takes no more than one step without it."""
    flow = Flow(Pool(1 << 20), bytes(32), index=0, suite=1, initiator=True, binding=bytes(32), cap=1 << 20)
    flow.confirm(DAY_US)
    flow.take_ack(1, DAY_US)
    other = Flow(Pool(1 << 20), bytes(32), index=0, suite=1, initiator=False, binding=bytes(32), cap=1 << 20)
    flow.take_confirm(flow.open(other.confirm(DAY_US), DAY_US))
    due = {"frames": 1, "octets": 1 << 30, "age_us": 1 << 40}
    assert flow.must_rekey(now_us=DAY_US, **due)
    flow.renew(1, SECRETS[1], DAY_US)
    assert not flow.must_rekey(now_us=DAY_US + 29 * SECOND, **due)
    # It never comes: the limits of the key go before.
    assert flow.must_rekey(now_us=DAY_US + 30 * SECOND, **due)
    flow.agree(1, DAY_US + SECOND)
    assert flow.must_rekey(now_us=DAY_US + SECOND, **due)


def test_a_lane_waits_with_a_plain_step_too() -> None:
    peer = Peer(given=MIXED)
    peer.edge.limits(1, 1 << 30, 1 << 40)
    peer.wait(0.5)
    peer.settle()
    before = peer.lane.epochs[0]
    assert before >= 1
    peer.edge.link_renew(LINK, 1, SECRETS[1])
    healthy_lane(peer, 20)
    assert peer.lane.epochs[0] == before
    healthy_lane(peer, 15)
    assert peer.lane.epochs[0] > before
