"""An edge with the fake core whose import has two direct outlets, on which drills are held."""

from __future__ import annotations

import asyncio
import io
from typing import Any

from pcgrelay import config
from pcgrelay.daemon.run import make_node
from pcgrelay.drills.record import DrillRecord
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.drill_parts import Request
from pcgrelay.log.writer import Log
from pcgrelay.state.folder import StateFolder
from tests.support import fake_core
from tests.support.nodes_in_process import KENT, MET, Nodes, Running
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

CUSTODY = f"custody@{KENT}"
ACTOR = Actor(uid=0, by="night shift", reason="CR-7")
BACKUP = Request("backup", CUSTODY, 50.0)


class Met(Running):
    """An edge whose import has two direct outlets."""

    def counts(self) -> list[int]:
        """How many slots each outlet has."""
        (row,) = [row[6] for row in self.core.published["imports"]]
        assert row is not None
        return [row[5].count(index) for index in range(len(row[7]))]

    async def begin(self, request: Request = BACKUP, **keys: Any) -> DrillRecord:
        return (await self.edge.drills.begin(request, ACTOR, **keys))[0]

    async def ended(self) -> DrillRecord:
        await until(lambda: self.edge.drills.running is None)
        return self.edge.drills.records[-1]


async def met(nodes: Nodes, *, state: bool = True, **tables: Any) -> Met:
    folder = nodes.folder / "state"
    folder.mkdir(mode=0o700, exist_ok=True)
    entry = {"service": CUSTODY, "listen": f"127.0.0.1:{free_port()}", "outlet": "cjx", **tables.pop("entry", {})}
    directs = [
        {"service": CUSTODY, "name": name, "address": f"127.0.0.9:{port}", "probe": "none"}
        for name, port in (("cjx", 5432), ("psnp", 5433))
    ]
    node_table = {"state": str(folder)} if state else {}
    links = [{"peer": "relay-1.hub.example", "address": "127.0.0.1:9"}]
    path = nodes.write(
        MET, "met-1", node_table=node_table, imports=[entry], directs=directs, links=links, **tables
    )  # fmt: skip
    sink = io.StringIO()
    node = make_node(config.load(path), fake_core, Log("debug", sink))
    running = Met(node, sink)
    nodes.running.append(running)
    if state:
        node.state = StateFolder.take(folder)
    await node.start()
    await asyncio.sleep(0)
    return running


async def stop(running: Met) -> None:
    await running.node.stop()
    if running.node.state is not None:
        running.node.state.close()


async def begun(running: Met) -> None:
    """Wait until new streams take the back-up."""
    await until(lambda: running.counts() == [0, 0, 200], 10)
