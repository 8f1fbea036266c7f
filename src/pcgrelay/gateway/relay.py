"""A relay: links, the catalogue passed on, and paths led through. It knows no service of its own and no stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import structs

from pcgrelay.clock import Clock
from pcgrelay.config import Config
from pcgrelay.dataplane.adapter import Plane
from pcgrelay.gateway.node import Node
from pcgrelay.gateway.prepared import Prepared
from pcgrelay.handover.node import NodeHandover
from pcgrelay.link.link import Link
from pcgrelay.log.writer import Log
from pcgrelay.messages import Message
from pcgrelay.model import NodeId
from pcgrelay.path.budget import Budget
from pcgrelay.path.labels import Labels
from pcgrelay.path.relay import RelayPaths
from pcgrelay.policy.rules import reach_refusal

LEAD_AWAY_S = 1.0


class Relay(Node):
    """One relay."""

    def __init__(self, config: Config, plane: Plane, log: Log, clock: Clock) -> None:
        super().__init__(config, plane, log, clock)
        self.relay_paths = RelayPaths(
            config.node.id,
            plane=plane,
            labels=Labels(clock),
            next_link=self._next_link,
            reach=lambda source, destination: reach_refusal(self.config.policy, source, destination),
            budget=Budget.of_memory(config.node.memory_bytes),
            emit=log.emit,
            clock=clock,
        )
        self.refused.register("forwards", self.relay_paths.refused)

    async def open(self) -> None:
        """A relay has nothing but its listeners."""

    async def drain_undone(self) -> None:
        self.draining = False

    def trust_changed(self) -> None:
        self.relay_paths.judge()

    def take_services(self, prepared: Prepared) -> None:
        """A relay has no services."""

    def role_to_handover(self, handover: NodeHandover) -> NodeHandover:
        relay_paths, labels, last = self.relay_paths.to_handover()
        return structs.replace(handover, relay_paths=relay_paths, labels=labels, last_relay_path=last)

    def role_restore(self, handover: NodeHandover, prepared: Prepared) -> None:
        self.relay_paths.restore(handover.relay_paths, handover.labels, handover.last_relay_path, self.link_table.links)

    def link_drains(self, link: Link) -> None:
        super().link_drains(link)
        if link.replaced:
            self.relay_paths.lead_over(link)
            return
        # Edges that hear of it themselves move without a pause; the others are moved after them.
        asyncio.get_running_loop().call_later(LEAD_AWAY_S, self.relay_paths.lead_away, link)

    async def close(self, code: int) -> None:
        self.relay_paths.close_all(code)

    def is_busy(self) -> bool:
        return len(self.relay_paths) > 0

    def paths_led(self) -> int:
        return len(self.relay_paths)

    def paths_over(self, link: Link) -> int:
        return self.relay_paths.onward_over(link)

    def paths_led_to(self, edge: NodeId) -> int:
        return self.relay_paths.led_to(edge)

    def drain_begun(self) -> None:
        """The links tell the neighbours, and these lead nothing new over this relay."""

    def catalogue_changed(self) -> None:
        """Each request looks its way up again; paths over links that were replaced can move once there is another."""
        for link in list(self.link_table.links.values()):
            if link.replaced:
                self.relay_paths.lead_over(link)

    def path_message(self, link: Link, message: Message) -> None:
        self.relay_paths.receive(link, message)

    def link_is_used(self, link: Link) -> bool:
        return self.relay_paths.use(link)

    def requests_lost(self, link: Link) -> None:
        self.relay_paths.control_lost(link)

    def paths_lost(self, link: Link) -> None:
        self.relay_paths.link_down(link)

    def tick(self) -> None:
        super().tick()
        self.relay_paths.expire()

    def _next_link(self, destination: NodeId, wanted: Callable[[Link], bool]) -> Link | None:
        return None if self.draining else self.exchange.route(destination, wanted)
