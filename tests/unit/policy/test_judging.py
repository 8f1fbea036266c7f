"""Judges of single values: patterns of organisations, and values made safe to sign."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from pcgrelay.model import organisation_matches
from pcgrelay.policy.judging import Kind, _covers, mode, patterns, shown

LABELS = ["a", "b", "example"]
names = st.lists(st.sampled_from(LABELS), min_size=1, max_size=4).map(".".join)
written = names | names.map(lambda name: f"*.{name}") | st.just("*")


@given(written, written, names)
def test_a_pattern_covers_another_only_if_it_takes_in_whatever_that_does(one: str, other: str, name: str) -> None:
    if _covers(one, other) and organisation_matches(other, name):
        assert organisation_matches(one, name)


@given(written)
def test_each_pattern_covers_itself_and_is_covered_by_all(one: str) -> None:
    assert _covers(one, one)
    assert _covers("*", one)
    assert _covers(one, "*") == (one == "*")


def test_patterns_below_a_name_cover_those_below_it_and_not_itself() -> None:
    assert _covers("*.x.example", "*.a.x.example")
    assert _covers("*.x.example", "a.x.example")
    assert not _covers("*.x.example", "x.example")
    assert not _covers("*.a.x.example", "*.x.example")
    assert not _covers("a.x.example", "*.a.x.example")


@given(st.lists(written, unique=True, max_size=4), st.lists(written, unique=True, max_size=4), names)
def test_whoever_is_taken_in_anew_is_seen(old: list[str], new: list[str], name: str) -> None:
    was, now = (any(organisation_matches(pattern, name) for pattern in each) for each in (old, new))
    if now and not was:
        assert any(each.kind is Kind.WIDENS for each in patterns("members", old, new))


@example("\x7f", "\\x7f")
@given(st.text(), st.text())
def test_values_are_shown_apart_and_in_one_line_of_ascii(one: str, other: str) -> None:
    assert shown(one).isascii()
    assert not one or shown(one).isprintable()
    assert (shown(one) == shown(other)) == (one == other)


@given(st.integers(0, 0o777), st.integers(0, 0o777))
def test_rights_that_are_new_widen(old: int, new: int) -> None:
    if old != new:
        (found,) = mode("mode", f"{old:04o}", f"{new:04o}")
        assert (found.kind is Kind.WIDENS) == bool(new & ~old)
