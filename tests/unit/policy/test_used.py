"""Texts that were used: none is good a second time, whatever becomes of the clock and however many there are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.errors import RunError
from pcgrelay.policy import used
from pcgrelay.policy.used import UsedTexts

NOW = datetime(2026, 11, 3, 9, 12, tzinfo=UTC)
HOURS = st.integers(-10_000, 10_000)


def at(hours: int) -> datetime:
    return NOW + timedelta(hours=hours)


@given(st.lists(st.tuples(st.integers(0, 30), HOURS), max_size=60))
def test_no_text_is_good_twice_wherever_the_clock_goes(steps: list[tuple[int, int]]) -> None:
    """Each text has a date; steps name a text and the time at which it is tried."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(used, "USED_MOST", 3)
        texts, spent = UsedTexts(), set()
        for text, hours in steps:
            name, until = f"{text:064x}", at(text * 24)
            if until <= at(hours) or texts.why_not(name, until):
                continue
            assert name not in spent
            try:
                texts = texts.using(name, until, at(hours))
            except RunError:
                assert len(texts.texts) == 3
                continue
            spent.add(name)
            assert len(texts.texts) <= 3
        assert all(texts.why_not(name, at(int(name, 16) * 24)) for name in spent)


def test_time_alone_forgets_none() -> None:
    texts = UsedTexts().using("a", at(1), NOW).using("b", at(99_999), at(99_000))
    assert texts.why_not("a", at(1)) == "was used already, and is good for once"
    assert texts.why_not("c", at(1)) == ""
    assert texts.forgotten == ""


def test_the_one_that_goes_for_want_of_room_takes_those_of_its_time_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(used, "USED_MOST", 2)
    texts = UsedTexts().using("a", at(1), NOW).using("b", at(2), NOW)
    with pytest.raises(RunError, match="wait until some are too old"):
        texts.using("c", at(3), NOW)
    texts = texts.using("c", at(3), at(1))
    assert sorted(texts.texts) == ["b", "c"]
    assert "may have been used" in texts.why_not("a", at(1))
    assert "may have been used" in texts.why_not("never seen", at(1))
    assert texts.why_not("never seen", at(2)) == ""


def test_one_that_was_not_used_after_all_is_good_again() -> None:
    texts = UsedTexts().using("a", at(1), NOW)
    assert texts.without("a").why_not("a", at(1)) == ""
    assert texts.without("b") == texts
