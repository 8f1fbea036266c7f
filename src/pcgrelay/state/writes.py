"""Writes of state that go on beside the event loop, and that none is under way when another process takes over.

A thread that replaces a file cannot be called back. If it ended after the hand-over, it would put what this process
knew over what the new one has written since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from pcgrelay.errors import RunError

P = ParamSpec("P")
T = TypeVar("T")


class StateWrites:
    """All writes of one process, each in a thread. Its methods are called from the event loop."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[Any]] = set()
        self._is_open = asyncio.Event()
        self._is_open.set()

    async def run(self, write: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Write, and return what the write returns; while a hand-over is under way it waits, and is not begun.

        A caller that is cancelled does not end a write that has begun: it is under way until its thread has ended.
        """
        while not self._is_open.is_set():
            await self._is_open.wait()
        task = asyncio.create_task(asyncio.to_thread(write, *arguments, **named))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def settle(self, seconds: float) -> None:
        """Begin no write any more, and wait for those that are under way. RunError: they take too long."""
        self._is_open.clear()
        if self._under_way:
            await asyncio.wait(set(self._under_way), timeout=seconds)
        if count := len(self._under_way):
            raise RunError(f"the disk is too slow: {count} files of state are still being written after {seconds:g} s")

    def resume(self) -> None:
        """Write again, after a hand-over that came to nothing."""
        self._is_open.set()
