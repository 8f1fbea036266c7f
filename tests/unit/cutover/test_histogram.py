"""Buckets are the core's; quantiles, sums, differences and stretched times are what they say."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.cutover.histogram import (
    BUCKETS,
    EDGES,
    LEAST,
    MOST,
    Histogram,
    HistogramProblem,
    bucket_of,
    dense_of,
    from_dense,
    from_values,
    stretch,
)
from pcgrelay.cutover.margin import Margin, MarginProblem
from tests.native.probe import meter_bucket

values = st.integers(LEAST, MOST - 1)
many = st.lists(values, min_size=1, max_size=60)


numbers = st.one_of(st.integers(0, MOST * 4), st.integers(0, 2**64 - 1), st.sampled_from([MOST - 1, MOST, 2**63]))


@given(numbers)
def test_buckets_are_those_of_the_core(value: int) -> None:
    bucket = bucket_of(value)
    assert bucket == meter_bucket(value)
    if LEAST <= value < MOST:
        assert EDGES[bucket] <= value < EDGES[bucket + 1]


def test_there_are_sixteen_buckets_to_each_of_twenty_octaves() -> None:
    assert (BUCKETS, EDGES[0], EDGES[-1]) == (320, 64, 1 << 26)
    assert all(high - low == max(4, 4 << at // 16) for at, (low, high) in enumerate(pairwise(EDGES)))


@given(many, st.floats(0, 1))
def test_a_quantile_is_within_a_bucket_of_the_true_one(some: list[int], share: float) -> None:
    at = from_values(some).quantile(share)
    assert at is not None
    true = sorted(some)[max(0, -int(-share * len(some) // 1) - 1)]
    assert abs(bucket_of(at) - bucket_of(true)) <= 1


@given(many, many)
def test_sums_and_differences(first: list[int], second: list[int]) -> None:
    one, both = from_values(first), from_values(first + second)
    assert one + from_values(second) == both
    assert both.since(one) == from_values(second)
    assert both.total == len(first) + len(second)
    # A counter that began anew has nothing to take away.
    more = from_values([*first, first[0]])
    assert one.since(more) == one


@given(many)
def test_the_sparse_form_goes_through_json(some: list[int]) -> None:
    histogram = from_values(some)
    assert msgspec.json.decode(msgspec.json.encode(histogram), type=Histogram) == histogram
    assert from_dense([int(count) for count in dense_of(histogram)]) == histogram


@pytest.mark.parametrize("counts", [((320, 1),), ((-1, 1),), ((5, 0),), ((5, -1),), ((5, 1), (5, 1)), ((6, 1), (5, 1))])
def test_what_is_no_histogram_is_refused(counts: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(HistogramProblem):
        Histogram(counts)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode({"counts": counts}), type=Histogram)


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(HistogramProblem):
        from_dense([0] * 319)


@given(many, st.sampled_from(["10 % or 5 ms", "10 %", "5 ms", "0 %", "100 %", "60 s"]))
def test_stretched_times_are_as_many_and_as_much_longer(some: list[int], text: str) -> None:
    margin = Margin.parse(text)
    dense = stretch(from_values(some), margin.beyond)
    assert sum(dense) == pytest.approx(len(some))
    # Each lies where its bucket's ends were stretched to.
    low = min(margin.beyond(EDGES[bucket_of(value)]) for value in some)
    high = max(margin.beyond(EDGES[bucket_of(value) + 1]) for value in some)
    filled = [bucket for bucket, count in enumerate(dense) if count]
    assert bucket_of(low) <= filled[0] <= filled[-1] <= bucket_of(high)


def test_what_is_better_the_greater_it_is_shrinks() -> None:
    dense = stretch(from_values([20_000] * 10), Margin(0.1).below)
    mean = sum(count * (EDGES[at] + EDGES[at + 1]) / 2 for at, count in enumerate(dense)) / 10
    assert mean == pytest.approx(18_000, rel=0.03)
    assert sum(stretch(from_values([64] * 3), Margin(0.99).below)) == 3


def test_no_margin_changes_nothing() -> None:
    histogram = from_values([100, 1_000, 66_000_000])
    assert stretch(histogram, Margin().beyond) == pytest.approx(dense_of(histogram))


def test_slow_ones_are_counted() -> None:
    histogram = from_values([1_000] * 99 + [900_000])
    assert histogram.above(2_000) == 1
    assert histogram.above(900_000) == 0
    assert Histogram().quantile(0.5) is None


@pytest.mark.parametrize(
    ("text", "at_12_ms", "at_200_ms"),
    [
        ("10 % or 5 ms", 17_000, 220_000),
        ("10%", 13_200, 220_000),
        ("5ms", 17_000, 205_000),
        ("0.5 s", 512_000, 700_000),
    ],
)
def test_the_greater_amount_counts(text: str, at_12_ms: float, at_200_ms: float) -> None:
    margin = Margin.parse(text)
    assert margin.beyond(12_000) == pytest.approx(at_12_ms)
    assert margin.beyond(200_000) == pytest.approx(at_200_ms)


@pytest.mark.parametrize(
    "text", ["", "10", "% or ms", "-1 %", "1e3 %", "10 % or", "10 % or 5", "1001 %", "61 s", "١ %"]
)
def test_what_is_no_margin_is_refused(text: str) -> None:
    with pytest.raises(MarginProblem):
        Margin.parse(text)
