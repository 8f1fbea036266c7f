"""How long something that was away has to be well before it is preferred again."""

from __future__ import annotations

import random

from pcgrelay.health.damping import FORGET_MS, HOLD_MOST_MS, HOLD_MS, FlapDamping


def test_what_was_never_away_is_steady_at_once() -> None:
    assert not FlapDamping().is_steady(0)
    assert FlapDamping().after(True, 10).is_steady(10)


def test_what_fell_has_to_be_well_for_a_while() -> None:
    fallen = FlapDamping().after(True, 0).after(False, 100)
    back = fallen.after(True, 200)
    assert (back.hold_ms, back.left_ms(200), back.left_ms(200 + HOLD_MS)) == (HOLD_MS, HOLD_MS, 0)
    assert not back.is_steady(200 + HOLD_MS - 1)
    assert back.is_steady(200 + HOLD_MS)
    assert fallen.left_ms(150) == 0


def test_what_flaps_waits_twice_as_long_each_time() -> None:
    state, now, holds = FlapDamping().after(True, 0), 0, []
    for _ in range(12):
        state = state.after(False, now := now + 10).after(True, now := now + 10)
        holds.append(state.hold_ms)
    assert holds[:4] == [HOLD_MS, 2 * HOLD_MS, 4 * HOLD_MS, 8 * HOLD_MS]
    assert holds[-1] == HOLD_MOST_MS


def test_falls_are_forgotten_after_a_long_time() -> None:
    back = FlapDamping().after(True, 0).after(False, 10).after(True, 20)
    assert back.after(True, 20 + FORGET_MS - 1).falls == 1
    assert back.after(True, 20 + FORGET_MS).falls == 0
    # Also if nobody looked in between.
    assert back.after(False, 20 + FORGET_MS).falls == 1
    assert back.after(False, 20 + FORGET_MS - 1).falls == 2


def test_looks_that_change_nothing_change_nothing() -> None:
    rng = random.Random(4)
    state, now = FlapDamping(), 0
    for _ in range(2_000):
        now += rng.randrange(3_000)
        is_well = rng.random() < 0.7
        state = state.after(is_well, now)
        assert state.is_well is is_well
        assert state.after(is_well, now) == state
        assert 0 <= state.left_ms(now) <= HOLD_MOST_MS
