"""Waiting for the answer to a PATH_OPEN.

A request or its answer may wait at some node for a control connection whose loss has not been noticed yet. Where there
is another route, it is tried after a few round trips. Each further request may take twice as long, so that a route that
is slow, or whose nodes are busy with many requests, gets enough time in the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from pcgrelay.messages import Code
from pcgrelay.path.edge import PathEnd, PathRefused

ANSWER_FIRST_S = 0.4
ANSWER_TRIPS = 8  # round trips to the neighbour; those behind it are not known
ANSWER_MOST_S = 5.0
NO_ANSWER = "no_answer"


async def wait_answer(end: PathEnd, attempt: int, has_other_way: Callable[[], bool]) -> None:
    """Wait until a path is accepted.

    attempt: how many requests of this session failed before this one. has_other_way: whether another route exists.
    Raises PathRefused if the path is refused or another route should be tried, TimeoutError after ANSWER_MOST_S.
    """
    trip_s = (end.link.probing.round_trip_ms or 0.0) / 1000
    patience_s = min(max(ANSWER_FIRST_S, ANSWER_TRIPS * trip_s) * 2 ** min(attempt, 10), ANSWER_MOST_S)
    async with asyncio.timeout(ANSWER_MOST_S):
        while not end.answered.done():
            await asyncio.wait({end.answered}, timeout=patience_s)
            if not end.answered.done() and has_other_way():
                raise PathRefused(Code.TIMEOUT, NO_ANSWER, "")
    await end.answered


async def wait_event(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, but no longer than this many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
