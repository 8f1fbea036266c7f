"""The judge in simulated cut-overs, seeded and short; `make acceptance-judge` counts more of them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.acceptance.judge import generator, steps
from tests.acceptance.judged import Route, Step, failures_until, falls_back, is_false_alarm

SEED = 658
FEW = Route(failures=0.001)


def test_equal_routes_open_within_two_soaks() -> None:
    done = steps(SEED, 20, FEW, FEW, 1_000, share=0.25)
    assert sum(step.opened_at is not None for step in done) >= 19
    assert [step.bad_at for step in done if step.bad_at is not None] == []


@pytest.mark.parametrize(
    "new",
    [Route(failures=0.001, slower=0.1), Route(failures=0.011), Route(failures=0.001, lost=0.02)],
    ids=["10 % slower", "1 % more failures", "1 % loss"],
)
def test_what_is_worse_by_the_margin_does_not_open(new: Route) -> None:
    done = steps(SEED, 12, FEW, new, 1_000, share=0.25)
    assert sum(step.opened_at is not None for step in done) <= 1


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (Route(slower=0.2), Route()),
        (Route(later_us=50_000), Route()),
        (Route(bulk=0.1, rate=0.1), Route(bulk=0.1)),
    ],
    ids=["20 % slower", "+50 ms", "a tenth of the rate"],
)
def test_what_is_much_slower_is_bad(new: Route, old: Route) -> None:
    done = steps(SEED, 6, old, new, 1_000, share=0.25)
    assert all(step.bad_at is not None and step.opened_at is None for step in done)


def test_what_becomes_slow_in_the_middle_is_seen_at_the_next_look() -> None:
    for run in range(6):
        step = Step(generator(SEED, run), Route(), Route(), 2_000, share=0.25).run(0.7)
        before = step.setups
        step.new_route = Route(later_us=50_000)
        step.run(0.3)
        assert step.bad_at is not None
        assert step.bad_at - before <= 200


@pytest.mark.parametrize(("share", "median", "high"), [(0.01, 49, 138), (0.05, 15, 40), (0.25, 11, 24), (0.5, 16, 29)])
def test_ten_times_as_many_failures_are_known_as_the_design_says(share: float, median: int, high: int) -> None:
    chance = generator(SEED, 1)
    counts = [failures_until(chance, share, 10.0) for _ in range(250)]
    assert np.median(counts) == pytest.approx(median, rel=0.25)
    assert np.percentile(counts, 95) == pytest.approx(high, rel=0.3)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.25, 0.5])
def test_equal_outlets_rarely_have_great_odds(share: float) -> None:
    chance = generator(SEED, 2)
    assert sum(is_false_alarm(chance, share) for _ in range(1_500)) <= 9


@pytest.mark.parametrize("share", [0.01, 0.25, 1.0])
def test_equal_outlets_do_not_fall_back(share: float) -> None:
    runs = [falls_back(generator(SEED, 3, run), share, 10_000, 0.001, 0.001) for run in range(40)]
    assert [at for at in runs if at is not None] == []


@pytest.mark.parametrize("share", [0.01, 0.05, 0.25])
def test_a_dead_gateway_falls_back_at_its_first_failure(share: float) -> None:
    assert {falls_back(generator(SEED, 4, run), share, 10_000, 1.0, 0.001) for run in range(20)} == {1}
