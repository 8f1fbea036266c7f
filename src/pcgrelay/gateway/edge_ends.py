"""Streams past the end of their rule that no table ends: those of direct outlets, and of callers who came the old way.

A reload that takes an outlet or a listener away lets what is open there go on. The end of a rule does not: each second
what is still open is reset, until nothing is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.gateway.edge_outlets import EdgeOutlets
from pcgrelay.gateway.role import NodeParts
from pcgrelay.gateway.strays import Strays
from pcgrelay.policy.in_force import has_ended
from pcgrelay.services.strays import TARGET

MOST = 1_000_000  # more than there can be


class EdgeEnds:
    """What is still open at an edge by rules that have ended."""

    def __init__(self, node: NodeParts, outlets: EdgeOutlets, strays: Strays) -> None:
        self._node = node
        self._outlets = outlets
        self._strays = strays

    def tick(self) -> None:
        """Reset it; called once a second."""
        if self._node.local.written is self._node.local.config:
            return
        for number, outlet in [*self._of_directs(), *self._of_strays()]:
            # If too many rounds are under way, the next second comes.
            with suppress(DataPlaneRefused):
                self._node.plane.streams_nudge(number, outlet, 0, MOST, hard=True)

    def _of_directs(self) -> Iterator[tuple[int, int]]:
        """Yield import and index of each outlet that has ended and is used."""
        written, now = self._node.local.written, self._node.clock.wall()
        ended = {(each.service, each.name) for each in written.directs if has_ended(each.paper, now)}
        for imported, outlets in self._outlets.with_outlets() if ended else ():
            for index in outlets.given_up:
                is_ended = (imported.settings.service, outlets.name_of(index)) in ended
                if is_ended and outlets.meter.figures(index)[0].active:
                    yield imported.number, index

    def _of_strays(self) -> Iterator[tuple[int, int]]:
        """Yield the callers of each export that has ended, as the core knows them."""
        now = self._node.clock.wall()
        for stray in self._strays.all():
            if has_ended(stray.exported.settings.paper, now) and stray.meter.use(TARGET).streams:
                yield stray.number, TARGET
