"""How many bytes of datagrams are within the rate of a service, with clocks of the test's own."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.native.probe_rates import Rates
from tests.support.machines import examples

KIB, MIB = 1 << 10, 1 << 20
LEAST = 65_536
SECOND_US = 1_000_000
# Some time after the start of the machine.
START_US = 10**12
# How late the clock of a worker may be here.
LATE_US = 20_000


def rates(workers: int = 1, **of: dict[int, int]) -> Rates:
    made = Rates(workers=workers)
    made.set(**of)
    for worker in range(workers):
        made.at(START_US, worker)
    return made


def at_once(rate: int) -> int:
    return max(rate // 10, LEAST)


@pytest.mark.parametrize("rate", [KIB, 300_001, MIB, 16 * MIB, 1 << 30])
@pytest.mark.parametrize("n", [1, 77, 1_000, 65_507])
def test_so_many_bytes_pass_at_once_and_then_those_of_the_time(rate: int, n: int) -> None:
    made = rates(imports={0: rate})
    # Each is rounded up to whole nanoseconds: of short ones, at a gigabyte each second, a few fewer pass.
    time_ns = -(-n * 10**9 // rate)
    most_ns = -(-at_once(rate) * 10**9 // rate)
    passed = made.spend(0, n, times=2 * (most_ns // time_ns) + 2)
    assert passed == most_ns // time_ns
    assert at_once(rate) * 0.9 - n < passed * n <= at_once(rate)
    assert made.spend(0, n) == 0
    # A time later as much passes as flows in it, and what was left.
    later_us = 50_000 + time_ns // 1_000
    made.at(START_US + later_us)
    left_ns = most_ns - passed * time_ns
    assert made.spend(0, n, times=passed + 10) == min(left_ns + later_us * 1_000, most_ns) // time_ns


def test_a_long_time_gives_no_more_than_what_may_come_at_once() -> None:
    made = rates(imports={0: MIB})
    for day in range(1, 4):
        made.at(START_US + day * 86_400 * SECOND_US)
        assert made.spend(0, 1_000, times=1_000) == at_once(MIB) // 1_000


def test_the_longest_passes_at_the_least_rate_once_in_a_minute() -> None:
    made = rates(imports={0: KIB})
    passed = 0
    for second in range(600):
        made.at(START_US + second * SECOND_US)
        passed += made.spend(0, 65_507)
    assert passed == 1 + 599 * KIB // 65_507


def test_an_empty_one_costs_nothing() -> None:
    made = rates(imports={0: KIB})
    assert made.spend(0, LEAST) == 1
    assert made.spend(0, 0, times=100) == 100
    assert made.spend(0, 1) == 0


def test_directions_services_and_ends_have_their_own() -> None:
    made = rates(imports={0: MIB, 1: MIB}, exports={0: MIB})
    share = at_once(MIB) // 1_000
    for number, is_import in ((0, True), (1, True), (0, False)):
        for from_socket in (True, False):
            passed = made.spend(number, 1_000, is_import=is_import, from_socket=from_socket, times=1_000)
            assert passed == share
    # Of an export that has none, of no service, and of one that is not counted, all pass.
    for number in (1, -1, 1_024, 5_000):
        assert made.spend(number, 1_000, is_import=False, times=1_000) == 1_000


def test_a_shadow_is_nobodys() -> None:
    made = rates(imports={0: MIB})
    assert made.spend(0, 1_000, shadow=True, times=1_000) == 1_000
    assert made.spend(0, 1_000, times=1_000) == at_once(MIB) // 1_000


def test_those_without_a_rate_are_not_looked_at() -> None:
    made = rates(imports={0: 0, 3: MIB}, exports={7: KIB})
    assert made.rated == 2
    assert made.spend(0, 1_000, times=10_000) == 10_000
    made.set(imports={3: 0})
    assert made.rated == 1
    made.set(exports={7: 0})
    assert made.rated == 0
    assert made.spend(3, 1_000, times=10_000) == 10_000


# -- reloads ----------------------------------------------------------------------------------------------------------


def test_a_higher_rate_holds_within_the_time_of_what_may_come_at_once() -> None:
    made = rates(imports={0: KIB})
    # That lasts for a minute.
    assert made.spend(0, LEAST) == 1
    made.set(imports={0: MIB})
    assert made.spend(0, 1_000) == 0
    assert not made.has_room(0, 1_000)
    made.at(START_US + 50_000)
    assert made.spend(0, 1_000) == 0
    made.at(START_US + 102_000)
    assert made.spend(0, 1_000, times=100) in (1, 2)
    made.at(START_US + SECOND_US)
    assert made.spend(0, 1_000, times=1_000) == at_once(MIB) // 1_000


def test_a_client_who_is_new_is_not_kept_out_by_a_rate_that_is_no_more() -> None:
    made = rates(imports={0: KIB})
    made.spend(0, LEAST)
    made.set(imports={0: MIB})
    # Nobody else sends.
    assert not made.has_room(0, 1_000)
    made.at(START_US + 102_000)
    assert made.has_room(0, 1_000)


def test_a_lower_rate_holds_at_once() -> None:
    made = rates(imports={0: 100 * MIB})
    made.spend(0, 1_000, times=100_000)
    made.set(imports={0: KIB})
    passed = made.spend(0, 1_000, times=1_000)
    assert LEAST - 2_000 < passed * 1_000 <= LEAST
    made.at(START_US + 10 * SECOND_US)
    assert made.spend(0, 1_000, times=1_000) * 1_000 <= 10 * KIB + 1_000


def test_one_that_is_taken_away_and_comes_again_begins_full() -> None:
    made = rates(imports={0: MIB})
    made.spend(0, 1_000, times=1_000)
    made.set(imports={0: 0})
    assert made.spend(0, 1_000, times=1_000) == 1_000
    made.at(START_US + SECOND_US)
    made.set(imports={0: MIB})
    assert made.spend(0, 1_000, times=1_000) == at_once(MIB) // 1_000


# -- new clients ------------------------------------------------------------------------------------------------------


def test_to_ask_for_room_spends_nothing() -> None:
    made = rates(imports={0: MIB})
    for _ in range(1_000):
        assert made.has_room(0, 60_000)
    assert made.spend(0, 60_000, times=2) == 1
    assert made.has_room(0, 40_000)
    assert not made.has_room(0, 60_000)
    assert made.has_room(1, 60_000)


# -- workers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_threads_at_once_pass_no_more_than_one_would(seed: int) -> None:
    """With a budget that is looked at and spent in two steps, two of them would take the same bytes."""
    workers = 4
    made = rates(workers, imports={0: 256 * MIB})
    n = random.Random(seed).randint(50, 90)
    with ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(made.spend, 0, n, worker=worker, times=400_000) for worker in range(workers)]
        passed = sum(each.result() for each in running)
    time_ns = -(-n * 10**9 // (256 * MIB))
    assert passed == at_once(256 * MIB) * 10**9 // (256 * MIB) // time_ns


@settings(max_examples=examples(200))
@given(st.data())
def test_workers_whose_clocks_differ_keep_the_rate_together(data: st.DataObject) -> None:
    """A worker reads the clock at the start of a turn: some are late, and none makes what was spent undone."""
    rate = data.draw(st.sampled_from([10 * KIB, MIB, 100 * MIB]))
    made = rates(3, imports={0: rate})
    now_us, bytes_passed = START_US, 0
    for _ in range(data.draw(st.integers(1, 60))):
        now_us += data.draw(st.integers(0, 30_000))
        worker = data.draw(st.integers(0, 2))
        made.at(now_us - data.draw(st.integers(0, LATE_US)), worker)
        n = data.draw(st.integers(1, 65_507))
        bytes_passed += n * made.spend(0, n, worker=worker, times=data.draw(st.integers(1, 50)))
        assert bytes_passed <= at_once(rate) + rate * (now_us - START_US + LATE_US) / SECOND_US + 1
