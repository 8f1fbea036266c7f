"""The nudges of an edge, one for each cut-over at most, and the count of what is left on an old outlet."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pcgrelay.cutover.canary import Now
from pcgrelay.dataplane.events import StreamsNudged
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.cutover import Cutover
from pcgrelay.gateway.nudging import Nudge, Nudging, refuse_nudge
from pcgrelay.gateway.role import NodeParts
from pcgrelay.log.cutover_events import CutoverNudged

# What is left on the old outlet is counted so often.
COUNT_EVERY_S = 10.0


class Nudges:
    """What is being closed, by service; it is of this process alone, and a person begins it again."""

    def __init__(self, node: NodeParts, cutovers: Callable[[], Iterator[Cutover]]) -> None:
        self._node = node
        self._cutovers = cutovers
        self._under_way: dict[str, Nudging] = {}
        self._counted_s: dict[str, float] = {}  # when what is left was counted

    def begin(self, cutover: Cutover, nudge: Nudge, actor: Actor) -> None:
        """Close idle streams of an outlet from now on, at a pace; with a pace of 0, no more. PcgrelayError: refused."""
        refuse_nudge(cutover, nudge)
        if nudge.per_minute:
            self._under_way[cutover.service] = Nudging(nudge, self._node.clock.monotonic_ms() / 1_000)
        else:
            self._under_way.pop(cutover.service, None)
        self._node.emit(
            CutoverNudged(
                service=cutover.service,
                outlet=nudge.outlet,
                per_minute=nudge.per_minute,
                idle_s=nudge.idle_s,
                hard=nudge.hard,
                uid=actor.uid,
                by=actor.by,
                reason=actor.reason,
            )
        )

    def forget(self, service: str) -> None:
        """There is no cut-over of a service any more."""
        self._under_way.pop(service, None)
        self._counted_s.pop(service, None)

    def tend(self, cutover: Cutover, now: Now) -> None:
        """Close what is due, within the plan's window; until nothing is left there. Now and then, count what is."""
        if cutover.imported is None:
            return
        number = cutover.imported.number
        nudging = self._under_way.get(cutover.service)
        if nudging is not None:
            index = cutover.active_index(nudging.nudge.outlet)
            if index is None or nudging.nudge.outlet == cutover.leads_to:
                # Nothing is left; or it went back meanwhile, and what is closed would come back there.
                del self._under_way[cutover.service]
            elif cutover.plan.calendar.is_open(now.wall) and not cutover.is_held:
                nudging.tend(self._node.plane, number, index, now.monotonic_s)
        counted_s = self._counted_s.get(cutover.service)
        if counted_s is None or now.monotonic_s - counted_s >= COUNT_EVERY_S:
            self._counted_s[cutover.service] = now.monotonic_s
            index = cutover.active_index(cutover.plan.old)
            if index is None:
                cutover.oldest_s = None
            else:
                self._node.plane.streams_nudge(number, index, 0, 0)

    def streams_nudged(self, event: StreamsNudged) -> None:
        """Note what is left on an old outlet."""
        for cutover in self._cutovers():
            if cutover.imported is None or cutover.imported.number != event.number or cutover.outlets is None:
                continue
            if cutover.outlets.name_of(event.outlet) == cutover.plan.old:
                cutover.oldest_s = round(event.oldest_us / 1_000_000, 1) if event.open else None
