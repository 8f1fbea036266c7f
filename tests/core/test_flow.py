"""One flow between two ends: order, acknowledgement, the cap, resumption, steps of epoch and limits."""

from collections.abc import Callable

import pytest

from tests.native.probe import Refusal
from tests.native.probe_flow import Flow
from tests.reference.frames import Type
from tests.reference.keys import direction_secret
from tests.support.flow_ends import (
    BINDING,
    LARGEST,
    NOW,
    PREFIX,
    SECOND,
    SECRET,
    acknowledge,
    bundle,
    changed,
    flow,
    pair,
    refusal_of,
    step,
)


def resume(resume_id: int, next_number: int, zero: int = 0) -> bytes:
    return resume_id.to_bytes(4, "big") + zero.to_bytes(4, "big") + next_number.to_bytes(8, "big")


# -- start ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Type.BUNDLE, Type.FLOW_REKEY, Type.DATAGRAMS])
def test_nothing_is_believed_before_flow_confirm(kind: Type) -> None:
    near, far = flow(True), flow(False)
    body = bytes(12) if kind is Type.FLOW_REKEY else b"x" * 16
    wire = near.datagrams(body, NOW) if kind is Type.DATAGRAMS else near.seal(kind, body, NOW)
    assert refusal_of(far.open, wire, NOW) == "NOT_CONFIRMED"


def test_a_lost_path_may_come_before_flow_confirm() -> None:
    near, far = flow(True), flow(False)
    near.confirm(NOW)
    near.break_off(NOW)
    assert far.rx_resume(far.open(near.resume(NOW), NOW), NOW) == (True, True)
    assert (far.state, far.resume_id) == ("STARTING", 1)
    assert near.rx_resume(near.open(far.resume(NOW), NOW), NOW) == (False, True)
    assert near.state == "STARTING"
    far.take_confirm(far.open(near.retained()[0], NOW))
    assert far.state == "UP"


@pytest.mark.parametrize(("binding", "index"), [(bytes(32), 0), (BINDING[::-1], 0)])
def test_another_binding_is_refused(binding: bytes, index: int) -> None:
    near, far = flow(True, binding=binding, index=index), flow(False)
    assert refusal_of(far.take_confirm, far.open(near.confirm(NOW), NOW)) == "BAD_CONFIRM"


@pytest.mark.parametrize("at", range(40))
def test_every_octet_of_flow_confirm_counts(at: int) -> None:
    near, far = flow(True), flow(False)
    body = far.open(near.confirm(NOW), NOW)
    assert refusal_of(far.take_confirm, changed(body, at, body[at] ^ 1)) == "BAD_CONFIRM"
    far.take_confirm(body)


def test_a_second_flow_confirm_is_refused() -> None:
    near, far = pair()
    body = far.open(near.confirm(NOW), NOW)
    assert refusal_of(far.take_confirm, body) == "BAD_CONFIRM"


def test_another_index_has_another_body() -> None:
    near, far = flow(True, index=1), flow(False)
    assert refusal_of(far.open, near.confirm(NOW), NOW) == "BAD_TAG"


# -- order ------------------------------------------------------------------------------------------------------------


def test_frames_are_delivered_in_order_and_once() -> None:
    near, far = pair()
    first, second, third = (bundle(near, text) for text in (b"one.....", b"two.....", b"three..."))
    assert far.open(first, NOW) == b"one....."
    assert refusal_of(far.open, first, NOW) == "DUPLICATE"
    assert refusal_of(far.open, third, NOW) == "GAP"
    assert far.open(second, NOW) == b"two....."
    assert far.open(third, NOW) == b"three..."


def test_a_duplicate_is_not_even_opened() -> None:
    near, far = pair()
    wire = bundle(near, b"one.....")
    far.open(wire, NOW)
    assert refusal_of(far.open, changed(wire, 50, wire[50] ^ 1), NOW) == "DUPLICATE"
    ack = near.ack()
    far.open(ack, NOW)
    assert refusal_of(far.open, changed(ack, 50, ack[50] ^ 1), NOW) == "DUPLICATE"


def test_volatile_frames_may_be_lost_but_do_not_go_back() -> None:
    near, far = pair()
    frames = [near.volatile(Type.FLOW_PADDING, b"%d" % at) for at in range(4)]
    assert far.open(frames[2], NOW) == b"2"
    for late in frames[:3]:
        assert refusal_of(far.open, late, NOW) == "DUPLICATE"
    assert far.open(frames[3], NOW) == b"3"


def test_nothing_that_a_relay_changes_is_delivered() -> None:
    """Every octet in turn: of the header that it sees, the tag, and the sealed body."""
    for kind in (Type.BUNDLE, Type.FLOW_PADDING):
        near, far = pair()
        wire = near.volatile(kind, b"a volatile body") if kind.is_volatile else bundle(near, b"a numbered body")
        for at in [3, 8, *range(10, 16), *range(32, len(wire))]:
            with pytest.raises(Refusal) as refused:
                far.open(changed(wire, at, wire[at] ^ 1), NOW)
            assert refused.value.reason in {"BAD_TAG", "BAD_EPOCH", "BAD_TYPE", "BAD_LENGTH", "GAP", "DUPLICATE"}, at
        assert far.open(wire, NOW).startswith(b"a ")


def test_a_frame_does_not_go_back_to_its_sender() -> None:
    near, _far = pair()
    assert refusal_of(near.open, bundle(near, b"reflected"), NOW) == "BAD_TAG"


# -- acknowledgement and the cap --------------------------------------------------------------------------------------


def test_what_is_acknowledged_is_forgotten() -> None:
    near, far = pair()
    for at in range(5):
        far.open(bundle(near, b"frame %d." % at), NOW)
    near.take_ack(int.from_bytes(near.open(far.ack(), NOW), "big"), NOW + 30_000)
    assert (near.retained(), near.retained_bytes, near.acknowledged) == ([], 0, 6)
    # Karn's rule aside, the first frame of the flow is what was timed.
    assert near.round_trip_us == 30_000


def test_as_much_bulk_is_under_way_as_the_far_edge_takes_before_it_acknowledges() -> None:
    """Of one that acknowledges seldom, twice as much: else its sender would wait for it 25 ms each time."""
    near, far = pair(cap=1 << 24)
    now, text = NOW, bytes(LARGEST)
    for _ in range(100):
        far.open(bundle(near, text, now), now)
        now += 200
        acknowledge(near, far, now)
    for _ in range(3):
        bundle(near, text, now)
    assert near.bears_bulk(now, 262_144)
    assert not near.bears_bulk(now, 65_536)
    near.take_ack(near.next_number, now + 200)
    assert near.bears_bulk(now + 200, 65_536)


def test_an_acknowledgement_may_come_late_but_not_too_early() -> None:
    near, _far = pair()
    bundle(near, b"one.....")
    near.take_ack(1, NOW)
    near.take_ack(0, NOW)
    assert near.acknowledged == 1
    assert refusal_of(near.take_ack, 3, NOW) == "BAD_NUMBER"
    near.take_ack(2, NOW)
    assert near.acknowledged == 2


@pytest.mark.parametrize(("size", "frames"), [(8, 63), (LARGEST // 4, 3)])
def test_an_acknowledgement_is_due_at_once_after_so_much(size: int, frames: int) -> None:
    near, far = pair(cap=1 << 30)
    far.ack()
    for _ in range(frames):
        far.open(bundle(near, bytes(size)), NOW)
        assert far.ack_due_us == NOW + 25_000
    far.open(bundle(near, bytes(size)), NOW)
    assert far.ack_due_us == NOW
    far.ack()
    assert far.ack_due_us == 0


@pytest.mark.parametrize("cap", [131_072, 131_073, 500_000])
@pytest.mark.parametrize("size", [8, 1_000, LARGEST])
def test_what_is_retained_never_exceeds_the_cap(cap: int, size: int) -> None:
    near, far = pair(cap=cap)
    while near.has_room:
        if near.must_rekey(10, 1 << 30, 1 << 60, NOW):
            near.rekey(NOW)
        bundle(near, bytes(size))
        assert near.retained_bytes <= cap
        assert near.retained_held <= 2 * cap
    # Small frames are bounded by their memory, large ones by their bytes.
    assert max(near.retained_bytes, near.retained_held / 2) > cap - 2 * (PREFIX + LARGEST)
    near.take_ack(near.next_number, NOW)
    assert near.has_room
    assert far.next_expected == 1


# -- resumption -------------------------------------------------------------------------------------------------------


def test_both_sides_send_again_what_the_other_lacks() -> None:
    near, far = pair()
    frames = [bundle(near, b"frame %d." % at) for at in range(4)]
    far.open(frames[0], NOW)
    for end in (near, far):
        end.break_off(NOW)
        assert end.state == "RESUMING"
        assert not end.has_room
    one, other = near.resume(NOW), far.resume(NOW)
    assert far.rx_resume(far.open(one, NOW), NOW) == (False, True)
    assert near.rx_resume(near.open(other, NOW), NOW) == (False, True)
    assert [frame[32:] for frame in near.retained()] == [frame[32:] for frame in frames[1:]]
    assert [far.open(frame, NOW) for frame in near.retained()] == [b"frame 1.", b"frame 2.", b"frame 3."]
    assert near.state == far.state == "UP"


def test_a_resume_with_the_own_id_is_an_answer_only_to_who_waits() -> None:
    near, far = pair()
    near.break_off(NOW)
    near.rx_resume(resume(1, 1), NOW)
    assert near.rx_resume(resume(1, 1), NOW) == (False, False)
    assert near.rx_resume(resume(0, 1), NOW) == (False, False)
    assert (near.state, near.resume_id, far.resume_id) == ("UP", 1, 0)


def test_a_resume_acknowledges_whatever_its_id() -> None:
    near, _far = pair()
    bundle(near, b"one.....")
    near.break_off(NOW)
    assert near.rx_resume(resume(0, 2), NOW) == (False, False)
    assert (near.acknowledged, near.state) == (2, "RESUMING")


def test_a_resume_below_an_acknowledgement_still_counts_for_its_id() -> None:
    near, _far = pair()
    bundle(near, b"one.....")
    near.take_ack(2, NOW)
    assert near.rx_resume(resume(5, 1), NOW) == (True, True)
    assert (near.acknowledged, near.resume_id) == (2, 5)


@pytest.mark.parametrize(
    ("body", "reason"),
    [(resume(1, 2), "BAD_NUMBER"), (resume(0, 2), "BAD_NUMBER"), (resume(1, 1, zero=1), "BAD_FIELD")],
)
def test_a_resume_that_cannot_be_is_refused(body: bytes, reason: str) -> None:
    near, _far = pair()
    assert refusal_of(near.rx_resume, body, NOW) == reason


def test_sixty_resumptions_in_a_minute_and_no_more() -> None:
    near, _far = pair()
    for at in range(60):
        near.break_off(NOW + at)
    assert refusal_of(near.break_off, NOW + 60) == "TOO_MANY_RESUMES"
    other, _far = pair()
    for at in range(60):
        other.rx_resume(resume(at + 1, 1), NOW + at)
    assert refusal_of(other.rx_resume, resume(61, 1), NOW + 60) == "TOO_MANY_RESUMES"


def test_a_resumption_each_second_goes_on_for_ever() -> None:
    near, _far = pair()
    for at in range(200):
        near.break_off(NOW + at * 1_001_000)
    assert near.resume_id == 200


def test_while_it_resumes_only_the_next_frame_is_taken() -> None:
    near, far = pair()
    frames = [bundle(near, b"frame %d." % at) for at in range(3)]
    far.break_off(NOW)
    assert refusal_of(far.open, frames[1], NOW) == "GAP"
    assert far.open(frames[0], NOW) == b"frame 0."


# -- steps of epoch and limits ----------------------------------------------------------------------------------------


def test_three_hundred_steps() -> None:
    """The header says the epoch modulo 256 only."""
    near, far = pair()
    for at in range(300):
        step(near, far)
        assert far.open(bundle(near, b"epoch %3d" % at), NOW) == b"epoch %3d" % at
        assert far.open(near.volatile(Type.FLOW_PADDING, b"old"), NOW) == b"old"
        acknowledge(near, far)
        assert far.open(near.volatile(Type.FLOW_PADDING, b"new"), NOW) == b"new"
    assert near.send_epoch == far.receive_epoch == 300


def test_no_step_before_the_last_was_acknowledged() -> None:
    near, far = pair()
    assert near.must_rekey(1, 1 << 30, 1 << 60, NOW)
    step(near, far)
    bundle(near, b"one.....")
    assert not near.must_rekey(1, 1 << 30, 1 << 60, NOW)
    acknowledge(near, far)
    assert near.must_rekey(1, 1 << 30, 1 << 60, NOW)


@pytest.mark.parametrize("tells", [lambda far: far.ack(), lambda far: far.resume(NOW)], ids=["ack", "resume"])
def test_a_step_before_the_last_was_acknowledged_is_refused(tells: Callable[[Flow], bytes]) -> None:
    near, far = pair()
    step(near, far)
    # The sender goes on as if it had heard what was not said.
    near.take_ack(near.next_number, NOW)
    early = far.open(near.rekey(NOW), NOW)
    assert refusal_of(far.take_rekey, early) == "BAD_EPOCH"
    near, far = pair()
    step(near, far)
    tells(far)
    near.take_ack(near.next_number, NOW)
    step(near, far)
    assert far.receive_epoch == 2


def test_a_data_frame_of_an_epoch_that_is_past_or_to_come_is_refused() -> None:
    near, far = pair()
    before = bundle(near, b"before..")
    rekey = near.rekey(NOW)
    after = bundle(near, b"after...")
    assert refusal_of(far.open, changed(before, 8, 1), NOW) == "BAD_EPOCH"
    far.open(before, NOW)
    far.take_rekey(far.open(rekey, NOW))
    assert refusal_of(far.open, changed(after, 8, 0), NOW) == "BAD_EPOCH"
    assert far.open(after, NOW) == b"after..."


def test_volatile_frames_of_the_present_and_the_former_epoch_only() -> None:
    near, far = pair()
    former = near.volatile(Type.FLOW_PADDING, b"former")
    late = near.volatile(Type.FLOW_PADDING, b"late")
    step(near, far)
    acknowledge(near, far)
    assert far.open(former, NOW) == b"former"
    step(near, far)
    assert refusal_of(far.open, late, NOW) == "BAD_EPOCH"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ((0).to_bytes(4, "big") + bytes(8), "BAD_EPOCH"),
        ((2).to_bytes(4, "big") + bytes(8), "BAD_EPOCH"),
        ((1).to_bytes(4, "big") + (9).to_bytes(8, "big"), "UNKNOWN_MIX"),
    ],
)
def test_a_step_that_cannot_be_is_refused(body: bytes, reason: str) -> None:
    _near, far = pair()
    assert refusal_of(far.take_rekey, body) == reason


def test_a_number_is_sealed_once_across_steps_and_resumptions() -> None:
    near, far = pair()
    seen: dict[int, bytes] = {}
    for turn in range(20):
        frames = [bundle(near, b"turn %3d" % turn)]
        if turn % 3 == 0:
            frames.append(near.rekey(NOW) if near.must_rekey(1, 1 << 30, 1 << 60, NOW) else bundle(near, b"in turn.."))
        near.break_off(NOW)
        near.rx_resume(resume(near.resume_id, far.next_expected), NOW)
        for frame in [*frames, *near.retained()]:
            number = int.from_bytes(frame[10:16], "big")
            assert seen.setdefault(number, frame[32:]) == frame[32:]
    assert sorted(seen) == list(range(1, near.next_number))


def test_the_hard_limit_ends_it_but_it_can_still_say_so() -> None:
    near, far = pair()
    near.spent(1 << 24, 0)
    assert refusal_of(bundle, near, b"no more.") == "KEY_LIMIT"
    near, far = pair()
    near.spent(1 << 24, 0)
    assert refusal_of(near.ack) == "KEY_LIMIT"
    assert far.open(near.volatile(Type.FLOW_CLOSE, bytes([0, 10, 0, 0])), NOW) == bytes([0, 10, 0, 0])


def test_volatile_frames_count_but_do_not_begin_the_age() -> None:
    near, _far = pair()
    near.take_ack(1, NOW)
    near.rekey(NOW)
    near.take_ack(2, NOW)
    for _ in range(5):
        near.ack()
    assert near.must_rekey(5, 1 << 30, 1 << 60, NOW)
    assert near.must_rekey(100, 5 * (PREFIX + 8), 1 << 60, NOW)
    assert not near.must_rekey(6, 5 * (PREFIX + 8) + 1, SECOND, NOW + 1_000 * SECOND)


def test_an_idle_flow_lives_on_and_steps_when_it_is_used() -> None:
    near, far = pair()
    later = NOW + 10_000 * SECOND
    assert near.must_rekey(1 << 22, 1 << 36, 120 * SECOND, later)
    step(near, far, later)
    assert far.open(bundle(near, b"used....", later), later) == b"used...."


def test_a_step_that_stays_unacknowledged_meets_the_hard_age() -> None:
    near, _far = pair()
    near.rekey(NOW)
    bundle(near, b"first...", NOW)
    bundle(near, b"young...", NOW + 179 * SECOND)
    assert refusal_of(bundle, near, b"too old.", NOW + 180 * SECOND) == "KEY_LIMIT"


def test_the_age_leaves_out_the_time_of_resuming() -> None:
    near, _far = pair()
    near.break_off(NOW + 100 * SECOND)
    near.break_off(NOW + 500 * SECOND)
    near.rx_resume(resume(2, 1), NOW + 1_000 * SECOND)
    assert not near.must_rekey(1 << 22, 1 << 36, 120 * SECOND, NOW + 1_019 * SECOND)
    bundle(near, b"in time.", NOW + 1_079 * SECOND)
    assert near.must_rekey(1 << 22, 1 << 36, 120 * SECOND, NOW + 1_020 * SECOND)
    assert refusal_of(bundle, near, b"too old.", NOW + 1_080 * SECOND) == "KEY_LIMIT"


def test_no_frame_has_the_greatest_number() -> None:
    near, _far = pair()
    near.numbered_so_far((1 << 48) - 2)
    bundle(near, b"last....")
    assert refusal_of(bundle, near, b"no more.") == "KEY_LIMIT"


# -- late records, and the end ----------------------------------------------------------------------------------------


def test_late_records_have_a_budget() -> None:
    near, _far = pair()
    for _ in range(100_000):
        near.late(NOW)
    assert refusal_of(near.late, NOW + 99) == "GLITCHES"
    near.late(NOW + 100)
    assert refusal_of(near.late, NOW + 199) == "GLITCHES"


def test_ten_thousand_late_records_a_second_go_on_for_ever() -> None:
    near, _far = pair()
    for _ in range(100_000):
        near.late(NOW)
    # One in 150 us, though two in 200 us would be allowed: no fraction of the time may be lost.
    for at in range(1, 20_001):
        near.late(NOW + at * 150)
        if at % 2 == 0:
            near.late(NOW + at * 150)


def test_nothing_of_the_keys_is_left_when_it_stops() -> None:
    near, _far = pair()
    secrets = [direction_secret(SECRET, direction) for direction in (0, 1)]
    assert [secret in near.memory() for secret in secrets] == [True, True]
    near.stop()
    assert near.state == "CLOSED"
    assert [secret in near.memory() for secret in secrets] == [False, False]
    assert refusal_of(bundle, near, b"no more.") == "NONCE"


def test_a_step_forgets_what_it_came_from() -> None:
    near, far = pair()
    secret = direction_secret(SECRET, 0)
    step(near, far)
    assert secret not in near.memory()
    assert secret not in far.memory()


def test_an_epoch_that_begins_while_it_resumes_has_its_age_from_the_end_of_that() -> None:
    near, _far = pair()
    near.rekey(NOW)
    near.break_off(NOW + SECOND)
    bundle(near, b"refused.", NOW + 2 * SECOND)
    near.rx_resume(resume(1, 1), NOW + 10 * SECOND)
    # The step still waits for its acknowledgement.
    bundle(near, b"goes on.", NOW + 11 * SECOND)
    bundle(near, b"in time.", NOW + 189 * SECOND)
    assert refusal_of(bundle, near, b"too old.", NOW + 190 * SECOND) == "KEY_LIMIT"
