"""How long a request for a path is waited for: not long if there is another way, and longer each time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from pcgrelay.path.asking import ANSWER_FIRST_S, ANSWER_MOST_S, ANSWER_TRIPS, NO_ANSWER, wait_answer
from pcgrelay.path.edge import PathRefused
from tests.support.virtual_time import VirtualLoop, run_virtually

EXACT_S = 0.001


def end(round_trip_ms: float | None = None) -> Any:
    return SimpleNamespace(
        answered=asyncio.get_running_loop().create_future(),
        link=SimpleNamespace(probing=SimpleNamespace(round_trip_ms=round_trip_ms)),
    )


async def waited_s(asked: Any, attempt: int, *, has_other_way: bool) -> float:
    now = asyncio.get_running_loop().time
    since = now()
    with pytest.raises(PathRefused if has_other_way else TimeoutError):
        await wait_answer(asked, attempt, lambda: has_other_way)
    return now() - since


def virtually(work: Coroutine[Any, Any, None]) -> None:
    """In a time of its own: what is waited for is exact, however busy the machine is."""
    run_virtually(work, VirtualLoop())


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


def test_another_way_is_tried_soon_and_each_time_later() -> None:
    async def work() -> None:
        for attempt in range(3):
            waited = await waited_s(end(), attempt, has_other_way=True)
            assert waited == pytest.approx(ANSWER_FIRST_S * 2**attempt, abs=EXACT_S)

    virtually(work())


def test_a_slow_link_is_given_its_round_trips() -> None:
    async def work() -> None:
        waited = await waited_s(end(100.0), 0, has_other_way=True)
        assert waited == pytest.approx(ANSWER_TRIPS * 0.1, abs=EXACT_S)

    virtually(work())


def test_without_another_way_there_is_time() -> None:
    async def work() -> None:
        assert await waited_s(end(), 0, has_other_way=False) == pytest.approx(ANSWER_MOST_S, abs=EXACT_S)

    virtually(work())


def test_another_way_that_comes_up_meanwhile_is_taken() -> None:
    """It is looked for each time that the patience with this one is over."""

    async def work() -> None:
        now = asyncio.get_running_loop().time
        since = now()
        with pytest.raises(PathRefused, match=NO_ANSWER):
            await wait_answer(end(), 0, lambda: now() - since > 1.5 * ANSWER_FIRST_S)
        assert now() - since == pytest.approx(2 * ANSWER_FIRST_S, abs=EXACT_S)

    virtually(work())
