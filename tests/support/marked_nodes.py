"""Kent's edge and the Met's over two relays on networks of their own, in this process: for tests of markings."""

from __future__ import annotations

from typing import Any

from pcgrelay.admin.answers import ExplainAnswer
from pcgrelay.daemon.reload import Reloader
from pcgrelay.log.writer import Log
from pcgrelay.views.explain import explain
from tests.support.nodes_in_process import HUB, KENT, MET, Nodes, Running
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

SENSITIVE = "OFFICIAL-SENSITIVE"
PSN = [{"name": "psn", "marking": SENSITIVE}]


def export(**keys: object) -> dict[str, object]:
    return {"service": "custody", "target": "127.0.0.1:5432", "allow": [MET], "marking": SENSITIVE, **keys}


class Realm:
    """Kent's edge and the Met's over two relays: the first on the internet, the second on the PSN."""

    def __init__(self, nodes: Nodes, second: str = HUB) -> None:
        self.nodes = nodes
        self.second = second
        self.ports = [free_port(), free_port()]
        self.door = {"service": f"custody@{KENT}", "listen": f"127.0.0.1:{free_port()}"}
        self.links = [
            {"peer": f"relay-{number}.{organisation}", "address": f"127.0.0.1:{port}", "bearer": bearer}
            for number, organisation, port, bearer in (
                (1, HUB, self.ports[0], "internet"),
                (2, second, self.ports[1], "psn"),
            )
        ]

    async def start(self, *, kent: dict[str, Any] | None = None, met: dict[str, Any] | None = None) -> None:
        self.relays = [
            await self.nodes.start(
                organisation,
                f"relay-{number}",
                role="relay",
                listens=[{"address": f"127.0.0.1:{port}", "bearer": bearer}],
            )
            for number, organisation, port, bearer in (
                (1, HUB, self.ports[0], "internet"),
                (2, self.second, self.ports[1], "psn"),
            )
        ]
        self.kent = await self.nodes.start(KENT, "kent-1", **self.of_kent(**(kent or {})))
        self.met = await self.nodes.start(MET, "met-1", **self.of_met(**(met or {})))
        kent_id = self.kent.node.config.node.id
        await until(lambda: len(self.met.node.exchange.catalogue.ways(kent_id)) == 2)
        await until(lambda: len(list(self.met.node.link_table.usable())) == 2)
        await until(lambda: len(list(self.kent.node.link_table.usable())) == 2)

    def of_kent(self, **tables: Any) -> dict[str, Any]:
        return {"links": self.links, "exports": [export()], **tables}

    def of_met(self, **tables: Any) -> dict[str, Any]:
        return {"links": self.links, "imports": [self.door], **tables}

    async def reload(self, running: Running, organisation: str, **tables: Any) -> None:
        self.nodes.write(organisation, running.node.config.node.id.name, **tables)
        answer = await Reloader(running.node, Log("debug", running.sink), lambda text: None).reload()
        assert answer.ok, answer

    def explained(self) -> ExplainAnswer:
        return explain(self.met.node, f"custody@{KENT}")
