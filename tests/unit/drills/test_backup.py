"""A back-up that carries new streams for a while: its share, when it is given up, and whether it has passed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.cutover.alarm import Pair
from pcgrelay.cutover.odds import Failures
from pcgrelay.drills.backup import BackupWatch, drill_shares, outcome_sentence, usual_outlet


def test_the_back_up_gets_its_share_and_the_others_the_rest() -> None:
    assert drill_shares({"gateway": 100.0}, "cjx", 100) == {"cjx": 100}
    assert drill_shares({"gateway": 100.0}, "cjx", 25) == {"cjx": 25, "gateway": 75}
    assert drill_shares({"gateway": 75.0, "psn": 25.0}, "cjx", 50) == {"cjx": 50, "gateway": 37.5, "psn": 12.5}
    # It has no less than before.
    assert drill_shares({"gateway": 60.0, "cjx": 40.0}, "cjx", 25) == {"cjx": 40, "gateway": 60}
    assert usual_outlet({"gateway": 60.0, "cjx": 40.0}, "cjx") == "gateway"


@given(st.integers(0, 200), st.integers(0, 200), st.integers(1, 200))
def test_shares_are_whole(first: int, second: int, share: int) -> None:
    low, high = sorted((first, second))
    usual = {"gateway": low / 2, "cjx": (high - low) / 2, "psn": 100 - high / 2}
    dealt = drill_shares(usual, "cjx", share / 2)
    if usual["gateway"] or usual["psn"]:
        assert sum(dealt.values()) == 100
        assert all(each * 2 == int(each * 2) and each >= 0 for each in dealt.values())
        assert dealt["cjx"] >= share / 2


def test_a_dead_back_up_is_given_up_by_pairs_and_by_real_streams() -> None:
    watch = BackupWatch("cjx", "gateway")
    watch.setups(Failures(1, 0, 0.5), [1])
    for number in range(12):
        assert not watch.alarm.is_raised or number >= 5
        watch.pair(Pair(new_failed=True, old_failed=False))
    assert watch.alarm.is_raised
    assert "on cjx alone" in watch.alarm.sentence
    # Without pairs it takes several clients.
    alone = BackupWatch("cjx", "gateway")
    for client in range(40):
        alone.setups(Failures(1, 0, 0.5), [client])
    assert alone.alarm.is_raised


def test_a_target_that_is_down_on_both_stops_nothing() -> None:
    watch = BackupWatch("cjx", "gateway")
    for client in range(200):
        watch.setups(Failures(1, 1, 0.5), [client])
        watch.pair(Pair(new_failed=True, old_failed=True))
    assert not watch.alarm.is_raised
    assert watch.pairs_good == 0


@pytest.mark.parametrize(
    ("setups", "failed", "shadows", "usual_failed", "passed", "words"),
    [
        (300, 0, 12, 0, True, "300 of 300 set-ups got through"),
        (300, 3, 12, 0, True, "300 of 303 set-ups got through"),
        (290, 10, 12, 0, False, "10 of 300 set-ups failed"),
        (0, 20, 0, 20, False, "nothing was set up over it"),
        (1, 20, 0, 20, False, "20 of 21 set-ups failed; 20 failed on the usual outlet too"),
        (0, 0, 12, 0, True, "no application asked for a stream, and 12 connections of its own got through"),
        (0, 0, 0, 0, False, "nothing was set up over it"),
    ],
)
def test_what_has_passed(setups: int, failed: int, shadows: int, usual_failed: int, passed: bool, words: str) -> None:
    is_passed, sentence = outcome_sentence(setups, failed, shadows, usual_failed)
    assert is_passed is passed
    assert words in sentence
