"""The secrets of a link's lanes: numbers are used once, and what is past is forgotten."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.native.probe import LinkKeys, Refusal
from tests.reference.keys import LinkSecrets, Preamble
from tests.reference.lanes import LaneDoor
from tests.reference.refusals import Refused

SECRET, LINK_ID = bytes(range(32)), bytes(range(50, 66))
SECRETS = LinkSecrets(SECRET)


def link_keys(lanes: int = 4) -> LinkKeys:
    return LinkKeys(SECRET, LINK_ID, lanes)


def preamble(number: int, index: int = 0) -> bytes:
    return Preamble(index, number, LINK_ID).encode(SECRETS.proof_key)


def test_a_dialler_and_an_acceptor_have_the_same_secrets() -> None:
    dialler, acceptor = link_keys(), link_keys()
    for at in range(200):
        number, sent = dialler.dial(at % 4)
        assert (number, sent) == (at, preamble(at, at % 4))
        assert acceptor.check(sent) == (at % 4, at)
        assert dialler.take(at) == acceptor.take(at) == SECRETS.lane_secret(at)


# Steps from the greatest seen so far, mostly small, sometimes at or past the end of the range.
STEPS = st.lists(st.integers(-70, 70) | st.sampled_from([-65, -64, -63, 63, 64, 65]), max_size=40)


@given(steps=STEPS)
@example(steps=[63, 64, 64, -64, -65, -63, 65])
def test_numbers_are_taken_as_the_reference_takes_them(steps: list[int]) -> None:
    door, acceptor = LaneDoor(SECRETS, LINK_ID, 4), link_keys()
    for step in steps:
        number = max(max(door.seen, default=-1) + step, 0)
        try:
            door.take(preamble(number))
            wanted = True
        except Refused:
            wanted = False
        assert takes(acceptor, number) == wanted, number


def takes(acceptor: LinkKeys, number: int) -> bool:
    try:
        index, taken = acceptor.check(preamble(number))
    except Refusal as refusal:
        if refusal.reason != "BAD_PREAMBLE":
            raise
        return False
    return (index, taken) == (0, number) and acceptor.take(number) == SECRETS.lane_secret(number)


def test_a_secret_is_given_once() -> None:
    acceptor = link_keys()
    acceptor.check(preamble(0))
    acceptor.take(0)
    for number in (0, 1, 500):
        with pytest.raises(Refusal):
            acceptor.take(number)


def test_a_good_proof_uses_up_its_number() -> None:
    acceptor = link_keys(lanes=2)
    with pytest.raises(Refusal, match="BAD_PREAMBLE"):
        acceptor.check(preamble(0, index=2))
    with pytest.raises(Refusal, match="BAD_PREAMBLE"):
        acceptor.check(preamble(0))
    with pytest.raises(Refusal):
        acceptor.take(0)
    assert acceptor.check(preamble(1)) == (0, 1)


def test_a_bad_proof_uses_up_nothing() -> None:
    acceptor = link_keys()
    good = preamble(3, index=1)
    for bit in range(8 * 48):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Refusal, match="BAD_PREAMBLE"):
            acceptor.check(bytes(bad))
    assert acceptor.check(good) == (1, 3)


def test_what_was_taken_or_passed_is_forgotten() -> None:
    acceptor = link_keys()
    for number in (0, 5, 64, 128):
        acceptor.check(preamble(number))
        acceptor.take(number)
    held = acceptor.memory()
    gone = [0, 5, 64, 128, *range(1, 5), *range(6, 64)]
    assert [number for number in gone if SECRETS.lane_secret(number) in held] == []
    kept = [number for number in range(65, 128) if SECRETS.lane_secret(number) in held]
    assert kept == list(range(65, 128))
    assert SECRET not in held
    assert [number for number in range(129) if SECRETS.lane_root(number) in held] == []
