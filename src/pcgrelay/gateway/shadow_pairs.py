"""When pairs of shadows are made: at the plan's pace while it soaks, in a burst once something failed, and while it is
held, to know whether what it would fall back to succeeds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from pcgrelay.config.values import escaped_bytes
from pcgrelay.cutover.alarm import Pair
from pcgrelay.cutover.phases import Phase
from pcgrelay.cutover.windows import find_zone
from pcgrelay.gateway.cutover import Cutover
from pcgrelay.gateway.role import NodeParts
from pcgrelay.gateway.shadows import ShadowEnd, Shadows, Talk
from pcgrelay.gateway.tasks import spawn

BURST_PAIRS = 12
BURST_GAP_S = 0.01
BURST_EVERY_S = 10.0
# Whether what it would fall back to succeeds is asked so often, while it matters.
ASK_EVERY_S = 1.0
# A shadow is given up after the outlet's patience, which is eight times what most of its set-ups take; at most so long.
PAIR_MOST_S = 1.0


@dataclass(slots=True)
class _Pace:
    """What is under way for one cut-over."""

    next_s: float | None = None
    burst_s: float | None = None
    asked_s: float | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)


class ShadowPairs:
    """The pairs of one edge's cut-overs."""

    def __init__(self, shadows: Shadows, node: NodeParts, paired: Callable[[Cutover, Pair], None]) -> None:
        self._shadows = shadows
        self._node = node
        self._paired = paired
        self._paces: dict[str, _Pace] = {}

    async def stop(self) -> None:
        tasks = [task for pace in self._paces.values() for task in pace.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def tend(self, cutover: Cutover) -> None:
        """Make the pairs of a cut-over that are due."""
        pace = self._paces.setdefault(cutover.service, _Pace())
        per_minute = cutover.plan.shadow.per_minute
        now_s = self._now_s()
        wants_burst, cutover.burst_wanted = cutover.burst_wanted, False
        if not cutover.is_under_way or not per_minute or self._node.draining:
            pace.next_s = None
            return
        if wants_burst and (pace.burst_s is None or now_s - pace.burst_s >= BURST_EVERY_S):
            pace.burst_s = now_s
            self._spawn(pace, self._burst(cutover))
        if cutover.needs_back(now_s) and (pace.asked_s is None or now_s - pace.asked_s >= ASK_EVERY_S):
            pace.asked_s = now_s
            self._spawn(pace, self._ask(cutover))
        if not _is_paced(cutover):
            pace.next_s = None
        elif pace.next_s is None or now_s >= pace.next_s:
            pace.next_s = now_s + 60.0 / per_minute
            self._spawn(pace, self._pair(cutover))

    def _spawn(self, pace: _Pace, work: Coroutine[Any, Any, None]) -> None:
        task = spawn(work, "shadow", self._node.emit)
        pace.tasks.add(task)
        task.add_done_callback(pace.tasks.discard)

    async def _burst(self, cutover: Cutover) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(BURST_PAIRS):
                group.create_task(self._pair(cutover))
                await asyncio.sleep(BURST_GAP_S)

    async def _pair(self, cutover: Cutover) -> None:
        partner = self._partner(cutover)
        if partner is None:
            return
        new, old = await asyncio.gather(self._shadow(cutover, cutover.plan.new), self._shadow(cutover, partner))
        self._seen(cutover, partner, old)
        if new.says_something and old.says_something:
            self._paired(cutover, Pair(new_failed=not new.is_good, old_failed=not old.is_good))

    async def _ask(self, cutover: Cutover) -> None:
        partner = self._partner(cutover)
        if partner is not None:
            self._seen(cutover, partner, await self._shadow(cutover, partner))

    def _seen(self, cutover: Cutover, outlet: str, end: ShadowEnd) -> None:
        if end.outcome != "local":
            cutover.seen(outlet, self._now_s(), end.is_good)

    async def _shadow(self, cutover: Cutover, outlet: str) -> ShadowEnd:
        imported, outlets = cutover.imported, cutover.outlets
        index = None if outlets is None else outlets.index_of(outlet)
        if imported is None or outlets is None or index is None:
            return ShadowEnd("away")
        patience_s = outlets.plan.ways[index].patience_ms / 1_000 if index < len(outlets.plan.ways) else PAIR_MOST_S
        return await self._shadows.connect(imported, index, talk_of(cutover), min(patience_s, PAIR_MOST_S))

    def _partner(self, cutover: Cutover) -> str | None:
        """The first outlet to fall back to that is well and in support."""
        today = self._node.clock.wall().astimezone(find_zone(cutover.plan.calendar.zone)).date()
        well, ends = cutover.well(is_starting=False), cutover.supported_until()
        for name in cutover.plan.back:
            end = ends.get(name)
            if name in well and (end is None or today <= end):
                return name
        return None

    def _now_s(self) -> float:
        return self._node.clock.monotonic_ms() / 1_000


def talk_of(cutover: Cutover) -> Talk:
    """What a plan's shadows say and want to hear."""
    shadow = cutover.plan.shadow
    return Talk(escaped_bytes(shadow.send), escaped_bytes(shadow.expect))


def _is_paced(cutover: Cutover) -> bool:
    """Whether pairs come at the plan's pace: while it soaks, and for one soak after the arrival."""
    if cutover.phase is Phase.SOAKING:
        return True
    return cutover.phase is Phase.ARRIVED and cutover.progress.soaked_s < cutover.plan.soak_s
