"""The odds from failures: the table of the design, what stays at rest, and what is kept for whoever counts again."""

from __future__ import annotations

from math import exp

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.cutover.odds import LOG_MOST, RATIOS, TRAIL_MOST, Failures, Odds, share_of

failures = st.builds(Failures, st.integers(0, 5), st.integers(0, 5), st.floats(0, 1))


def after(*some: Failures) -> Odds:
    odds = Odds()
    for each in some:
        odds = odds.after(each)
    return odds


@pytest.mark.parametrize(
    "text",
    [
        '{"logs":[0,0,0,40.1]}',
        '{"base":[0,0,0,-0.1]}',
        '{"logs":[0,0,0]}',
        '{"base":[0,0,0,0,0]}',
        '{"trail":[[-1,0,0.5]]}',
        '{"trail":[[0,1000000000001,0.5]]}',
        '{"trail":[[1,0,1.1]]}',
    ],
)
def test_what_no_node_has_written_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Odds)


@pytest.mark.parametrize(("share", "alarm_at"), [(0.01, 2), (0.05, 3), (0.25, 6), (0.5, 11)])
def test_a_dead_outlet_is_known_at_its_nth_failure(share: float, alarm_at: int) -> None:
    dead = Failures(1, 0, share)
    assert after(*[dead] * (alarm_at - 1)).mean < 1_000 <= after(*[dead] * alarm_at).mean


@pytest.mark.parametrize(
    ("share", "real", "pairs", "odds"), [(0.01, 1, 5, 1_158), (0.25, 1, 9, 1_147), (0.5, 0, 12, 2_279)]
)
def test_pairs_confirm_one_failure(share: float, real: int, pairs: int, odds: int) -> None:
    some = [Failures(1, 0, share)] * real + [Failures(1, 0, 0.5)] * pairs
    assert round(after(*some).mean) == odds


def test_one_failure_multiplies_by_the_known_factor() -> None:
    share = 0.2
    for index, ratio in enumerate(RATIOS):
        odds = after(Failures(1, 0, share), Failures(0, 1, share), Failures(1, 0, share))
        factor = ratio * share + 1 - share
        assert exp(odds.logs[index]) == pytest.approx(max(1, ratio / factor / factor) * ratio / factor)


@given(st.lists(failures, max_size=100))
def test_the_odds_are_never_below_one_and_have_an_end(some: list[Failures]) -> None:
    odds = after(*some)
    assert all(0 <= each <= LOG_MOST for each in odds.logs)
    assert len(odds.trail) <= TRAIL_MOST
    assert odds.mean >= 1
    assert msgspec.json.decode(msgspec.json.encode(odds), type=Odds).logs == odds.logs


@given(st.lists(failures, max_size=200))
def test_the_trail_forgets_nothing_that_counts(some: list[Failures]) -> None:
    logs = Odds().logs
    for each in some:
        logs = Odds(logs).after(each).logs
    odds = after(*some)
    assert odds.logs == pytest.approx(logs)
    assert odds.recount() == odds


def test_a_target_that_is_ill_for_both_leaves_the_odds_at_rest() -> None:
    # Each stream tries both outlets, whatever the shares say.
    assert after(*[Failures(1, 1, 0.5)] * 1_000).is_rest
    # By share, in the order in which they may come at worst.
    odds = after(*[Failures(1, 99, 0.01)] * 100)
    assert odds.is_rest


def test_all_streams_on_one_outlet_say_nothing() -> None:
    assert after(*[Failures(1, 0, 1.0)] * 50).is_rest


def test_the_share_of_attempts() -> None:
    assert share_of(1, 3, 0.9) == 0.25
    assert share_of(0, 0, 0.9) == 0.9
