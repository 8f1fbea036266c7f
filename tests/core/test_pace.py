"""How much bulk may be under way: what the path holds twice over, found from acknowledgements alone."""

from collections import deque

import pytest

from tests.native.probe_flow import Pace

FIRST, LEAST = 524_288, 65_536
PERIOD_US = 10_000_000
MEGABYTE = 1 << 20


def run(pace: Pace, *, rate: int, round_us: int, seconds: float, now_us: int = 1, step_us: int = 1_000) -> int:
    """A sender that always has bulk, on a path of this rate (bytes a second) and delay; answer the time at the end."""
    under_way = 0
    queued = 0.0
    arriving: deque[tuple[int, int, int]] = deque()
    end_us = now_us + round(seconds * 1e6)
    while now_us < end_us:
        now_us += step_us
        queued = max(0.0, queued - rate * step_us / 1e6)
        while arriving and arriving[0][0] <= now_us:
            _, size, sent_us = arriving.popleft()
            under_way -= size
            pace.acknowledged(size, now_us)
            pace.round(now_us - sent_us, now_us)
        while under_way < pace.limit(now_us):
            queued += 65_536
            under_way += 65_536
            arriving.append((now_us + round_us + round(queued / rate * 1e6), 65_536, now_us))
    return now_us


def test_before_anything_was_measured_there_is_a_fixed_limit() -> None:
    assert Pace().limit(1) == FIRST


@pytest.mark.parametrize(
    ("rate", "round_us"), [(10 * MEGABYTE, 20_000), (100 * MEGABYTE, 40_000), (100 * MEGABYTE, 100_000)]
)
def test_a_long_way_is_filled_and_not_much_more(rate: int, round_us: int) -> None:
    pace = Pace()
    now_us = run(pace, rate=rate, round_us=round_us, seconds=4)
    holds = rate * round_us / 1e6
    assert 1.5 * holds < pace.limit(now_us) < 3 * holds


def test_it_is_filled_within_a_few_round_trips() -> None:
    pace = Pace()
    now_us = run(pace, rate=100 * MEGABYTE, round_us=40_000, seconds=0.6)
    assert pace.limit(now_us) > 100 * MEGABYTE * 0.04


def test_a_short_way_holds_little() -> None:
    pace = Pace()
    now_us = run(pace, rate=1_000 * MEGABYTE, round_us=200, seconds=0.5, step_us=100)
    assert pace.limit(now_us) <= 2 * MEGABYTE


def test_a_slow_way_holds_less_than_the_first_limit() -> None:
    pace = Pace()
    now_us = run(pace, rate=MEGABYTE, round_us=20_000, seconds=8)
    assert LEAST <= pace.limit(now_us) < FIRST / 2


def test_a_queue_of_our_own_does_not_pass_for_a_longer_way() -> None:
    pace = Pace()
    now_us = run(pace, rate=50 * MEGABYTE, round_us=40_000, seconds=45)
    assert pace.limit(now_us) < 3 * 50 * MEGABYTE * 0.04


def test_a_way_that_became_longer_is_believed_after_two_periods() -> None:
    pace = Pace()
    now_us = run(pace, rate=50 * MEGABYTE, round_us=10_000, seconds=2)
    now_us = run(pace, rate=50 * MEGABYTE, round_us=60_000, seconds=2 * PERIOD_US / 1e6 + 2, now_us=now_us)
    assert pace.limit(now_us) > 1.5 * 50 * MEGABYTE * 0.06


def test_another_path_is_measured_anew() -> None:
    pace = Pace()
    now_us = run(pace, rate=100 * MEGABYTE, round_us=40_000, seconds=2)
    assert pace.limit(now_us) > FIRST
    pace.forget()
    assert pace.limit(now_us) == FIRST


def test_no_figure_overflows() -> None:
    pace = Pace()
    pace.acknowledged(1, 1)
    pace.acknowledged(1 << 39, 1_000_001)
    pace.round(1 << 35, 1_000_002)
    assert pace.limit(1_000_003) > 1 << 40


def test_a_round_trip_of_zero_is_one() -> None:
    pace = Pace()
    pace.acknowledged(1, 1)
    pace.acknowledged(1, 1_000_001)
    pace.round(0, 1_000_002)
    assert pace.limit(1_000_003) == LEAST
