"""Nodes that keep audit logs and witness each other's, over loopback, and how far that is."""

from __future__ import annotations

import io
from typing import Any

from pcgrelay import config
from pcgrelay.daemon.run import make_node
from pcgrelay.log.writer import Log
from pcgrelay.state.folder import StateFolder
from tests.support import fake_core
from tests.support.nodes_in_process import Nodes, Running


async def start(nodes: Nodes, organisation: str, name: str, *, audited: bool = True, **tables: Any) -> Running:
    """Start a node with a folder of state, and an audit log in it."""
    state = nodes.folder / f"state-{name}"
    state.mkdir(mode=0o700, exist_ok=True)
    more: dict[str, Any] = {"audit": {"keep_days": 400}} if audited else {}
    path = nodes.write(organisation, name, node_table={"state": str(state)}, **more, **tables)
    node = make_node(config.load(path), fake_core, Log("debug", sink := io.StringIO()))
    node.state = StateFolder.take(state)
    running = Running(node, sink)
    nodes.running.append(running)
    await node.start()
    return running


async def stop(running: Running) -> None:
    """Stop it, and let another one have its state."""
    await running.node.stop()
    assert running.node.state is not None
    running.node.state.close()


async def flush(running: Running) -> int:
    """Sign what is there; return how many records that are."""
    await running.node.audit.flush()
    figures = running.node.audit.figures
    assert figures is not None
    return figures.signed


def witnessed(running: Running) -> int:
    """Return how many records a witness last signed."""
    return max((each.cosigned_size for each in running.node.witnesses.asked.values()), default=0)
