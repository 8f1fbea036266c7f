"""Figures of outlets are added and taken apart, and nothing is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.figures import FAILURES, OutletFigures

COUNTS = [name for name in OutletFigures.__struct_fields__ if not name.endswith(("setup_us", "answer_us", "kib_s"))]
TIMES = st.dictionaries(st.integers(0, 319), st.integers(1, 9), max_size=5)
FIGURES = st.builds(
    OutletFigures,
    **{name: st.integers(0, 1 << 40) for name in COUNTS},
    setup_us=TIMES,
    answer_us=TIMES,
    rate_kib_s=TIMES,
)


@given(FIGURES, FIGURES)
def test_what_was_added_can_be_taken_away(one: OutletFigures, other: OutletFigures) -> None:
    assert one.plus(other).minus(other) == one
    assert one.plus(other) == other.plus(one)
    assert one.minus(one) == OutletFigures()


def test_what_speaks_against_an_outlet() -> None:
    assert OutletFigures(**dict.fromkeys(FAILURES, 1)).failed == len(FAILURES)
    assert OutletFigures(up=9, local=9, left=9, tried=27).failed == 0
