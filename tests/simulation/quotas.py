"""Limits of an edge's exports, as `services/descriptors.py` sets them in each process: so many streams of each may be
open at once, and so many of these of the other organisation. No more ever are, and who is refused is told why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.virtual import FAULTS

if TYPE_CHECKING:
    from tests.simulation.edges import Edge

CODE_LIMIT = 2
CAUSES = {"limit", "organisation-limit"}
ORGANISATION = 1  # that the core knows the other edge's by


class Quotas:
    """The limits of one edge, in all of its processes."""

    def __init__(self, edge: Edge, numbers: range) -> None:
        self._edge = edge
        self._world = edge.world
        self._numbers = numbers
        shape = self._world.scenario
        self.total, self.each = shape.quota, shape.quota_each
        self.is_set = bool(self.total or self.each)

    @property
    def organisation(self) -> int:
        """Of the far edge; the core has none where nothing is limited."""
        return ORGANISATION if self.is_set else 0

    def process_began(self) -> None:
        """Limits are the control plane's, which sets them in each process before its first frame."""
        is_forgotten = self.is_set and self._world.library.virtual_strikes(FAULTS.index("unbounded"))
        if self.is_set and not is_forgotten:
            self._edge.core.bounds(imports=[], exports=[(number, self.total, self.each) for number in self._numbers])

    def look(self) -> None:
        """No more are open than may be, whenever the workers stand still. In a world they run one after another."""
        if not self.is_set:
            return
        core = self._edge.core
        for number, streams in core.services()["exports"].items():
            if number in self._numbers and self.total and streams > self.total:
                self._world.broken(f"quota: {streams} streams of service {number}, of which {self.total} may be open")
        mine: dict[int, int] = {}
        for _, number, _, _, streams in core.export_streams():
            if number not in self._numbers:
                continue
            mine[number] = mine.get(number, 0) + streams
        for number, streams in mine.items():
            if self.each and streams > self.each:
                self._world.broken(f"quota: {streams} streams of service {number} of an organisation with {self.each}")

    def refuses(self, opener: bool, code: int, cause: str) -> bool:
        """Whether a stream ended because of such a limit; the reason and the code that travels go together."""
        if cause in CAUSES:
            known = self.total if cause == "limit" else self.each
            if opener or code != CODE_LIMIT or not known:
                self._world.broken(f"quota: a stream ended by {cause} with code {code}, which no limit here has")
            return True
        return self.is_set and opener and cause == "far-reset" and code == CODE_LIMIT
