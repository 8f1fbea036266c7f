"""Mann and Whitney's test on buckets is SciPy's on values in buckets.

That is imported by the tests that use it: it takes a second of whoever only collects them.
"""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pcgrelay.cutover.histogram import bucket_of, dense_of, from_values
from pcgrelay.cutover.ranks import Stratum, compare, normal_quantile, normal_tail

times = st.lists(st.integers(64, 4_000), min_size=2, max_size=60)


def stratum(new: list[int], old: list[int]) -> Stratum:
    return Stratum(dense_of(from_values(new)), dense_of(from_values(old)))


@given(times, times)
def test_it_is_scipys_with_ties(new: list[int], old: list[int]) -> None:
    from scipy import stats

    ranks = compare([stratum(new, old)])
    assert ranks is not None
    in_buckets = [bucket_of(each) for each in new], [bucket_of(each) for each in old]
    assume(len({*in_buckets[0], *in_buckets[1]}) > 1)
    for alternative, p in (("less", ranks.below_p), ("greater", ranks.above_p)):
        scipys = stats.mannwhitneyu(*in_buckets, alternative=alternative, method="asymptotic")
        assert p == pytest.approx(scipys.pvalue, rel=1e-9)


def test_with_nothing_to_compare_there_is_no_answer() -> None:
    assert compare([]) is None
    assert compare([stratum([100], [])]) is None


def test_where_all_are_equal_nothing_speaks_for_either() -> None:
    ranks = compare([stratum([100] * 50, [100] * 50)])
    assert ranks is not None
    assert ranks.below_p == ranks.above_p == 1.0


@given(times, times)
def test_twice_the_same_stratum_is_further_out(new: list[int], old: list[int]) -> None:
    one, two = compare([stratum(new, old)]), compare([stratum(new, old)] * 2)
    assert one is not None
    assert two is not None
    assert abs(two.below_z) == float("inf") or two.below_z == pytest.approx(one.below_z * 2**0.5)


def test_a_mixture_of_kinds_is_no_difference() -> None:
    """Shadows are quicker than real set-ups here, and the outlets have other parts of them; both are equal."""
    chance = Random(658)

    def draw(n: int, around: float) -> list[int]:
        return [int(around * chance.lognormvariate(0, 0.2)) for _ in range(n)]

    real, shadow = (draw(200, 20_000), draw(1_800, 20_000)), (draw(400, 8_000), draw(400, 8_000))
    pooled = compare([stratum(real[0] + shadow[0], real[1] + shadow[1])])
    apart = compare([stratum(*real), stratum(*shadow)])
    assert pooled is not None
    assert apart is not None
    assert pooled.below_p < 1e-6
    assert 0.01 < apart.below_p < 0.99


def test_false_answers_are_as_rare_as_they_should_be() -> None:
    generator = np.random.default_rng(658)
    rejected = 0
    for _ in range(400):
        new, old = (generator.lognormal(9, 0.5, 40).astype(int).tolist() for _ in range(2))
        ranks = compare([stratum(new, old), stratum(old[:20], new[20:])])
        assert ranks is not None
        rejected += ranks.below_p < 0.05
    assert rejected < 400 * 0.09


@given(st.floats(1e-12, 0.5))
def test_the_normal_distribution(alpha: float) -> None:
    from scipy import stats

    assert normal_tail(normal_quantile(alpha)) == pytest.approx(alpha, rel=1e-6)
    assert normal_tail(1.7) == pytest.approx(stats.norm.sf(1.7))
