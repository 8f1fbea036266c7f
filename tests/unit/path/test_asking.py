"""How long a request for a path is waited for: not long if there is another way, and longer each time."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from pcgrelay.path import asking
from pcgrelay.path.asking import ANSWER_FIRST_S, ANSWER_TRIPS, NO_ANSWER, wait_answer
from pcgrelay.path.edge import PathRefused

# The loop's timers are right to a millisecond or two.
EARLY_S = 0.01


def end(round_trip_ms: float | None = None) -> Any:
    return SimpleNamespace(
        answered=asyncio.get_running_loop().create_future(),
        link=SimpleNamespace(probing=SimpleNamespace(round_trip_ms=round_trip_ms)),
    )


async def waited_s(asked: Any, attempt: int, *, has_other_way: bool) -> float:
    since = time.monotonic()
    with pytest.raises(PathRefused if has_other_way else TimeoutError):
        await wait_answer(asked, attempt, lambda: has_other_way)
    return time.monotonic() - since


async def test_an_answer_is_taken_whenever_it_comes() -> None:
    asked = end()
    asyncio.get_running_loop().call_later(0.01, asked.answered.set_result, None)
    await wait_answer(asked, 0, lambda: True)
    await wait_answer(asked, 0, lambda: True)


async def test_a_refusal_is_raised() -> None:
    asked = end()
    asked.answered.set_exception(PathRefused(4, "unknown_session", ""))
    with pytest.raises(PathRefused):
        await wait_answer(asked, 0, lambda: True)


async def test_another_way_is_tried_soon_and_each_time_later() -> None:
    first = await waited_s(end(), 0, has_other_way=True)
    second = await waited_s(end(), 1, has_other_way=True)
    assert ANSWER_FIRST_S - EARLY_S <= first < 2 * ANSWER_FIRST_S - EARLY_S <= second < 4 * ANSWER_FIRST_S


async def test_a_slow_link_is_given_its_round_trips() -> None:
    trip_s = 0.1
    assert await waited_s(end(1000 * trip_s), 0, has_other_way=True) >= ANSWER_TRIPS * trip_s - EARLY_S


async def test_without_another_way_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ANSWER_MOST_S", 3 * ANSWER_FIRST_S)
    assert await waited_s(end(), 0, has_other_way=False) >= 3 * ANSWER_FIRST_S - EARLY_S


async def test_another_way_that_comes_up_meanwhile_is_taken() -> None:
    since = time.monotonic()
    with pytest.raises(PathRefused, match=NO_ANSWER):
        await wait_answer(end(), 0, lambda: time.monotonic() - since > 1.5 * ANSWER_FIRST_S)
    assert time.monotonic() - since < 3 * ANSWER_FIRST_S
