"""Outlets of an import of datagrams in a whole node, with the fake core: what is published, refused and told."""

from __future__ import annotations

import pytest

from pcgrelay.errors import RunError, UsageProblem
from pcgrelay.gateway.cutover_rehearsal import rehearse
from pcgrelay.gateway.shadows import Talk
from pcgrelay.services.outlet_plan import Away
from pcgrelay.views.outlets import outlet_answer
from tests.support import fake_core
from tests.support.drilled_edges import met as drilled
from tests.support.nodes_in_process import Nodes
from tests.support.outlet_nodes import direct, met, stop
from tests.support.ports import free_port

UDP = {"protocol": "udp"}


async def test_both_are_published(nodes: Nodes) -> None:
    running, _ = await met(nodes, direct(), entry={**UDP, "outlet": "cjx"})
    (row,) = running.core.published["imports"]
    assert running.counts() == [0, 200]
    assert row[6][7][1] == (fake_core.OUTLET_DIRECT, 1_000, (("127.0.0.9", 5432),), ())
    assert row[7][:3] == (120_000, 300_000, 200)
    (imported,) = running.edge.services.imports
    assert outlet_answer(running.node, running.edge, imported).protocol == "udp"
    await running.move("gateway=25", "cjx=75")
    assert running.counts() == [50, 150]
    await stop(running)


async def test_a_listener_of_tcp_on_the_same_port_is_no_loop(nodes: Nodes) -> None:
    port = free_port()
    running, _ = await met(nodes, direct(port=port), entry=UDP, listens=[f"127.0.0.9:{port}"])
    (imported,) = running.edge.services.imports
    assert imported.outlets is not None
    assert imported.outlets.away(1) is Away.NOT
    await stop(running)


async def test_a_rehearsal_has_something_to_say(nodes: Nodes) -> None:
    running, _ = await met(nodes, direct(), entry=UDP)
    (imported,) = running.edge.services.imports
    assert imported.outlets is not None
    shadows = running.edge.cutovers.shadows
    for talk in (Talk(), Talk(b"who")):
        with pytest.raises(UsageProblem, match="and only an answer shows that one has arrived"):
            await rehearse(shadows, imported, imported.outlets, ("cjx", "gateway"), 1, talk)
    await stop(running)


async def test_a_drill_has_something_to_say(nodes: Nodes) -> None:
    running = await drilled(nodes, entry=UDP)
    with pytest.raises(RunError, match="and only an answer shows that one has arrived; give a"):
        await running.begin()
    assert running.counts() == [0, 200, 0]
    await stop(running)
