"""Exact binomial tails and bounds, from lgamma and bisection alone (pure).

The bounds are those of Clopper and Pearson, The use of confidence or fiducial limits (Biometrika 26, 1934): never too
narrow, whatever the share. A tail is summed from its greatest term outwards and ends where terms no longer count, so
that a million samples cost no more than some thousand additions.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, inf, lgamma, log, log1p

# Terms below this part of the sum are left out; it is what a float can hold.
NEGLIGIBLE = 1e-17
BISECTIONS = 60


def log_choose(n: int, k: int) -> float:
    """The logarithm of the number of ways to choose k of n."""
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def at_most(x: int, n: int, share: float) -> float:
    """The probability of x or fewer among n, each with a probability of share."""
    if x >= n:
        return 1.0
    if x < 0:
        return 0.0
    if share <= 0:
        return 1.0
    if share >= 1:
        return 0.0
    log_share, log_rest = log(share), log1p(-share)
    if x < n * share:
        return _descending(x, n, log_share, log_rest)
    return 1.0 - _descending(n - x - 1, n, log_rest, log_share)


def at_least(x: int, n: int, share: float) -> float:
    """The probability of x or more among n, each with a probability of share."""
    return at_most(n - x, n, 1 - share)


def upper_bound(x: int, n: int, alpha: float) -> float:
    """The greatest share with which x or fewer of n are still as likely as alpha; 1 where nothing was counted."""
    if n <= 0 or x >= n:
        return 1.0
    if x <= 0:
        return 1.0 - exp(log(alpha) / n)
    return _bisect(lambda share: at_most(x, n, share) > alpha)


def lower_bound(x: int, n: int, alpha: float) -> float:
    """The least share with which x or more of n are still as likely as alpha; 0 where nothing was counted."""
    return 1.0 - upper_bound(n - x, n, alpha) if n > 0 and x > 0 else 0.0


def least_samples(limit: float, alpha: float) -> float:
    """How many samples without one failure prove a share of at most limit; infinite where none do."""
    if limit <= 0:
        return inf
    return 1 if limit >= 1 else log(alpha) / log1p(-limit)


def _descending(x: int, n: int, log_share: float, log_rest: float) -> float:
    """The sum of the terms at x and below it, where x is below the mean: each term is less than the one before.

    The share and the rest of it come as logarithms, because near 0 and 1 one of them is lost beside the other.
    """
    # Of so many samples that the logarithms are rounded by more than they differ, it is still none above 1.
    term = exp(min(log_choose(n, x) + x * log_share + (n - x) * log_rest, 0.0))
    total = term
    odds = exp(log_rest - log_share)
    for k in range(x, 0, -1):
        term *= k / (n - k + 1) * odds
        total += term
        if term <= total * NEGLIGIBLE:
            break
    return min(total, 1.0)


def _bisect(is_below: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if is_below(middle):
            low = middle
        else:
            high = middle
    return high
