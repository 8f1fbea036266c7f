"""A direct outlet whose name leads to a listener of this very node, which would go in a circle."""

from __future__ import annotations

import pytest

from pcgrelay.views.explain import explain
from pcgrelay.views.status import node_status
from tests.support.nodes_in_process import KENT, Nodes
from tests.support.outlet_nodes import CUSTODY, direct, met
from tests.support.ports import free_port
from tests.support.waiting import until_async as until


@pytest.mark.parametrize("by", ["listen", "also", "an export's also"])
async def test_an_outlet_that_leads_back_into_this_node_is_never_taken(nodes: Nodes, by: str) -> None:
    here, there = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    entry: dict[str, object] = {"outlet": "cjx"}
    tables: dict[str, object] = {}
    if by == "listen":
        entry["listen"] = here
    elif by == "also":
        entry["also"] = [here]
    else:
        tables["exports"] = [{"service": "mine", "target": there, "allow": [KENT], "also": [here]}]
    # By a name, for an address is refused where it is written.
    by_name = {**direct(), "address": here.replace("127.0.0.1", "localhost")}
    running, _ = await met(nodes, by_name, entry=entry, **tables)

    def why_not() -> str:
        return explain(running.node, CUSTODY).outlets[1].why_not

    await until(lambda: "its address is a listener of this very node" in why_not())
    (custody,) = [each for each in node_status(running.node).services if each.outlets]
    assert [(each.name, each.state) for each in custody.outlets][1] == ("cjx", "away")
