"""What the edges of an organisation have counted of one cut-over, as the one that decides adds it up (pure).

Each edge publishes its own sums. What is added is what came since an edge was first seen here: a decision rests on what
was counted while somebody looked. An edge that counts anew, for its state was lost, adds all that it has.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from pcgrelay.cutover.samples import Outlet
from pcgrelay.cutover.shared import Digest
from pcgrelay.ranges import Count

# Edges whose figures are added; more are not looked at.
EDGES_MOST = 64


class EdgeFigures(Struct, frozen=True, kw_only=True):
    """One edge's sums of a run, as they are written once a second."""

    service: Annotated[str, Meta(max_length=512)]
    plan_sha256: Digest
    run: Count
    held: bool = False  # the new outlet is away there
    new: Outlet
    old: Outlet


class OthersFigures:
    """The sums of the other edges in one run."""

    def __init__(self, new: Outlet, old: Outlet) -> None:
        """new, old: what was added up before, by this process or the one before it."""
        self.new, self.old = new, old
        self._last: dict[str, EdgeFigures] = {}
        self._there: set[str] = set()

    def see(self, node: str, figures: EdgeFigures) -> None:
        """Add what an edge has counted since it was seen last. Figures of other outlets are not added."""
        if (figures.new.name, figures.old.name) != (self.new.name, self.old.name):
            return
        last = self._last.get(node)
        if last is None and len(self._last) >= EDGES_MOST:
            return
        if last is not None and last.run == figures.run:
            self.new += figures.new.since(last.new)
            self.old += figures.old.since(last.old)
        self._last[node] = figures
        self._there.add(node)

    def lose(self, node: str) -> None:
        """An edge is gone, or does not reach the store. What it counted stays, and it goes on from there."""
        self._there.discard(node)

    def held(self) -> list[str]:
        """The edges at which the new outlet is away."""
        return sorted(node for node in self._there if self._last[node].held)

    def edges(self) -> list[str]:
        """The edges that are seen."""
        return sorted(self._there)
