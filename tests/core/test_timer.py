"""Deadlines: none rings early, none is missed, however far the clock leaps."""

from hypothesis import given
from hypothesis import strategies as st

from tests.native.probe_store import Wheel

TICK, SLOTS = 16_384, 512
START = 10_000_000_000
DELAYS = st.integers(0, 3 * TICK) | st.integers(0, 3 * SLOTS * TICK) | st.sampled_from([TICK, SLOTS * TICK])
OPERATIONS = st.lists(
    st.tuples(st.just("set"), st.integers(0, 15), DELAYS)
    | st.tuples(st.just("clear"), st.integers(0, 15), st.just(0))
    | st.tuples(st.just("wait"), st.just(0), DELAYS),
    max_size=80,
)


@given(operations=OPERATIONS)
def test_each_rings_when_it_is_due(operations: list[tuple[str, int, int]]) -> None:
    wheel, now = Wheel(START), START
    due: dict[int, int] = {}
    known: set[int] = set()
    for what, name, delay in operations:
        if what == "set":
            wheel.set(name, now + delay)
            due[name] = now + delay
            known.add(name)
        elif what == "clear" and name in known:
            wheel.clear(name)
            due.pop(name, None)
        elif what == "wait":
            now += delay
        rung = set()
        while (name_rung := wheel.pop(now)) is not None:
            assert due.pop(name_rung) <= now
            rung.add(name_rung)
        assert [name for name, at in due.items() if at <= now] == [], rung
        assert len(wheel) == len(due)


def test_a_deadline_in_the_past_rings_at_once() -> None:
    wheel = Wheel(START)
    wheel.set(1, START - 5 * TICK)
    assert wheel.pop(START) == 1


def test_a_timer_that_is_set_again_rings_once() -> None:
    wheel = Wheel(START)
    wheel.set(1, START + TICK)
    wheel.set(1, START + 10 * TICK)
    assert wheel.pop(START + 5 * TICK) is None
    assert (wheel.pop(START + 10 * TICK), wheel.pop(START + 20 * TICK)) == (1, None)


def test_a_turn_of_the_wheel_too_early_is_not_its_time() -> None:
    wheel = Wheel(START)
    wheel.set(1, START + (SLOTS + 3) * TICK)
    for tick in range(SLOTS + 3):
        assert wheel.pop(START + tick * TICK) is None
    assert wheel.pop(START + (SLOTS + 3) * TICK) == 1
