"""An edge with outlets in this process, with the fake core and without a neighbour."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any, TypeVar

from pcgrelay import config
from pcgrelay.daemon.run import make_node
from pcgrelay.dataplane.adapter import OutletsRow
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.outlet_shares import Moved, move_shares
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.log.writer import Log
from pcgrelay.state.folder import StateFolder
from tests.support import fake_core
from tests.support.nodes_in_process import KENT, MET, Nodes, Running
from tests.support.ports import free_port

CUSTODY = f"custody@{KENT}"
OPERATOR = Actor(uid=0, by="night shift", reason="INC-77")


def direct(name: str = "cjx", port: int = 5432, **keys: Any) -> dict[str, Any]:
    return {"service": CUSTODY, "name": name, "address": f"127.0.0.9:{port}", "probe": "none", **keys}


def link() -> dict[str, Any]:
    return {"peer": "relay-1.hub.example", "address": "127.0.0.1:9"}


class Met(Running):
    """An edge with outlets, without a neighbour."""

    def row(self) -> OutletsRow:
        (found,) = [row[6] for row in self.core.published["imports"]]
        assert found is not None
        return found

    def counts(self) -> list[int]:
        """How many slots each outlet has."""
        slots = self.row()[5]
        return [slots.count(index) for index in range(len(self.row()[7]))]

    def figures(self, index: int, **figures: Any) -> None:
        self.core.meters[self.row()[0]][index][0].update(figures)

    async def move(self, *words: str) -> Moved:
        return await move_shares(self.node, self.edge, "custody", words, OPERATOR)

    async def reload(self, path: Path) -> None:
        fresh = LocalIdentity(config.load(path), clock=self.node.clock)
        prepared = await self.node.prepare(fresh.config)
        prepared.listen()
        self.node.take(fresh, prepared)
        prepared.close()
        await asyncio.sleep(0)


Edge = TypeVar("Edge", bound=Met)


async def met(nodes: Nodes, *directs: dict[str, Any], state: bool = True, **tables: Any) -> tuple[Met, Path]:
    return await started(Met, nodes, *directs, state=state, **tables)


async def started(
    kind: type[Edge], nodes: Nodes, *directs: dict[str, Any], state: bool = True, **tables: Any
) -> tuple[Edge, Path]:
    folder = nodes.folder / "state"
    folder.mkdir(mode=0o700, exist_ok=True)
    entry = {"service": CUSTODY, "listen": f"127.0.0.1:{free_port()}", **tables.pop("entry", {})}
    node_table = {"state": str(folder)} if state else {}
    tables = {"links": [link()], **tables}
    path = nodes.write(MET, "met-1", node_table=node_table, imports=[entry], directs=list(directs), **tables)
    sink = io.StringIO()
    node = make_node(config.load(path), fake_core, Log("debug", sink))
    running = kind(node, sink)
    nodes.running.append(running)
    if state:
        node.state = StateFolder.take(folder)
    await node.start()
    await asyncio.sleep(0)
    return running, path


async def stop(running: Met) -> None:
    await running.node.stop()
    if running.node.state is not None:
        running.node.state.close()
