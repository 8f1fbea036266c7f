"""An edge that dials a relay, in one process and with UDP lanes; and a link of a fake core, as a plane of one node."""

from __future__ import annotations

from typing import Any

from pcgrelay.daemon.reload import Reloader
from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.link.link import Link
from tests.support import fake_core
from tests.support.nodes_in_process import HUB, KENT, Nodes, Running, dial
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

ON = {"udp_lanes": True}
LANES = 2


class LinkOfFakeCore:
    """A fake core with one link, number 1. Its errors are as the adapter raises them."""

    workers = LANES

    def __init__(self, *, dialler: bool) -> None:
        self.core = fake_core.Core(workers=self.workers)
        link = {"binding": bytes(32), "suite": 1, "dialler": dialler, "lanes": LANES, "link_id": bytes(range(16))}
        self.core.link_add(1, secret=bytearray(b"s" * 32), **link)

    def __getattr__(self, name: str) -> Any:
        def called(*args: Any, **options: Any) -> Any:
            try:
                return getattr(self.core, name)(*args, **options)
            except fake_core.CoreError as error:
                raise DataPlaneRefused(str(error)) from None

        return called


class Pair:
    """An edge that dials a relay."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.port = free_port()
        self.relay: Running
        self.edge: Running

    async def start(self, relay: dict[str, Any] = ON, edge: dict[str, Any] = ON, **listen: Any) -> Pair:
        listens = [{"address": f"127.0.0.1:{self.port}", **listen}]
        self.relay = await self.nodes.start(HUB, "relay-1", role="relay", listens=listens, node_table=relay)
        self.edge = await self.nodes.start(KENT, "kent-1", links=[dial(1, self.port)], node_table=edge)
        await until(lambda: all(list(each.node.link_table.usable()) for each in (self.relay, self.edge)))
        return self

    async def reload(self, running: Running, **node_table: Any) -> None:
        """Let one of them read its file again, with another [node]."""
        if running is self.relay:
            listens = [f"127.0.0.1:{self.port}"]
            self.nodes.write(HUB, "relay-1", role="relay", listens=listens, node_table=node_table)
        else:
            self.nodes.write(KENT, "kent-1", links=[dial(1, self.port)], node_table=node_table)
        answer = await Reloader(running.node, running.node.log, lambda state: None).reload()
        assert answer.ok, answer


def link_of(running: Running) -> Link:
    return list(running.node.link_table.links.values())[-1]


def lanes_up(running: Running) -> list[int]:
    """The indices of UDP lanes that are up."""
    number = link_of(running).number
    return [row[0] for row in running.core.udp_lanes(number) if row[2] == "up"]


def refused(running: Running) -> dict[str, int]:
    return {why: n for why, n in running.node.link_table.refused.items() if why.startswith("udp_lane")}
