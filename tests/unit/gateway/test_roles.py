"""A node and its role: what the role sees of the node, and in which order both hear of an event."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pcgrelay.daemon import run
from pcgrelay.dataplane.events import LaneDown
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.handover import to_handover
from pcgrelay.gateway.relay import RelayRole
from pcgrelay.gateway.role import NodeParts
from tests.support.nodes_in_process import KENT, MET, Nodes, dial, entry, export, is_live, relays
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

PARTS = {name for name, value in vars(NodeParts).items() if isinstance(value, property)}


class Narrow:
    """A node as NodeParts and no more."""

    def __init__(self, node: NodeParts) -> None:
        self._node = node

    def __getattr__(self, name: str) -> Any:
        assert name in PARTS, name
        return getattr(self._node, name)


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


async def test_roles_do_their_work_with_the_parts_that_they_are_to_know(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "EdgeRole", lambda node: EdgeRole(Narrow(node)))
    monkeypatch.setattr(run, "RelayRole", lambda node: RelayRole(Narrow(node)))
    ((relay, port),) = await relays(nodes, 1)
    kent = await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export()])
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=[entry()])
    await until(lambda: is_live(met))
    for running in (relay, kent, met):
        running.node.tick()
    records = [to_handover(running.node) for running in (relay, kent, met)]
    assert [len(record.relay_paths) for record in records] == [1, 0, 0]
    assert [len(record.sessions) for record in records] == [0, 1, 1]
    met.node.drain_begin(0)
    assert not met.core.listeners
    await met.node.drain_undo()
    assert met.core.listeners
    await until(lambda: is_live(met))


async def test_a_node_hears_of_a_lane_before_its_role(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    met = await nodes.start(MET, "met-1", links=[dial(1, free_port())], imports=[entry()])
    heard: list[str] = []
    monkeypatch.setattr(met.node, "lane_down", lambda event: heard.append("node"))
    monkeypatch.setattr(met.edge, "lane_down", lambda event: heard.append("role"))
    met.node.handlers()[LaneDown](LaneDown(1, 0, 1, 0, "cut"))
    assert heard == ["node", "role"]
