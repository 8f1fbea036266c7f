"""What control planes do later, on the world's clock: calls, and tasks that wait."""

import heapq
import itertools
from collections.abc import Callable, Generator
from typing import Any

# A task yields for how many milliseconds it waits; whoever kicks it wakes it earlier.
Steps = Generator[float, None, None]


class Later:
    """Calls that are due at a time, those of one time in the order in which they were asked for."""

    def __init__(self, now_us: int) -> None:
        self.now_us = now_us
        self._due: list[tuple[int, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._turn = itertools.count()

    @property
    def next_us(self) -> int:
        return self._due[0][0] if self._due else 1 << 62

    def at(self, at_us: int, call: Callable[..., Any], *arguments: Any) -> None:
        heapq.heappush(self._due, (max(at_us, self.now_us), next(self._turn), call, arguments))

    def after(self, ms: float, call: Callable[..., Any], *arguments: Any) -> None:
        self.at(self.now_us + int(ms * 1000), call, *arguments)

    def run(self, now_us: int) -> None:
        self.now_us = max(self.now_us, now_us)
        while self._due and self._due[0][0] <= self.now_us:
            _, _, call, arguments = heapq.heappop(self._due)
            call(*arguments)


class Task:
    """Steps that wait in between."""

    def __init__(self, later: Later, steps: Steps) -> None:
        self._later = later
        self._steps = steps
        self._turn = 0
        self.ended = False
        # Never within the call that makes it: its owner has to know it before it does anything.
        later.after(0, self._go, 0)

    def kick(self) -> None:
        if not self.ended:
            self._turn += 1
            self._later.after(0, self._go, self._turn)

    def end(self) -> None:
        self.ended = True

    def _go(self, turn: int) -> None:
        if self.ended or turn != self._turn:
            return
        self._turn += 1
        try:
            ms = next(self._steps)
        except StopIteration:
            self.ended = True
            return
        self._later.after(ms, self._go, self._turn)
