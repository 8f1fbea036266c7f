"""A loop whose time passes by itself: two minutes of waiting for deadlines take no time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class _Selector(selectors.DefaultSelector):
    """Instead of waiting, time moves on."""

    passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout is None:
            raise AssertionError("everybody waits, and nothing will ever happen")
        if not found and timeout:
            self.passed_s += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """Begins at zero. It is a clock of the control plane too."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.passed_s

    def monotonic_ms(self) -> int:
        return int(self._virtual.passed_s * 1000)

    def wall(self) -> datetime:
        return NOON + timedelta(seconds=self._virtual.passed_s)


def run_virtually(work: Coroutine[Any, Any, None], loop: VirtualLoop) -> None:
    """Run it to its end, and everything that it left behind."""
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(work)
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
