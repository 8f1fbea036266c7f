"""Tails and bounds of the binomial distribution are those of SciPy.

That is imported by the tests that use it: it takes a second of whoever only collects them.
"""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pcgrelay.cutover import binomial

shares = st.one_of(st.floats(1e-9, 1 - 1e-9), st.sampled_from([0.0, 1.0, 0.001, 0.5]))
counts = st.one_of(st.integers(0, 500), st.integers(0, 1_000_000))


@st.composite
def part_of(draw: st.DrawFn) -> tuple[int, int]:
    n = draw(counts)
    return draw(st.integers(0, n)), n


@given(part_of(), shares)
def test_tails(part: tuple[int, int], share: float) -> None:
    from scipy import stats

    x, n = part
    assert binomial.at_most(x, n, share) == pytest.approx(stats.binom.cdf(x, n, share), rel=1e-6, abs=1e-12)
    assert binomial.at_least(x, n, share) == pytest.approx(stats.binom.sf(x - 1, n, share), rel=1e-6, abs=1e-12)


@given(part_of(), st.sampled_from([0.05, 0.025, 0.0125, 0.0025, 1e-6]))
def test_bounds_are_those_of_clopper_and_pearson(part: tuple[int, int], alpha: float) -> None:
    from scipy import stats

    x, n = part
    assume(n > 0)
    interval = stats.binomtest(x, n).proportion_ci(1 - 2 * alpha, method="exact")
    assert binomial.upper_bound(x, n, alpha) == pytest.approx(interval.high, rel=1e-6, abs=1e-12)
    assert binomial.lower_bound(x, n, alpha) == pytest.approx(interval.low, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("x", [0, 1, 10**12 - 1])
def test_so_many_that_a_share_is_lost_beside_one(x: int) -> None:
    """No file may hold more of them."""
    assert 0.0 <= binomial.lower_bound(x, 10**12, 0.05) <= binomial.upper_bound(x, 10**12, 0.05) <= 1.0


def test_none_of_300_is_below_one_percent() -> None:
    assert binomial.upper_bound(0, 300, 0.05) < 0.01 < binomial.upper_bound(0, 298, 0.05)
    assert 298 < binomial.least_samples(0.01, 0.05) < 299
    assert binomial.least_samples(0.0, 0.05) == float("inf")
    assert binomial.least_samples(1.0, 0.05) == 1


def test_nothing_counted_is_nothing_known() -> None:
    assert binomial.upper_bound(0, 0, 0.05) == 1.0
    assert binomial.lower_bound(0, 0, 0.05) == 0.0


@given(part_of(), st.integers(1, 1_000))
def test_a_bound_comes_closer_with_more_that_are_well(part: tuple[int, int], more: int) -> None:
    x, n = part
    assert binomial.upper_bound(x, n + more, 0.05) <= binomial.upper_bound(x, n, 0.05)
