"""Who may decide the shares of an import's outlets beside a person and the configuration: cut-overs and drills.

`EdgeOutlets` asks its governors in order. The first that governs a service decides how its new streams are dealt; if
none does, what was set by hand holds again, or else the configuration. A governor whose answer has changed publishes
by `edge.tables.publisher`: `attempt()` at once, `soon()` at the end of the loop's turn.
"""

from __future__ import annotations

from typing import Protocol

from pcgrelay.model import ServiceName
from pcgrelay.services.outlet_plan import Decider, Governed

__all__ = ["Decider", "Governed", "ShareGovernor"]


class ShareGovernor(Protocol):
    """Decides the shares of some services for a time."""

    def governs(self, service: ServiceName) -> Governed | None:
        """Return how a service's new streams are dealt; None: as if this governor were not there."""
        ...

    def why_not_by_hand(self, service: ServiceName) -> str | None:
        """Return why nobody may set a service's shares by hand now: one sentence with the name of what runs."""
        ...
