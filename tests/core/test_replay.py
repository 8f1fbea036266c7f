"""The replay window beside a model that keeps every number that was ever taken."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native.probe import Refusal, Replay

WINDOW = 1024
# How far the next number is from the greatest so far: mostly near, at the border of the window, of a word of bits or of
# the whole ring, and at times far.
AWAY = (
    st.integers(-2 * WINDOW, 2 * WINDOW)
    | st.sampled_from([step + near for step in (-WINDOW, -64, 0, 64, 960, 1024, 1088, 1152) for near in (-1, 0, 1)])
    | st.integers(0, 1 << 40)
)


def outcome(act: Callable[[int], None], number: int) -> str:
    try:
        act(number)
    except Refusal as refusal:
        return refusal.reason
    return "taken"


def expected(taken: set[int], number: int) -> str:
    if number <= max(taken, default=-1) - WINDOW:
        return "STALE"
    return "REPLAYED" if number in taken else "taken"


@given(first=st.integers(0, 1 << 41), steps=st.lists(st.tuples(AWAY, st.booleans()), max_size=60))
def test_it_is_the_model(first: int, steps: list[tuple[int, bool]]) -> None:
    replay, taken = Replay(), set[int]()
    for away, opens in [(0, True), *steps]:
        number = max(0, max(taken, default=first) + away)
        wanted = expected(taken, number)
        if not opens:
            # What does not open is asked for and not taken.
            assert outcome(replay.check, number) == wanted, number
            continue
        assert outcome(replay.take, number) == wanted, number
        if wanted == "taken":
            taken.add(number)


@given(order=st.permutations(range(200)), first=st.sampled_from([0, 1, 63, 64, 1_000, (1 << 48) - 201]))
def test_whatever_the_order_each_is_taken_once(order: list[int], first: int) -> None:
    replay = Replay()
    assert {outcome(replay.take, first + at) for at in order} == {"taken"}
    assert {outcome(replay.take, first + at) for at in order} == {"REPLAYED"}


@pytest.mark.parametrize("greatest", [1_023, 1_024, 1_087, 1_088, 5_000, (1 << 48) - 1])
def test_each_number_of_the_window_is_taken_and_none_below(greatest: int) -> None:
    replay = Replay()
    replay.take(greatest)
    for number in range(max(0, greatest - 1_100), greatest):
        assert outcome(replay.take, number) == ("taken" if number > greatest - WINDOW else "STALE")


def test_a_jump_wipes_all_that_it_steps_over() -> None:
    for jump in (1, 63, 64, 1_023, 1_024, 1_088, 2_000, 1 << 40):
        replay = Replay()
        for number in range(3_000):
            replay.take(number)
        replay.take(2_999 + jump)
        for number in range(max(3_000, 3_000 + jump - WINDOW), 2_999 + jump):
            replay.take(number)
