"""The key schedule and one direction of a lane or flow: steps, which keys live, and limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native import probe
from tests.native.probe import Epoch, Refusal
from tests.reference import keys as reference

LANE, FLOW = 1, 3
SECRET = bytes(range(32))
NOW = 1_000_000_000
SECOND = 1_000_000
HARD_FRAMES, HARD_BYTES, HARD_AGE = 1 << 24, 1 << 38, 180 * SECOND


def epoch(purpose: int = LANE, *, sealing: bool = True) -> Epoch:
    return Epoch(SECRET, direction=0, suite=1, purpose=purpose, sealing=sealing)


@given(
    secret=st.binary(min_size=32, max_size=32),
    label=st.text("abcdefghijklmnopqrstuvwxyz ", max_size=27),
    context=st.binary(max_size=32),
    length=st.integers(0, 32),
)
def test_expand_is_that_of_the_reference(secret: bytes, label: str, context: bytes, length: int) -> None:
    assert probe.expand(secret, label.encode(), context, length) == reference.expand(secret, label, context, length)


@pytest.mark.parametrize(("label", "context", "length"), [(28, 0, 32), (4, 33, 32), (4, 0, 33)])
def test_expand_refuses_what_it_has_no_room_for(label: int, context: int, length: int) -> None:
    with pytest.raises(Refusal, match="CRYPTO"):
        probe.expand(SECRET, b"l" * label, bytes(context), length)


@given(mixes=st.lists(st.none() | st.binary(min_size=32, max_size=32), max_size=6), direction=st.sampled_from([0, 1]))
def test_steps_are_those_of_the_reference(mixes: list[bytes | None], direction: int) -> None:
    suite = reference.Suite.CHACHA20_POLY1305
    ours = Epoch(SECRET, direction=direction, suite=suite, purpose=LANE, sealing=True)
    theirs = reference.Epoch(suite, reference.direction_secret(SECRET, direction))
    for mix in mixes:
        ours.step(mix)
        theirs = theirs.next(mix or reference.NO_MIX)
    assert (ours.number, ours.secret) == (theirs.number, theirs.secret)
    tag, sealed = ours.main.seal(9, b"aad", b"clear")
    assert (tag, sealed) == theirs.seal(reference.Purpose.HOP_HEADER, 9, b"aad", b"clear")


def test_a_lane_replaces_both_keys() -> None:
    sender, receiver = epoch(), epoch(sealing=False)
    old = sender.main.seal(0, b"", b"old"), sender.side.seal(0, b"", b"old")
    for each in (sender, receiver):
        each.step()
        assert not each.other.is_there
    for key, (tag, sealed) in zip((receiver.main, receiver.side), old, strict=True):
        with pytest.raises(Refusal, match="BAD_TAG"):
            key.open(0, b"", tag, sealed)


def test_a_flow_keeps_the_control_key_until_the_step_is_acknowledged() -> None:
    sender, receiver = epoch(FLOW), epoch(FLOW, sealing=False)
    for each in (sender, receiver):
        each.step()
    assert (sender.number, sender.side_number) == (1, 0)
    tag, sealed = sender.side.seal(0, b"", b"under the old key")
    assert receiver.other.open(0, b"", tag, sealed) == b"under the old key"
    sender.settle()
    assert (sender.side_number, sender.other.is_there) == (1, False)
    tag, sealed = sender.side.seal(0, b"", b"under the new key")
    assert receiver.side.open(0, b"", tag, sealed) == b"under the new key"


def test_a_receiver_holds_one_former_control_key_and_no_former_data_key() -> None:
    sender, receiver = epoch(FLOW), epoch(FLOW, sealing=False)
    data, control = sender.main.seal(0, b"", b"data"), sender.side.seal(0, b"", b"control")
    receiver.step()
    with pytest.raises(Refusal, match="BAD_TAG"):
        receiver.main.open(0, b"", *data)
    assert receiver.other.open(0, b"", *control) == b"control"
    receiver.step()
    for key in (receiver.side, receiver.other):
        with pytest.raises(Refusal, match="BAD_TAG"):
            key.open(0, b"", *control)


def test_settling_without_a_step_changes_nothing() -> None:
    sender = epoch(FLOW)
    sender.settle()
    assert sender.side_number == 0
    assert sender.side.seal(0, b"", b"x")


def test_the_old_secret_is_gone_after_a_step() -> None:
    each = epoch()
    old = each.secret
    each.step()
    assert each.secret != old
    each.wipe()
    each.wipe()
    assert each.secret == bytes(32)
    assert not each.main.is_there
    assert not each.side.is_there


def test_the_last_frame_below_the_hard_limit_is_sealed_and_no_other() -> None:
    each = epoch()
    each.spent(HARD_FRAMES - 1, 0)
    each.spend(48, NOW)
    for ageless in (False, True):
        with pytest.raises(Refusal, match="KEY_LIMIT"):
            each.spend(48, NOW, ageless=ageless)


def test_the_last_bytes_below_the_hard_limit_are_sealed_and_no_other() -> None:
    each = epoch()
    each.spent(0, HARD_BYTES - 100)
    with pytest.raises(Refusal, match="KEY_LIMIT"):
        each.spend(101, NOW)
    each.spend(100, NOW)
    with pytest.raises(Refusal, match="KEY_LIMIT"):
        each.spend(1, NOW)


def test_the_age_counts_from_the_first_frame() -> None:
    each = epoch()
    each.spend(48, NOW)
    each.spend(48, NOW + HARD_AGE - 1)
    with pytest.raises(Refusal, match="KEY_LIMIT"):
        each.spend(48, NOW + HARD_AGE)
    each.spend(48, NOW + HARD_AGE, ageless=True)
    each.step()
    each.spend(48, NOW + HARD_AGE)


def test_what_is_sealed_at_any_age_does_not_begin_it() -> None:
    each = epoch()
    each.spend(48, NOW, ageless=True)
    assert not each.must_rekey(100, 1 << 30, SECOND, NOW + HARD_AGE)
    each.spend(48, NOW + HARD_AGE)
    assert not each.must_rekey(100, 1 << 30, SECOND, NOW + HARD_AGE + SECOND - 1)
    assert each.must_rekey(100, 1 << 30, SECOND, NOW + HARD_AGE + SECOND)


@pytest.mark.parametrize(("frames", "octets"), [(3, 1 << 30), (1 << 30, 144)])
def test_soft_limits(frames: int, octets: int) -> None:
    each = epoch()
    for _ in range(2):
        each.spend(48, NOW)
        assert not each.must_rekey(frames, octets, SECOND, NOW)
    each.spend(48, NOW)
    assert each.must_rekey(frames, octets, SECOND, NOW)
    each.step()
    assert not each.must_rekey(frames, octets, SECOND, NOW)


def test_an_unknown_suite_has_no_epoch() -> None:
    with pytest.raises(Refusal, match="CRYPTO"):
        Epoch(SECRET, direction=0, suite=9, purpose=LANE, sealing=True)
