"""Whether the next step may be taken, or the new outlet is so slow that the cut-over falls back (pure).

Each look spends a part of the level that is left, so that asking often neither opens the gate nor raises an alarm
(K. K. G. Lan, D. L. DeMets, Discrete sequential boundaries for clinical trials, Biometrika 70, 1983). For each
question:

  good   5 %    looks begin when the soak is over and good can be shown at all; then at doubling numbers of set-ups.
                Each spends half of what is left.
  bad  0.5 %    on all of this step: at 64 set-ups, 128, 256 and so on, half of what is left each.
       0.5 %    on the last 64 set-ups: after each 64, the k-th spends 6 / (pi k)^2 of it. What begins in the middle of
                a step is seen within 64 set-ups, and need not outweigh all that was well before.
"""

from __future__ import annotations

from math import pi

from msgspec import Struct, structs

from pcgrelay.cutover import binomial
from pcgrelay.cutover.questions import (
    TIMES_LEAST,
    Finding,
    Levels,
    Outcome,
    ask_broken,
    ask_enough,
    ask_failures,
    ask_rate,
    ask_tail,
    ask_times,
    failures_limit,
)
from pcgrelay.cutover.samples import Limits, Outlet
from pcgrelay.ranges import Count

ALPHA_GOOD = 0.05
ALPHA_BAD = 0.005
ALPHA_RECENT = 0.005
LOOK_SETUPS = 64
# Beyond, a level is no longer a number; then nothing is looked for.
LOOKS_MOST = 40


class GateFacts(Struct, frozen=True):
    """What a verdict rests on."""

    new: Outlet
    old: Outlet
    limits: Limits
    levels: Levels
    is_recent: bool = False  # the last set-ups alone: only slowness is looked for


class Verdict(Struct, frozen=True, tag="gate"):
    """The verdict, with what it rests on."""

    facts: GateFacts
    outcome: Outcome
    sentence: str
    findings: tuple[Finding, ...]
    needed: int | None = 0  # more set-ups on the new outlet; nothing: it does not open as it is


class Looks(Struct, frozen=True):
    """How much of the levels this step has spent. A new step begins with a new one."""

    good: Count = 0
    good_at: Count = 0  # set-ups of the last look
    bad: Count = 0
    bad_at: Count = 0
    recent: Count = 0

    @property
    def good_level(self) -> float:
        """What the next look for good spends: half of what is left."""
        return ALPHA_GOOD / 2 ** (self.good + 1) if self.good < LOOKS_MOST else 0.0

    @property
    def bad_level(self) -> float:
        """What the next look for bad spends."""
        return ALPHA_BAD / 2 ** (self.bad + 1) if self.bad < LOOKS_MOST else 0.0

    @property
    def recent_level(self) -> float:
        """What the next look at the last set-ups spends."""
        return ALPHA_RECENT * 6 / (pi * (self.recent + 1)) ** 2

    @property
    def good_next(self) -> int:
        """The set-ups at which good is looked for again."""
        return 2 * self.good_at

    @property
    def bad_next(self) -> int:
        """The set-ups at which bad is looked for again."""
        return max(LOOK_SETUPS, 2 * self.bad_at)

    def good_due(self, new: Outlet, old: Outlet, limits: Limits) -> bool:
        """Whether to look for good, once the soak is over. A look that cannot succeed is not due."""
        level = self.good_level
        if not level or new.setups < max(limits.streams, self.good_next, 1):
            return False
        return new.tried >= binomial.least_samples(failures_limit(new, old, limits), level)

    def bad_due(self, setups: int) -> bool:
        """Whether to look for bad on all of this step, at so many set-ups."""
        return setups >= self.bad_next

    def recent_due(self, new_setups: int, old_setups: int) -> bool:
        """Whether to look at what came since the last such look."""
        return new_setups >= LOOK_SETUPS and old_setups >= TIMES_LEAST

    def after_good(self, setups: int) -> Looks:
        """After a look for good at so many set-ups."""
        return structs.replace(self, good=self.good + 1, good_at=setups)

    def after_bad(self, setups: int) -> Looks:
        """After a look for bad."""
        return structs.replace(self, bad=self.bad + 1, bad_at=setups)

    def after_recent(self) -> Looks:
        """After a look at the last set-ups."""
        return structs.replace(self, recent=self.recent + 1)


def judge_gate(facts: GateFacts) -> Verdict:
    """All questions together. The same facts always give the same verdict."""
    findings = _times(facts) if facts.is_recent else (*_counts(facts), *_times(facts))
    outcomes = {finding.outcome for finding in findings}
    if Outcome.BAD in outcomes:
        outcome, needed = Outcome.BAD, None
    elif outcomes == {Outcome.GOOD}:
        outcome, needed = Outcome.GOOD, 0
    else:
        outcome, needed = Outcome.OPEN, _needed(findings)
    return Verdict(facts, outcome, _sentence(facts, findings, outcome, needed), findings, needed)


def preview(new: Outlet, old: Outlet, limits: Limits, looks: Looks) -> Verdict:
    """The verdict that a look for good would give now; it spends nothing, and nothing may be decided by it.

    What is needed counts up to the next look that may be.
    """
    verdict = judge_gate(GateFacts(new, old, limits, Levels(looks.good_level, 0.0)))
    until_look = max(0, looks.good_next - new.setups)
    needed = None if verdict.needed is None else max(verdict.needed, until_look)
    sentence = _sentence(verdict.facts, verdict.findings, verdict.outcome, needed)
    return structs.replace(verdict, needed=needed, sentence=sentence)


def _counts(facts: GateFacts) -> tuple[Finding, ...]:
    return (
        ask_enough(facts.new, facts.limits),
        ask_failures(facts.new, facts.old, facts.limits, facts.levels),
        ask_broken(facts.new, facts.old, facts.limits, facts.levels),
        ask_tail(facts.new, facts.old, facts.limits, facts.levels),
    )


def _times(facts: GateFacts) -> tuple[Finding, ...]:
    outlets = facts.new, facts.old
    return (
        ask_times("setup", lambda each: each.setup, outlets, facts.limits.setup, facts.levels),
        ask_times("answer", lambda each: each.answer, outlets, facts.limits.answer, facts.levels),
        ask_rate(facts.new, facts.old, facts.limits, facts.levels),
    )


TITLES = {
    "enough": "set-ups",
    "failures": "failures",
    "broken": "streams that broke",
    "tail": "slowest set-ups",
    "setup": "set-up time",
    "answer": "first answer",
    "rate": "rate",
}


def _needed(findings: tuple[Finding, ...]) -> int | None:
    numbers = [finding.needed for finding in findings if finding.outcome is Outcome.OPEN]
    return None if None in numbers else max(number or 0 for number in numbers)


def _sentence(facts: GateFacts, findings: tuple[Finding, ...], outcome: Outcome, needed: int | None) -> str:
    if outcome is Outcome.GOOD and needed:
        # A look before this one found too little, and looks are rare so that they do not open it by chance.
        return f"Nothing speaks against {facts.new.name}; the next look is after about {needed:,} more set-ups on it."
    if outcome is Outcome.GOOD:
        return f"{facts.new.name} is not worse than {facts.old.name} by more than the margins."
    wanted = [finding for finding in findings if finding.outcome is outcome]
    what = "; ".join(f"{TITLES[finding.question]}: {finding.sentence}" for finding in wanted)
    if outcome is Outcome.BAD:
        return f"{facts.new.name} is worse than {facts.old.name} by more than the margins: {what}."
    if facts.is_recent:
        return f"Nothing speaks against the last set-ups on {facts.new.name}."
    if needed is None:
        return f"Does not open as it is: {what}."
    return f"Opens after about {needed:,} more set-ups on {facts.new.name}: {what}."
