"""Simulated cut-overs, judged by the code under test: what fails, how long it takes, and when the judge says what.

Times are lognormal: `sigma` is the deviation of their logarithm. Everything comes from one seeded generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pcgrelay.cutover.alarm import CONFIRMED_ODDS, Evidence, Pair, judge_alarm
from pcgrelay.cutover.gate import GateFacts, Looks, judge_gate
from pcgrelay.cutover.histogram import BUCKETS, EDGES, Histogram
from pcgrelay.cutover.margin import Margin
from pcgrelay.cutover.odds import Failures, Odds
from pcgrelay.cutover.questions import Levels, Outcome
from pcgrelay.cutover.samples import Limits, Outlet, Samples

Times = Callable[[np.random.Generator, int], np.ndarray]

SETUP_US = 100_000.0  # so that 10 % counts, and not 5 ms
ANSWER_US = 80_000.0
RATE = 20_000.0  # KiB/s
# Polls in a soak: at each the judge may look.
POLLS = 20
BURST = 12
_EDGES = np.array(EDGES)
# Without "or 5 ms": harder to meet.
STRICT = Limits(setup=Margin(0.1), answer=Margin(0.1))


@dataclass
class Route:
    """How an outlet is."""

    sigma: float = 0.2
    slower: float = 0.0  # 0.1: each time is 10 % longer
    later_us: float = 0.0  # so much more on top
    failures: float = 0.0  # share of set-ups
    lost: float = 0.0  # share of set-ups in which a packet is sent again
    rate: float = 1.0
    bulk: float = 0.0  # share of set-ups that move so much that their rate counts

    def times(self, chance: np.random.Generator, n: int, base_us: float) -> np.ndarray:
        times = base_us * (1 + self.slower) * np.exp(self.sigma * chance.standard_normal(n)) + self.later_us
        return times + np.where(chance.random(n) < self.lost, 200_000.0 + 1_000.0 * chance.random(n), 0.0)

    def samples(self, chance: np.random.Generator, n: int) -> Samples:
        failed = int(chance.binomial(n, self.failures)) if n else 0
        up = n - failed
        bulk = int(chance.binomial(up, self.bulk)) if up else 0
        rates = RATE * self.rate * np.exp(self.sigma * chance.standard_normal(bulk))
        return Samples(
            n,
            failed,
            histogram(self.times(chance, up, SETUP_US)),
            histogram(self.times(chance, up, ANSWER_US)),
            histogram(rates),
        )


def histogram(values: np.ndarray) -> Histogram:
    """Values as the core counts them."""
    buckets = np.minimum(np.maximum(np.searchsorted(_EDGES, values.astype(np.int64), side="right") - 1, 0), BUCKETS - 1)
    found, counts = np.unique(buckets, return_counts=True)
    return Histogram(tuple(zip(found.tolist(), counts.tolist(), strict=True)))


@dataclass
class Step:
    """One step of a cut-over while it soaks, and what the judge said."""

    chance: np.random.Generator
    old_route: Route
    new_route: Route
    new_per_soak: int
    shadows_per_soak: int = 180
    share: float = 0.5
    limits: Limits = STRICT
    new: Outlet = field(default_factory=lambda: Outlet("gateway"))
    old: Outlet = field(default_factory=lambda: Outlet("cjx"))
    seen: tuple[Outlet, Outlet] | None = None
    looks: Looks = field(default_factory=Looks)
    opened_at: float | None = None  # in soaks
    bad_at: int | None = None  # set-ups on the new outlet
    setups: int = 0

    def run(self, soaks: float = 2.0) -> Step:
        """Soak for so long, or until the gate opens or something is bad."""
        for poll in range(round(soaks * POLLS)):
            self._grow(poll)
            self._look((poll + 1) / POLLS)
            if self.opened_at is not None or self.bad_at is not None:
                break
        return self

    def _grow(self, poll: int) -> None:
        shadows = self._part(self.shadows_per_soak, poll)
        news = self._part(max(0, self.new_per_soak - self.shadows_per_soak), poll)
        olds = round(news * (1 - self.share) / self.share) if self.share < 1 else 0
        self.new += _outlet(self.new.name, self.new_route, self.chance, news, shadows)
        self.old += _outlet(self.old.name, self.old_route, self.chance, olds, shadows)
        self.setups += news + shadows

    @staticmethod
    def _part(total: int, poll: int) -> int:
        return total * (poll + 1) // POLLS - total * poll // POLLS

    def _look(self, soaked: float) -> None:
        if self.looks.bad_due(self.new.setups):
            self._judge(self.new, self.old, Levels(0.0, self.looks.bad_level))
            self.looks = self.looks.after_bad(self.new.setups)
        new, old = (self.new, self.old) if self.seen is None else (
            self.new.since(self.seen[0]), self.old.since(self.seen[1])
        )  # fmt: skip
        if self.looks.recent_due(new.setups, old.setups):
            self._judge(new, old, Levels(0.0, self.looks.recent_level), is_recent=True)
            self.looks, self.seen = self.looks.after_recent(), (self.new, self.old)
        if soaked >= 1 and self.looks.good_due(self.new, self.old, self.limits):
            outcome = self._judge(self.new, self.old, Levels(self.looks.good_level, 0.0))
            self.looks = self.looks.after_good(self.new.setups)
            self.opened_at = soaked if outcome is Outcome.GOOD else None

    def _judge(self, new: Outlet, old: Outlet, levels: Levels, *, is_recent: bool = False) -> Outcome:
        verdict = judge_gate(GateFacts(new, old, self.limits, levels, is_recent))
        if verdict.outcome is Outcome.BAD and self.bad_at is None:
            self.bad_at = self.setups
        return verdict.outcome


def _outlet(name: str, route: Route, chance: np.random.Generator, real: int, shadows: int) -> Outlet:
    return Outlet(name, route.samples(chance, real), route.samples(chance, shadows))


def falls_back(chance: np.random.Generator, share: float, setups: int, new: float, old: float) -> int | None:
    """At which failure on the new outlet the alarm is raised, if it is, in so many set-ups; with pairs."""
    evidence, failures = Evidence(), 0
    is_new = chance.random(setups) < share
    failed = chance.random(setups) < np.where(is_new, new, old)
    for at in np.flatnonzero(failed):
        one = Failures(int(is_new[at]), int(not is_new[at]), share)
        evidence = evidence.after_setups(one, [int(chance.integers(1_000))] if is_new[at] else [])
        if not is_new[at]:
            continue
        failures += 1
        for pair in chance.random((BURST, 2)) < (new, old):
            evidence = evidence.after_pair(Pair(bool(pair[0]), bool(pair[1])))
            if judge_alarm(evidence.facts, "gateway", "cjx").is_raised:
                return failures
        if judge_alarm(evidence.facts, "gateway", "cjx").is_raised:
            return failures
    return None


def failures_until(chance: np.random.Generator, share: float, times: float, threshold: float = CONFIRMED_ODDS) -> int:
    """How many failures on either outlet until the odds alone are great, if the new one fails so often."""
    odds, failures = Odds(), 0
    likely = times * share / (times * share + 1 - share)
    while odds.mean < threshold and failures < 10_000:
        is_new = bool(chance.random() < likely)
        odds, failures = odds.after(Failures(int(is_new), int(not is_new), share)), failures + 1
    return failures


def is_false_alarm(chance: np.random.Generator, share: float, failures: int = 10) -> bool:
    """Whether the odds alone become great within so many failures of equal outlets."""
    odds = Odds()
    for is_new in chance.random(failures) < share:
        odds = odds.after(Failures(int(is_new), int(not is_new), share))
        if odds.mean >= CONFIRMED_ODDS:
            return True
    return False
