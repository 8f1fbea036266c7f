"""When a cut-over falls back: what is confirmed by pairs, what clients say, and what one broken client cannot do."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.cutover.alarm import PAIRS_KEPT, Alarm, Evidence, Pair, judge_alarm
from pcgrelay.cutover.judge import decode_verdict, encode_verdict, replay
from pcgrelay.cutover.odds import Failures

ALONE, BOTH, WELL = Pair(True, False), Pair(True, True), Pair(False, False)


def judged(evidence: Evidence) -> Alarm:
    alarm = judge_alarm(evidence.facts, "gateway", "cjx")
    assert replay(alarm) == alarm
    assert decode_verdict(encode_verdict(alarm)) == alarm
    return alarm


def gathered(
    setups: Iterable[tuple[Failures, int]] = (), pairs: Iterable[Pair] = (), later: Iterable[tuple[Failures, int]] = ()
) -> Evidence:
    evidence = Evidence()
    for failures, client in setups:
        evidence = evidence.after_setups(failures, [client])
    for failures, client in later:
        evidence = evidence.after_later(failures, [client])
    for pair in pairs:
        evidence = evidence.after_pair(pair)
    return evidence


@pytest.mark.parametrize(("share", "pairs"), [(0.01, 5), (0.05, 7), (0.25, 9)])
def test_one_failure_and_its_pairs_are_an_alarm(share: float, pairs: int) -> None:
    one = [(Failures(1, 0, share), 7)]
    assert not judged(gathered(one, [ALONE] * (pairs - 1))).is_raised
    alarm = judged(gathered(one, [ALONE] * pairs))
    assert alarm.is_raised
    assert alarm.sentence.startswith(f"1 set-up and {pairs} of the last {pairs} pairs failed on gateway alone: 1,")


def test_at_a_hundred_percent_pairs_alone_decide() -> None:
    assert judged(gathered(pairs=[ALONE] * 12)).is_raised
    # What fails there in real traffic says nothing, for there is nothing to compare it with.
    assert not judged(gathered([(Failures(1, 0, 1.0), client) for client in range(100)])).is_raised


def test_great_odds_without_pairs_are_not_enough() -> None:
    evidence = gathered([(Failures(1, 0, 0.01), client) for client in (1, 2)], [WELL] * 12)
    assert evidence.facts.odds.mean > 1_000
    assert not judged(evidence).is_raised


@pytest.mark.parametrize(("share", "failures"), [(0.01, 4), (0.05, 5), (0.25, 11)])
def test_where_shadows_are_off_three_clients_and_a_million_to_one_are_needed(share: float, failures: int) -> None:
    some = [(Failures(1, 0, share), client % 3) for client in range(failures)]
    assert not judged(gathered(some[:-1])).is_raised
    alarm = judged(gathered(some))
    assert alarm.is_raised
    assert "of at least 3 clients" in alarm.sentence


def test_one_broken_client_moves_nobody_soon_and_not_at_all_if_the_other_outlet_fails_too() -> None:
    alone = [(Failures(1, 0, 0.05), 7)] * 19
    assert not judged(gathered(alone)).is_raised
    alarm = judged(gathered([*alone, (Failures(1, 0, 0.05), 7)]))
    assert alarm.is_raised
    assert "20 set-ups failed on gateway and 0 on cjx, of 1 client" in alarm.sentence
    both = [*alone, (Failures(0, 1, 0.05), 7), (Failures(5, 0, 0.05), 7)]
    assert not judged(gathered(both)).is_raised


def test_what_fails_after_the_setup_has_the_second_clause_and_odds_of_its_own() -> None:
    later = [(Failures(1, 0, 0.25), client) for client in range(11)]
    assert not judged(gathered(later=later[:-1])).is_raised
    alarm = judged(gathered(later=later))
    assert alarm.is_raised
    assert "11 streams ended early or were cut on gateway and 0 on cjx" in alarm.sentence
    # Pairs confirm set-ups, and no stream that was cut.
    assert not judged(gathered(pairs=[ALONE] * 5, later=later[:5])).is_raised


def test_a_target_that_is_down_is_no_alarm() -> None:
    setups = [(Failures(1, 1, 0.5), client) for client in range(300)]
    assert not judged(gathered(setups, [BOTH] * 100)).is_raised


def test_a_restart_forgets_the_hashes_and_counts_no_client_twice() -> None:
    evidence = gathered([(Failures(1, 0, 0.25), client) for client in (1, 2)])
    after = Evidence(evidence.facts)
    for _ in range(11):
        after = after.after_setups(Failures(1, 0, 0.25), [1])
    assert after.facts.setups.clients == 2
    assert not judged(after).is_raised


def test_clients_count_anew_when_nothing_speaks_against_the_outlet_any_more() -> None:
    evidence = gathered([(Failures(1, 0, 0.5), client) for client in (1, 2, 3)])
    evidence = evidence.after_setups(Failures(0, 30, 0.5))
    assert evidence.facts.setups.clients == 0
    assert evidence.setup_clients == frozenset()


def test_odds_that_somebody_changed_come_out_otherwise() -> None:
    alarm = judged(gathered([(Failures(1, 0, 0.01), 7)], [ALONE] * 5))
    odds = msgspec.structs.replace(alarm.facts.odds, logs=(0.0,) * 4)
    changed = msgspec.structs.replace(alarm, facts=msgspec.structs.replace(alarm.facts, odds=odds))
    assert replay(changed) != changed


events = st.one_of(
    st.tuples(st.just("setup"), st.builds(Failures, st.integers(0, 3), st.integers(0, 3), st.floats(0, 1))),
    st.tuples(st.just("later"), st.builds(Failures, st.integers(0, 3), st.integers(0, 3), st.floats(0, 1))),
    st.tuples(st.just("pair"), st.builds(Pair, st.booleans(), st.booleans())),
)


@given(st.lists(st.tuples(events, st.integers(0, 5)), max_size=60))
def test_every_verdict_is_computed_again_and_names_no_client(some: list[tuple[tuple[str, object], int]]) -> None:
    evidence = Evidence()
    for (kind, what), client in some:
        if isinstance(what, Pair):
            evidence = evidence.after_pair(what)
        elif isinstance(what, Failures):
            add = evidence.after_setups if kind == "setup" else evidence.after_later
            evidence = add(what, [1_000_003 + client])
    alarm = judged(evidence)
    assert b"100000" not in encode_verdict(alarm)
    assert len(alarm.facts.pairs) <= PAIRS_KEPT
    assert alarm.sentence.count(".") >= 1
    assert alarm.odds >= 1
