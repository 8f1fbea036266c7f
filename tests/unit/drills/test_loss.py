"""What is seen of sessions while their relay is lost on purpose: pauses, streams that went on, and when to end it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.drills.loss import PAUSE_MOST_MS, LossWatch, SessionFact, pause_figures

BEGAN_MS = 10_000
UP_BEFORE = SessionFact(is_up=True, stalled_ms=0, resumed_ms=None, is_elsewhere=False, via="relay-1")


def stalled(at_ms: int = BEGAN_MS + 5) -> SessionFact:
    return SessionFact(is_up=False, stalled_ms=at_ms, resumed_ms=None, is_elsewhere=False)


def resumed(at_ms: int, stalled_ms: int = BEGAN_MS + 5) -> SessionFact:
    return SessionFact(is_up=True, stalled_ms=stalled_ms, resumed_ms=at_ms, is_elsewhere=True, via="relay-2")


def watch(streams: int = 3) -> LossWatch:
    return LossWatch({1: ("kent-1", streams)}, BEGAN_MS)


def test_a_session_that_resumes_has_its_pause() -> None:
    seen = watch()
    for at, fact in ((1, UP_BEFORE), (50, stalled()), (100, resumed(BEGAN_MS + 80))):
        seen.look({1: fact}, BEGAN_MS + at)
    (pause,) = seen.pauses()
    assert (pause.peer, pause.streams, pause.pause_ms, pause.via) == ("kent-1", 3, 75, "relay-2")
    assert (seen.streams, seen.streams_kept, seen.unresumed) == (3, 3, 0)
    assert seen.problem(BEGAN_MS + 100) == ""


def test_the_longest_of_several_pauses_counts() -> None:
    seen = watch()
    seen.look({1: resumed(BEGAN_MS + 405)}, BEGAN_MS + 500)
    seen.look({1: resumed(BEGAN_MS + 910, BEGAN_MS + 900)}, BEGAN_MS + 950)
    assert seen.pauses()[0].pause_ms == 400


def test_one_that_was_moved_before_it_noticed_has_no_pause() -> None:
    seen = watch()
    seen.look({1: SessionFact(is_up=True, stalled_ms=0, resumed_ms=None, is_elsewhere=True, via="relay-2")}, BEGAN_MS)
    assert seen.pauses()[0].pause_ms == 0


def test_an_earlier_pause_is_none_of_the_drill() -> None:
    seen = watch()
    seen.look({1: SessionFact(is_up=True, stalled_ms=5, resumed_ms=900, is_elsewhere=False)}, BEGAN_MS + 1)
    assert seen.pauses()[0].pause_ms is None


def test_streams_that_end_with_their_session_end_the_drill() -> None:
    seen = watch()
    seen.look({}, BEGAN_MS + 20)
    assert seen.problem(BEGAN_MS + 20) == "3 streams were lost: their session ended"
    assert (seen.streams_kept, seen.unresumed) == (0, 1)


def test_streams_that_wait_too_long_end_it_before_they_are_lost() -> None:
    seen = watch(1)
    late_ms = BEGAN_MS + 5 + PAUSE_MOST_MS
    seen.look({1: stalled()}, late_ms - 1)
    assert seen.problem(late_ms - 1) == ""
    seen.look({1: stalled()}, late_ms)
    assert seen.problem(late_ms).startswith("1 stream was without a way for 5 s")
    # Nobody waits for a session without streams.
    idle = watch(0)
    idle.look({1: stalled()}, late_ms)
    assert idle.problem(late_ms) == ""
    assert idle.unresumed == 1


@pytest.mark.parametrize(
    ("pauses", "figures"), [((), (None, None)), ((5,), (5.0, 5)), ((1, 9, 412), (9.0, 412)), ((4, 5), (4.5, 5))]
)
def test_median_and_longest(pauses: tuple[int, ...], figures: tuple[float | None, int | None]) -> None:
    seen = LossWatch(dict.fromkeys(range(len(pauses)), ("kent-1", 1)), BEGAN_MS)
    facts = {number: resumed(BEGAN_MS + 5 + pause) for number, pause in enumerate(pauses)}
    seen.look(facts, BEGAN_MS + 1_000)
    assert pause_figures(seen.pauses()) == figures


FACTS = st.one_of(
    st.none(),
    st.just(UP_BEFORE),
    st.integers(0, 2_000).map(lambda ms: stalled(BEGAN_MS + ms)),
    st.tuples(st.integers(0, 2_000), st.integers(0, 2_000)).map(
        lambda times: resumed(BEGAN_MS + max(times), BEGAN_MS + min(times))
    ),
)


@given(st.lists(st.tuples(FACTS, FACTS), max_size=8), st.integers(0, 5), st.integers(0, 5))
def test_whatever_is_seen_no_stream_is_counted_twice(
    looks: list[tuple[SessionFact | None, SessionFact | None]], first: int, second: int
) -> None:
    seen = LossWatch({1: ("a", first), 2: ("b", second)}, BEGAN_MS)
    for number, facts in enumerate(looks):
        seen.look({key: fact for key, fact in zip((1, 2), facts, strict=True) if fact}, BEGAN_MS + number)
    assert 0 <= seen.streams_kept <= seen.streams == first + second
    assert all(pause.pause_ms is None or pause.pause_ms >= 0 for pause in seen.pauses())
    longest = pause_figures(seen.pauses())[1]
    assert longest is None or longest <= 2_000
