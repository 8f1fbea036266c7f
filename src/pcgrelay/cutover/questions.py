"""The questions that open the next step, each with three outcomes: good, bad, open (pure).

Good: the new outlet is not worse than the margin allows, shown at the level `Levels.good`. Bad: it is worse than that,
shown at the level `Levels.bad`. Open: neither is shown yet; then the finding says how many more set-ups on the new
outlet it takes, if what was seen goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from math import ceil

from msgspec import Struct

from pcgrelay.cutover import binomial
from pcgrelay.cutover.histogram import Histogram, dense_of, stretch
from pcgrelay.cutover.margin import Margin
from pcgrelay.cutover.ranks import Stratum, compare, normal_quantile
from pcgrelay.cutover.samples import Limits, Outlet, Samples
from pcgrelay.ranges import Share

# Below this on a side the normal approximation of ranks is too coarse.
TIMES_LEAST = 20
TAIL_QUANTILE = 0.99
TAIL_LEAST = 100  # of the old outlet, for a 99th percentile
# Fewer streams that broke are nothing.
BROKEN_LEAST = 3
# What takes longer is not foreseen.
NEEDED_MOST = 10_000_000


class Outcome(Enum):
    """What is known of a question."""

    GOOD = "good"
    BAD = "bad"
    OPEN = "open"


class Finding(Struct, frozen=True):
    """The answer to one question."""

    question: str
    outcome: Outcome
    sentence: str
    value: float | None = None  # what was computed: a bound, or a probability
    limit: float | None = None  # what it was compared with
    needed: int | None = 0  # more set-ups on the new outlet, if it is open; nothing: it does not become good as it is


class Levels(Struct, frozen=True):
    """The levels of significance of one look; zero: that outcome is not looked for."""

    good: Share
    bad: Share


def ask_enough(new: Outlet, limits: Limits) -> Finding:
    """Whether there were as many set-ups at this step as the plan wants."""
    setups = new.setups
    short = limits.streams - setups
    if short <= 0:
        return Finding("enough", Outcome.GOOD, f"{setups:,} set-ups", float(setups), float(limits.streams))
    sentence = f"{setups:,} set-ups of {limits.streams:,} that are wanted"
    return Finding("enough", Outcome.OPEN, sentence, float(setups), float(limits.streams), short)


def failures_limit(new: Outlet, old: Outlet, limits: Limits) -> float:
    """The share of failures that the new outlet may have: the old one's of each kind, in the new one's mixture."""
    mixture = [each.tried for each in new.kinds]
    return _expected(mixture, [(each.failed, each.tried) for each in old.kinds]) + limits.failures.share


def ask_failures(new: Outlet, old: Outlet, limits: Limits, levels: Levels) -> Finding:
    """Whether the new outlet fails more often than the old one and the margin: exact bounds, whole cut-over."""
    limit = failures_limit(new, old, limits)
    parts = [(theirs.failed, theirs.tried) for theirs in old.kinds]
    return _share_finding("failures", "fail", (new.failed, new.tried), parts, limit, limits.failures, levels)


def ask_times(
    question: str, kinds: Callable[[Samples], Histogram], outlets: tuple[Outlet, Outlet], margin: Margin, levels: Levels
) -> Finding:
    """Whether the new outlet (the first) is slower than the old one's times stretched by the margin."""
    new, old = outlets
    strata = _strata(new, old, kinds, margin.beyond)
    counts = sum(kinds(each).total for each in new.kinds), sum(kinds(each).total for each in old.kinds)
    if min(counts) < TIMES_LEAST:
        sentence = f"{counts[0]:,} and {counts[1]:,} on {old.name}, of {TIMES_LEAST} on each that are wanted"
        return Finding(question, Outcome.OPEN, sentence, None, None, max(1, TIMES_LEAST - min(counts)))
    return _rank_finding(question, strata, levels, new.setups, lower_is_better=True)


def ask_rate(new: Outlet, old: Outlet, limits: Limits, levels: Levels) -> Finding:
    """Whether the new outlet's bulk streams are slower than the old one's less the margin; good if there are few."""
    counts = sum(each.rate.total for each in new.kinds), sum(each.rate.total for each in old.kinds)
    if min(counts) < TIMES_LEAST:
        sentence = f"too little bulk to judge ({counts[0]:,} and {counts[1]:,} streams)"
        return Finding("rate", Outcome.GOOD, sentence)
    strata = _strata(new, old, lambda each: each.rate, limits.rate.below)
    return _rank_finding("rate", strata, levels, new.setups, lower_is_better=False)


def ask_tail(new: Outlet, old: Outlet, limits: Limits, levels: Levels) -> Finding:
    """Whether more set-ups are slower than the old outlet's 99th percentile and the margin than the old one's are.

    Ranks do not see a few very slow ones, as lost packets make them. So many more may be so slow as may fail.
    """
    total = sum((each.setup for each in old.kinds), Histogram())
    percentile = total.quantile(TAIL_QUANTILE)
    if percentile is None or total.total < TAIL_LEAST:
        short = TAIL_LEAST - total.total
        sentence = f"{total.total:,} set-ups on {old.name}, of {TAIL_LEAST} that are wanted"
        return Finding("tail", Outcome.OPEN, sentence, None, None, short)
    at = limits.setup.beyond(percentile)
    slow = sum(each.setup.above(at) for each in new.kinds)
    parts = [(each.setup.above(at), each.setup.total) for each in old.kinds]
    limit = _expected([each.setup.total for each in new.kinds], parts) + limits.failures.share
    what = f"take longer than {_time(at)}"
    return _share_finding("tail", what, (slow, new.setups), parts, limit, limits.failures, levels)


def ask_broken(new: Outlet, old: Outlet, limits: Limits, levels: Levels) -> Finding:
    """Whether more streams of applications end early or are cut than on the old outlet, and than may fail.

    It is good unless something speaks against it: as long as both outlets carry streams the odds see what breaks. At
    the last step nothing is left to compare with but this.
    """
    (broken, total), part = _broken(new), _broken(old)
    limit = (part[0] / part[1] if part[1] else 0.0) + limits.failures.share
    least = binomial.lower_bound(broken, total, levels.bad / 2) if levels.bad and broken else 0.0
    most = binomial.upper_bound(*part, levels.bad / 2) if levels.bad and part[1] else 1.0
    shown = f"{broken:,} of {total:,} broke, {_percent(limit)} may"
    if least > most + limits.failures.share:
        return Finding("broken", Outcome.BAD, shown, least, most + limits.failures.share)
    if broken >= BROKEN_LEAST and broken > limit * total:
        return Finding("broken", Outcome.OPEN, shown, broken / total, limit, None)
    return Finding("broken", Outcome.GOOD, shown, broken / total if total else 0.0, limit)


def _broken(outlet: Outlet) -> tuple[int, int]:
    """Streams of applications that broke, and those that were up. A stream may be older than what is looked at."""
    return outlet.real.broken, max(outlet.real.setup.total, outlet.real.broken)


def _expected(mixture: Sequence[int], old: Sequence[tuple[int, int]]) -> float:
    """The old outlet's share, given as a count and its total for each kind, if it had the mixture of the new one."""
    count, total = sum(x for x, _ in old), sum(n for _, n in old)
    pooled = count / total if total else 0.0
    expected = sum(n * (part / whole if whole else pooled) for n, (part, whole) in zip(mixture, old, strict=True))
    return expected / sum(mixture) if sum(mixture) else pooled


def _share_finding(
    question: str,
    what: str,
    new: tuple[int, int],
    old: Sequence[tuple[int, int]],
    limit: float,
    margin: Margin,
    levels: Levels,
) -> Finding:
    """Whether a share, given as a count and its total, is within the limit; for bad both shares are uncertain."""
    x, n = new
    bound = binomial.upper_bound(x, n, levels.good) if levels.good else 1.0
    shown = f"{x:,} of {n:,} {what}; at most {_percent(bound)} do, {_percent(limit)} may"
    if levels.good and bound <= limit:
        return Finding(question, Outcome.GOOD, shown, bound, limit)
    if levels.bad:
        least = binomial.lower_bound(x, n, levels.bad / 2)
        most = max((binomial.upper_bound(*each, levels.bad / 2) for each in old if each[1]), default=1.0)
        if least > most + margin.share:
            sentence = f"{x:,} of {n:,} {what}; at least {_percent(least)} do, and at most {_percent(most)} of the old"
            return Finding(question, Outcome.BAD, sentence, least, most + margin.share)
    return Finding(question, Outcome.OPEN, shown, bound, limit, _failures_needed(x, n, limit, levels.good))


def _strata(
    new: Outlet, old: Outlet, kind: Callable[[Samples], Histogram], allowed: Callable[[float], float]
) -> list[Stratum]:
    return [
        Stratum(dense_of(kind(mine)), stretch(kind(theirs), allowed))
        for mine, theirs in zip(new.kinds, old.kinds, strict=True)
    ]


def _rank_finding(
    question: str, strata: Sequence[Stratum], levels: Levels, setups: int, *, lower_is_better: bool
) -> Finding:
    ranks = compare(strata)
    if ranks is None:
        return Finding(question, Outcome.OPEN, "the two have no kind of set-up in common", None, None, 1)
    good_z, good_p = (ranks.below_z, ranks.below_p) if lower_is_better else (ranks.above_z, ranks.above_p)
    bad_p = ranks.above_p if lower_is_better else ranks.below_p
    if levels.good and good_p < levels.good:
        return Finding(question, Outcome.GOOD, f"not worse than allowed, p {_p(good_p)}", good_p, levels.good)
    if levels.bad and bad_p < levels.bad:
        return Finding(question, Outcome.BAD, f"worse than allowed, p {_p(bad_p)}", bad_p, levels.bad)
    sentence = f"not shown yet, p {_p(good_p)}"
    return Finding(question, Outcome.OPEN, sentence, good_p, levels.good, _ranks_needed(good_z, setups, levels.good))


def _ranks_needed(z: float, setups: int, alpha: float) -> int | None:
    """z grows with the root of the number of samples."""
    if not alpha or z <= 0 or setups <= 0:
        return None
    wanted = setups * (normal_quantile(alpha) / z) ** 2
    return max(1, ceil(wanted - setups)) if wanted < NEEDED_MOST else None


def _failures_needed(x: int, n: int, limit: float, alpha: float) -> int | None:
    """How many more until the bound is within the limit, if the share of failures stays as it is."""

    def is_enough(more: int) -> bool:
        total = n + more
        return binomial.upper_bound(round(x * total / n) if n else 0, total, alpha) <= limit

    if not alpha or limit <= 0 or (n and x / n >= limit):
        return None
    more = 1
    while not is_enough(more):
        more *= 2
        if more > NEEDED_MOST:
            return None
    low = more // 2
    while more - low > max(1, more // 100):
        middle = (low + more) // 2
        low, more = (low, middle) if is_enough(middle) else (middle, more)
    return more


def _percent(share: float) -> str:
    return f"{share * 100:.2g} %" if share < 0.1 else f"{share * 100:.0f} %"


def _time(time_us: float) -> str:
    return f"{time_us / 1_000:,.1f} ms" if time_us < 1_000_000 else f"{time_us / 1_000_000:,.1f} s"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
