"""DATAGRAMS of one flow between two ends: any order, each once, their own key and numbers, and no part in recovery."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native import probe
from tests.native.probe import Epoch
from tests.native.probe_flow import Flow
from tests.native.probe_store import Pool
from tests.reference.frames import Type
from tests.reference.keys import Epoch as ReferenceEpoch
from tests.reference.keys import Purpose, Suite, direction_secret
from tests.support.flow_ends import NOW, SECOND, SECRET, acknowledge, bundle, changed, pair, refusal_of, step
from tests.support.vectors import Json, load, octets, suite_of

HARD_FRAMES, HARD_BYTES, HARD_AGE = 1 << 24, 1 << 38, 180 * SECOND
VECTORS = load("datagrams")
OUTCOMES = {"STALE": "late", "REPLAYED": "replayed"}


def datagrams(end: Flow, text: bytes = b"datagram", now: int = NOW) -> bytes:
    return end.datagrams(text, now)


@given(order=st.permutations(range(12)), lost=st.sets(st.integers(0, 11)))
def test_any_order_and_each_once(order: list[int], lost: set[int]) -> None:
    near, far = pair()
    frames = [datagrams(near, b"number %2d" % at) for at in range(12)]
    for at in [each for each in order if each not in lost]:
        assert far.open(frames[at], NOW) == b"number %2d" % at
    for at in order:
        if at not in lost:
            assert refusal_of(far.open, frames[at], NOW) == "REPLAYED"


def test_they_are_not_retained_and_take_no_room_of_the_cap() -> None:
    near, _far = pair(cap=131_072)
    before = near.retained_bytes
    for _ in range(100):
        datagrams(near, bytes(60_000))
    assert (near.retained_bytes, near.has_room, near.next_number) == (before, True, 1)
    assert near.next_datagrams == 100


def test_they_make_no_ack_late_and_no_ack_makes_them_late() -> None:
    near, far = pair()
    early = [datagrams(near) for _ in range(3)]
    ack = near.ack()
    for _ in range(5):
        near.ack()
    assert far.open(datagrams(near), NOW)
    assert far.open(ack, NOW)
    for each in early:
        assert far.open(each, NOW)


def test_what_does_not_open_takes_no_number() -> None:
    near, far = pair()
    wire = datagrams(near)
    for at in (10, 15, 32, 48, len(wire) - 1):
        assert refusal_of(far.open, changed(wire, at, wire[at] ^ 1), NOW) == "BAD_TAG"
    assert far.open(wire, NOW) == b"datagram"
    # One that was taken is not even opened.
    assert refusal_of(far.open, changed(wire, 48, wire[48] ^ 1), NOW) == "REPLAYED"


def test_another_type_has_another_key() -> None:
    near, far = pair()
    padding = near.volatile(Type.FLOW_PADDING, b"datagram")
    assert refusal_of(far.open, changed(padding, 3, Type.DATAGRAMS), NOW) == "BAD_TAG"
    near, far = pair()
    assert refusal_of(far.open, changed(datagrams(near), 3, Type.FLOW_PADDING), NOW) == "BAD_TAG"


def test_a_frame_does_not_go_back_to_its_sender() -> None:
    near, _far = pair()
    assert refusal_of(near.open, datagrams(near), NOW) == "BAD_TAG"


# -- steps of epoch ---------------------------------------------------------------------------------------------------


def test_the_sender_changes_its_key_with_the_acknowledgement() -> None:
    near, far = pair()
    first, late = datagrams(near), datagrams(near)
    assert far.open(first, NOW)
    step(near, far)
    between = datagrams(near)
    assert (first[8], between[8]) == (0, 0)
    acknowledge(near, far)
    after = datagrams(near)
    assert after[8] == 1
    for each in (after, late, between):
        assert far.open(each, NOW) == b"datagram"


def test_overtaken_by_two_steps_they_are_late_and_no_violation() -> None:
    near, far = pair()
    first, second = datagrams(near), datagrams(near)
    for _ in range(2):
        step(near, far)
        acknowledge(near, far)
    assert refusal_of(far.open, first, NOW) == "STALE"
    assert far.open(datagrams(near), NOW) == b"datagram"
    assert refusal_of(far.open, changed(second, 8, 1), NOW) == "BAD_TAG"


def test_three_hundred_steps() -> None:
    """The header says the epoch modulo 256 only."""
    near, far = pair()
    for at in range(300):
        late = datagrams(near)
        step(near, far)
        acknowledge(near, far)
        assert far.open(datagrams(near, b"epoch %3d" % at), NOW) == b"epoch %3d" % at
        assert far.open(late, NOW) == b"datagram"


def test_the_key_of_the_epoch_before_serves_for_thirty_seconds() -> None:
    near, far = pair()
    first, second, third = (datagrams(near) for _ in range(3))
    step(near, far)
    acknowledge(near, far)
    assert far.open(first, NOW + 30 * SECOND) == b"datagram"
    assert refusal_of(far.open, second, NOW + 30 * SECOND + 1) == "STALE"
    # It took no number.
    assert far.open(third, NOW) == far.open(second, NOW) == b"datagram"


def test_an_epoch_that_is_not_held_is_late() -> None:
    near, far = pair()
    assert refusal_of(far.open, changed(datagrams(near), 8, 255), NOW) == "STALE"
    assert refusal_of(far.open, changed(datagrams(near), 8, 1), NOW) == "STALE"


def test_they_count_and_begin_the_age() -> None:
    near, far = pair()
    step(near, far)
    acknowledge(near, far)
    for _ in range(5):
        datagrams(near)
    assert near.must_rekey(5, 1 << 30, 1 << 60, NOW)
    assert near.must_rekey(100, 5 * (48 + 8), 1 << 60, NOW)
    assert not near.must_rekey(100, 1 << 30, SECOND, NOW + SECOND - 1)
    assert near.must_rekey(100, 1 << 30, SECOND, NOW + SECOND)


@pytest.mark.parametrize(("frames", "octets"), [(HARD_FRAMES // 2, 0), (0, HARD_BYTES // 2)])
def test_half_of_a_hard_limit_is_kept_for_what_must_not_be_dropped(frames: int, octets: int) -> None:
    near, far = pair()
    near.spent(frames, octets)
    assert refusal_of(datagrams, near) == "BUDGET"
    assert near.next_datagrams == 0
    assert far.open(bundle(near, b"goes on."), NOW) == b"goes on."
    far.open(near.ack(), NOW)


def test_past_the_hard_age_they_are_dropped_until_the_step_is_made() -> None:
    near, far = pair()
    assert far.open(datagrams(near), NOW)
    later = NOW + HARD_AGE
    assert refusal_of(datagrams, near, b"x", later) == "BUDGET"
    step(near, far, later)
    assert far.open(datagrams(near, b"goes on.", later), later) == b"goes on."


def test_a_floor_that_is_passed_is_not_passed_back() -> None:
    """Whatever would count a number down, the key refuses it."""
    near, _far = pair()
    for _ in range(3):
        datagrams(near)
    near.datagrams_so_far(1)
    assert refusal_of(datagrams, near) == "NONCE"


# -- keys -------------------------------------------------------------------------------------------------------------


def test_no_key_before_the_first_epoch_that_may_be_used() -> None:
    """An older version handed the flow over, and did not say what was sealed."""
    for sealing in (True, False):
        epoch = Epoch(SECRET, direction=0, suite=1, purpose=3, sealing=sealing)
        epoch.datagrams_from(1)
        assert epoch.datagrams(0) is None
        epoch.step()
        assert epoch.datagrams(0) is None
        if sealing:
            epoch.settle()
        assert epoch.datagrams(1) is not None


def test_a_receiver_holds_the_key_of_one_former_epoch() -> None:
    sender, receiver = (Epoch(SECRET, direction=0, suite=1, purpose=3, sealing=sealing) for sealing in (True, False))
    sealing = sender.datagrams(0)
    assert sealing is not None
    sealed = sealing.seal(7, b"", b"datagram")
    receiver.step()
    # It was never used in its own epoch, and is there in the next.
    former = receiver.datagrams(0)
    assert former is not None
    assert former.open(7, b"", *sealed) == b"datagram"
    receiver.step()
    assert receiver.datagrams(0) is None
    assert receiver.datagrams(3) is None


def test_the_key_of_a_past_epoch_is_wiped_with_the_acknowledgement() -> None:
    near, far = pair()
    past = ReferenceEpoch(Suite.AES_256_GCM, direction_secret(SECRET, 0)).key(Purpose.FLOW_DATAGRAM)
    step(near, far)
    # It seals with it still, and a process that takes over must.
    assert past in near.memory()
    assert past in far.memory()
    acknowledge(near, far)
    assert past not in near.memory()
    step(near, far)
    assert past not in far.memory()
    near_key = ReferenceEpoch(Suite.AES_256_GCM, direction_secret(SECRET, 0)).next().key(Purpose.FLOW_DATAGRAM)
    for end in (near, far):
        assert near_key in end.memory()
        end.stop()
        assert near_key not in end.memory()


# -- vectors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["flows"], ids=lambda case: case["what"])
def test_vectors(case: Json) -> None:
    secret = probe.expand_number(octets(case["session_secret"]), b"flow", case["index"], 2)
    receiver = Flow(
        Pool(1 << 24), secret, index=case["index"], suite=suite_of(case["suite"]), initiator=False,
        binding=octets(case["session_binding"]), cap=1 << 20,
    )  # fmt: skip
    for each in case["steps"]:
        if "acknowledge" in each:
            assert receiver.next_expected == each["acknowledge"]
            receiver.ack()
            continue
        assert taken(receiver, each) == each["outcome"], each


def taken(receiver: Flow, each: Json) -> str:
    kind = Type[each["type"]]
    try:
        now = NOW + round(each["at"] * SECOND)
        body = receiver.open(octets(each["frame"]), now)
        if kind is Type.FLOW_CONFIRM:
            receiver.take_confirm(body)
        elif kind is Type.FLOW_REKEY:
            receiver.take_rekey(body, now)
        elif kind is Type.DATAGRAMS:
            probe.record_check(body, datagrams=True)
    except probe.Refusal as refusal:
        return OUTCOMES.get(refusal.reason, refusal.reason)
    return "taken"
