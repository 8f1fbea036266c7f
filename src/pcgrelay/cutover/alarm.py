"""When a cut-over falls back because the new outlet fails (pure).

Two clauses, either of which is enough:

1. The odds from set-ups and pairs are 1,000 : 1, and at least 5 of the last 20 pairs failed on the new outlet alone.
   Pairs are cheap, independent and ours, so one broken client moves nobody.
2. The odds from real streams alone are 1,000,000 : 1, and they are of at least 3 clients; of fewer, there are at least
   20 failures and none on the other outlet. What fails after the set-up (ended early, cut) is judged by this clause,
   apart from set-ups: no pair can confirm it.

What is known to be no fault of the outlet never comes here: `away` and `local`, an application that left, and failures
while the chosen session is stalled.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, structs

from pcgrelay.cutover.odds import Failures, Odds
from pcgrelay.ranges import Count

CONFIRMED_ODDS = 1_000.0
ALONE_ODDS = 1_000_000.0
SHOWN_MOST = 1_000_000  # more is but a longer figure
PAIRS_KEPT = 20
PAIRS_NEEDED = 5
CLIENTS_NEEDED = 3
ONE_CLIENT_FAILURES = 20


class Run(Struct, frozen=True):
    """Real failures of one sort since nothing spoke against the new outlet."""

    odds: Odds = Odds()
    new: Count = 0
    old: Count = 0
    clients: Count = 0  # of failures on the new outlet, counted up to the three that are needed


class Pair(Struct, frozen=True, array_like=True):
    """One connection of ours over each outlet, and whether it failed."""

    new_failed: bool
    old_failed: bool


class AlarmFacts(Struct, frozen=True):
    """What an alarm rests on. It names no client."""

    odds: Odds = Odds()  # set-ups and pairs
    pairs: tuple[Pair, ...] = ()  # the last 20
    setups: Run = Run()
    later: Run = Run()  # after the set-up: early and cut

    def recount(self) -> AlarmFacts:
        """The same with all odds computed again from their trails."""
        return AlarmFacts(
            self.odds.recount(),
            self.pairs,
            structs.replace(self.setups, odds=self.setups.odds.recount()),
            structs.replace(self.later, odds=self.later.odds.recount()),
        )


class Evidence(Struct, frozen=True):
    """The facts, and the keyed hashes of clients, which stay in memory alone."""

    facts: AlarmFacts = AlarmFacts()
    setup_clients: frozenset[int] = frozenset()
    later_clients: frozenset[int] = frozenset()

    def after_setups(self, failures: Failures, clients: Iterable[int] = ()) -> Evidence:
        """After some set-ups failed; clients are those of failures on the new outlet."""
        run, known = _run_after(self.facts.setups, self.setup_clients, failures, clients)
        facts = structs.replace(self.facts, odds=self.facts.odds.after(failures), setups=run)
        return Evidence(facts, known, self.later_clients)

    def after_later(self, failures: Failures, clients: Iterable[int] = ()) -> Evidence:
        """After some streams ended early, or were cut. The share is that of streams which could."""
        run, known = _run_after(self.facts.later, self.later_clients, failures, clients)
        return Evidence(structs.replace(self.facts, later=run), self.setup_clients, known)

    def after_pair(self, pair: Pair) -> Evidence:
        """After one pair of shadows."""
        odds = self.facts.odds.after(Failures(int(pair.new_failed), int(pair.old_failed), 0.5))
        pairs = (*self.facts.pairs, pair)[-PAIRS_KEPT:]
        return Evidence(structs.replace(self.facts, odds=odds, pairs=pairs), self.setup_clients, self.later_clients)


class Alarm(Struct, frozen=True, tag="alarm"):
    """The verdict, with what it rests on."""

    facts: AlarmFacts
    new: str  # the outlets' names
    old: str
    is_raised: bool
    sentence: str

    @property
    def odds(self) -> float:
        """The greatest of the odds, for whoever shows one figure."""
        return max(self.facts.odds.mean, self.facts.later.odds.mean)


def judge_alarm(facts: AlarmFacts, new: str, old: str) -> Alarm:
    """Whether to fall back now, in one sentence. The same facts always give the same verdict."""
    alone = sum(pair.new_failed and not pair.old_failed for pair in facts.pairs)
    odds = facts.odds.mean
    if odds >= CONFIRMED_ODDS and alone >= PAIRS_NEEDED:
        why = f"{alone} of the last {len(facts.pairs)} pairs failed on {new} alone: {_shown(odds)}"
        if facts.setups.new:
            why = f"{_count(facts.setups.new, 'set-up')} and {why}"
        return Alarm(facts, new, old, True, f"{why}.")
    for run, noun in ((facts.setups, "set-up failed"), (facts.later, "stream ended early or was cut")):
        if run.odds.mean >= ALONE_ODDS and _is_of_several(run):
            who = (
                f"at least {CLIENTS_NEEDED} clients" if run.clients >= CLIENTS_NEEDED else _count(run.clients, "client")
            )
            why = f"{_plural(run.new, noun)} on {new} and {run.old} on {old}, of {who}: {_shown(run.odds.mean)}"
            return Alarm(facts, new, old, True, f"{why}.")
    greatest = max(odds, facts.later.odds.mean)
    return Alarm(facts, new, old, False, f"Odds of a worse {new}: {_shown(greatest)} (falls back at 1,000).")


def _run_after(
    run: Run, known: frozenset[int], failures: Failures, clients: Iterable[int]
) -> tuple[Run, frozenset[int]]:
    odds = run.odds.after(failures)
    if odds.is_rest:
        return Run(), frozenset()
    for client in clients:
        if len(known) >= CLIENTS_NEEDED:
            break
        known |= {client}
    # A restart forgets the hashes, and not how many there were.
    return Run(odds, run.new + failures.new, run.old + failures.old, max(run.clients, len(known))), known


def _is_of_several(run: Run) -> bool:
    return run.clients >= CLIENTS_NEEDED or (run.new >= ONE_CLIENT_FAILURES and run.old == 0)


def _shown(odds: float) -> str:
    if odds >= SHOWN_MOST:
        return f"more than {SHOWN_MOST:,} to 1"
    return f"{odds:,.0f} to 1" if odds >= 100 else f"{odds:.1f} to 1"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun.replace(' ', 's ', 1).replace('was', 'were')}"
