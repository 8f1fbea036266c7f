"""An edge with the fake core whose import has two direct outlets, on which drills are held."""

from __future__ import annotations

from typing import Any

from pcgrelay.drills.record import DrillRecord
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.drill_parts import Request
from tests.support import outlet_nodes
from tests.support.nodes_in_process import Nodes
from tests.support.outlet_nodes import CUSTODY, direct, started
from tests.support.waiting import until_async as until

ACTOR = Actor(uid=0, by="night shift", reason="CR-7")
BACKUP = Request("backup", CUSTODY, 50.0)


class Met(outlet_nodes.Met):
    async def begin(self, request: Request = BACKUP, **keys: Any) -> DrillRecord:
        return (await self.edge.drills.begin(request, ACTOR, **keys))[0]

    async def ended(self) -> DrillRecord:
        await until(lambda: self.edge.drills.running is None)
        return self.edge.drills.records[-1]


async def met(nodes: Nodes, *, state: bool = True, **tables: Any) -> Met:
    directs = (direct("cjx", 5432), direct("psnp", 5433))
    entry = {"outlet": "cjx", **tables.pop("entry", {})}
    return (await started(Met, nodes, *directs, state=state, entry=entry, **tables))[0]


async def begun(running: Met) -> None:
    """Wait until new streams take the back-up."""
    await until(lambda: running.counts() == [0, 0, 200], 10)
