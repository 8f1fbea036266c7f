"""The role of a relay: it forwards paths. It has no services of its own and knows no streams."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import structs

from pcgrelay.config import Config
from pcgrelay.dataplane.events import Handlers
from pcgrelay.gateway.prepared import Held, Prepared
from pcgrelay.gateway.role import NodeParts
from pcgrelay.handover.node import NodeHandover
from pcgrelay.link.link import Link
from pcgrelay.model import NodeId
from pcgrelay.path.budget import Budget
from pcgrelay.path.labels import Labels
from pcgrelay.path.relay import RelayPaths
from pcgrelay.policy.rules import reach_refusal

LEAD_AWAY_S = 1.0


class RelayRole:
    """The parts that a relay has besides the common node."""

    def __init__(self, node: NodeParts) -> None:
        self._node = node
        settings = node.local.config.node
        self.paths = RelayPaths(
            settings.id,
            plane=node.plane,
            labels=Labels(node.clock),
            next_link=self._next_link,
            awaits_way=node.exchange.awaits_way,
            reach=lambda source, destination: reach_refusal(node.local.config.policy, source, destination),
            relays_behind=node.exchange.relays_behind,
            clearances=lambda: node.local.clearances,
            budget=Budget.of_memory(settings.memory_bytes),
            emit=node.emit,
            clock=node.clock,
        )
        node.refused.register("forwards", self.paths.refused)

    def handlers(self) -> Handlers:
        """Return no handlers: the core has no events of paths."""
        return {}

    async def close(self, code: int) -> None:
        self.paths.close_all(code)

    def is_busy(self) -> bool:
        return len(self.paths) > 0

    def tick(self) -> None:
        self.paths.expire()

    # -- a configuration: there are no services, so no port is opened and no table published -----------------------

    def held(self) -> Held:
        return {}

    async def prepare(self, config: Config, prepared: Prepared, *, reopen: bool) -> None: ...

    def check(self, config: Config, prepared: Prepared) -> None: ...

    def apply(self, prepared: Prepared) -> bool:
        return True

    def unserved(self) -> str:
        return ""

    def read_system(self) -> None: ...

    def trust_changed(self) -> None:
        self.paths.judge()

    def clearances_changed(self) -> None:
        self.paths.judge()

    def why_no_upgrade(self) -> str:
        return ""

    def drain_begun(self) -> None:
        """Do nothing: the links tell the neighbours, which open no new paths over this relay then."""

    # -- a hand-over -------------------------------------------------------------------------------------------

    def to_handover(self, handover: NodeHandover) -> NodeHandover:
        relay_paths, labels, last = self.paths.to_handover()
        return structs.replace(handover, relay_paths=relay_paths, labels=labels, last_relay_path=last)

    def restore(self, handover: NodeHandover, prepared: Prepared) -> None:
        links = self._node.link_table.links
        self.paths.restore(handover.relay_paths, handover.labels, handover.last_relay_path, links)

    # -- links and the catalogue -------------------------------------------------------------------------------

    def catalogue_changed(self) -> None:
        """Move paths off replaced links, which is possible once there is another route."""
        for link in list(self._node.link_table.links.values()):
            if link.replaced:
                self.paths.lead_over(link)

    def link_is_used(self, link: Link) -> bool:
        return self.paths.use(link)

    def link_drains(self, link: Link) -> None:
        if link.replaced:
            self.paths.lead_over(link)
            return
        # Edges that are neighbours of the draining node move their paths without a pause; the others are moved later.
        asyncio.get_running_loop().call_later(LEAD_AWAY_S, self.paths.lead_away, link)

    def _next_link(self, destination: NodeId, wanted: Callable[[Link], bool], marking: int) -> Link | None:
        return None if self._node.draining else self._node.exchange.route(destination, wanted, marking)
