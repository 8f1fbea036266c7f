"""Shares become 200 slots: exact in the whole, nearly exact at any moment, and without a rhythm."""

from __future__ import annotations

from math import inf, nan
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.cutover.slots import SLOTS, SharesProblem, apportion, check_shares, deal

seeds = st.integers(0, 2**32)


@st.composite
def shares(draw: st.DrawFn, least: int = 1, most: int = 4) -> tuple[float, ...]:
    outlets = draw(st.integers(least, most))
    cuts = sorted(draw(st.lists(st.integers(0, SLOTS), min_size=outlets - 1, max_size=outlets - 1)))
    return tuple((high - low) / 2 for low, high in zip([0, *cuts], [*cuts, SLOTS], strict=True))


def worst(slots: bytes, given_shares: tuple[float, ...], start: int = 0) -> float:
    """How far any outlet's count is ever from its share, from that slot on."""
    counts = [0] * len(given_shares)
    farthest = 0.0
    for n in range(1, 2 * SLOTS + 1):
        counts[slots[(start + n - 1) % SLOTS]] += 1
        farthest = max(
            farthest, *(abs(count - n * share / 100) for count, share in zip(counts, given_shares, strict=True))
        )
    return farthest


@given(shares(), seeds, st.integers(0, SLOTS - 1))
def test_any_200_in_a_row_have_exact_counts(some: tuple[float, ...], seed: int, start: int) -> None:
    slots = deal(some, Random(seed)).slots
    window = (slots + slots)[start : start + SLOTS]
    assert [window.count(outlet) for outlet in range(len(some))] == [share * 2 for share in some]


@given(shares(2, 2), seeds, st.integers(0, SLOTS - 1))
def test_two_outlets_are_within_one_at_any_time(some: tuple[float, ...], seed: int, start: int) -> None:
    slots = deal(some, Random(seed)).slots
    assert worst(slots, some) <= 1
    assert worst(slots, some, start) <= 2


@given(shares(3, 4), seeds, st.integers(0, SLOTS - 1))
def test_more_outlets_are_within_two_at_any_time(some: tuple[float, ...], seed: int, start: int) -> None:
    slots = deal(some, Random(seed)).slots
    assert worst(slots, some) <= 2
    assert worst(slots, some, start) <= 4


@given(shares(), seeds, seeds)
def test_a_table_is_kept_while_the_shares_are_the_same(some: tuple[float, ...], seed: int, other: int) -> None:
    first = deal(some, Random(seed))
    assert deal(some, Random(other), first) is first
    assert deal(some, Random(seed)) == first


def test_another_seed_deals_another_table() -> None:
    tables = {deal((90.0, 10.0), Random(seed)).slots for seed in range(50)}
    assert len(tables) == 50
    # No place is favoured: each has its turn about as often as its share says.
    tried = [table[7] for table in (deal((50.0, 50.0), Random(seed)).slots for seed in range(2_000))]
    assert 900 < sum(tried) < 1_100


@pytest.mark.parametrize(
    ("some", "words"),
    [
        ((), "there are 0 shares"),
        ((20.0,) * 5, "there are 5 shares"),
        ((99.0, 0.75), "0.75 is no share"),
        ((101.0, -1.0), "101 is no share"),
        ((nan, 100.0), "nan is no share"),
        ((inf, 100.0), "inf is no share"),
        ((60.0, 50.0), "add up to 110 percent"),
    ],
)
def test_what_is_no_share_is_refused(some: tuple[float, ...], words: str) -> None:
    with pytest.raises(SharesProblem, match=words):
        check_shares(some)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=6).filter(any), st.integers(1, 1_000))
def test_places_are_apportioned_by_the_largest_remainder(weights: list[int], places: int) -> None:
    counts = apportion(weights, places)
    assert sum(counts) == places
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - weight * places / sum(weights)) < 1


def test_equal_remainders_go_to_the_earlier_one_and_nothing_is_refused() -> None:
    assert apportion((1, 1, 1), 200) == (67, 67, 66)
    for wrong in ((0.0, 0.0), (-1.0, 2.0)):
        with pytest.raises(SharesProblem):
            apportion(wrong)
