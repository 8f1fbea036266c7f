"""Whether one set of histograms tends to be below another: Mann and Whitney's test with ties, in strata (pure).

H. B. Mann, D. R. Whitney, On a test of whether one of two random variables is stochastically larger than the other
(Ann. Math. Statist. 18, 1947). All in one bucket are ties. Where both kinds of set-up, real and shadow, are there, each
is compared with its own kind, and the statistics are added with the weights of P. van Elteren (Bull. Inst. Internat.
Statist. 37, 1960): the outlets have different parts of each kind, and pooled they would differ by that alone.

The normal approximation with continuity correction is used; below 20 on a side the caller does not ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import erfc, inf, sqrt
from statistics import NormalDist
from typing import NamedTuple

from msgspec import Struct


class Stratum(NamedTuple):
    """What is compared with each other: counts, or parts of them, of the same buckets."""

    new: Sequence[float]
    old: Sequence[float]


class Ranks(Struct, frozen=True):
    """How far the new values are from those they are compared with, in standard deviations."""

    below_z: float  # great where the new ones are below; includes the continuity correction
    above_z: float  # great where they are above

    @property
    def below_p(self) -> float:
        """How likely so low values are if they are not below."""
        return normal_tail(self.below_z)

    @property
    def above_p(self) -> float:
        """How likely so high values are if they are not above."""
        return normal_tail(self.above_z)


def compare(strata: Iterable[Stratum]) -> Ranks | None:
    """Compare new with old; nothing where no stratum has both."""
    distance = variance = correction = 0.0
    has_both = False
    for stratum in strata:
        moments = _moments(stratum)
        if moments is None:
            continue
        has_both = True
        excess, its_variance, weight = moments
        distance += weight * excess
        variance += weight * weight * its_variance
        correction += weight / 2
    if not has_both:
        return None
    if variance <= 0:
        # All are equal: nothing speaks for either side.
        return Ranks(-inf if correction else 0.0, -inf if correction else 0.0)
    deviation = sqrt(variance)
    return Ranks((-distance - correction) / deviation, (distance - correction) / deviation)


def normal_tail(z: float) -> float:
    """The probability that a standard normal value is above z."""
    return erfc(z / sqrt(2)) / 2


def normal_quantile(alpha: float) -> float:
    """The value that a standard normal one exceeds with a probability of alpha."""
    return -NormalDist().inv_cdf(alpha)


def _moments(stratum: Stratum) -> tuple[float, float, float] | None:
    """How far U is above its mean, its variance with ties, and van Elteren's weight."""
    news, olds = sum(stratum.new), sum(stratum.old)
    if news < 1 or olds < 1:
        return None
    below = above = ties = 0.0
    for new, old in zip(stratum.new, stratum.old, strict=True):
        if new or old:
            above += new * (below + old / 2)
            below += old
            together = new + old
            ties += together**3 - together
    total = news + olds
    variance = news * olds / 12 * (total + 1 - ties / (total * (total - 1)))
    return above - news * olds / 2, max(variance, 0.0), 1 / (total + 1)
