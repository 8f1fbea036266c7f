"""What other members do, and what nobody expects, ends an attempt and harms nobody else."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pcgrelay.messages import Code, PathClose, PathOpen
from pcgrelay.model import NodeId
from pcgrelay.services import imports as table
from pcgrelay.session.pending import CLAIMS_OF_A_LINK_MOST
from pcgrelay.views.explain import explain
from tests.support.nodes_in_process import HUB, KENT, MET, Nodes, Running, dial, entry, export, is_live, link_to, relays
from tests.support.ports import free_port
from tests.support.waiting import until_async as until


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


async def test_more_edges_than_an_import_can_have_harm_nobody(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "ROUTES_MOST", 1)
    ports = [free_port(), free_port()]
    links = [{"peer": f"kent-{number}.{KENT}", "address": f"127.0.0.1:{port}"} for number, port in enumerate(ports, 1)]
    met = await nodes.start(MET, "met-1", links=links, imports=[entry()])
    met.core.routes_most = 1
    for number, port in enumerate(ports, 1):
        await nodes.start(KENT, f"kent-{number}", listens=[f"127.0.0.1:{port}"], exports=[export()])
    await until(lambda: len(met.sessions_up()) == 2 and is_live(met))
    await until(lambda: met.node.refused.total().get("too_many_routes") == 1)
    assert len(met.routes()[0]) == 1
    assert not met.lines("node.failure")
    assert not met.lines("session.failed")
    (left_out,) = [edge for edge in explain(met.node, f"custody@{KENT}").edges if edge.why_not]
    assert "other edges come before it" in left_out.why_not


@pytest.mark.parametrize("where", ["link.dialler.handshake_over", "session.table.SessionHandshake"])
async def test_what_nobody_expects_ends_an_attempt_and_nothing_else(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    module, _, name = where.rpartition(".")
    true = getattr(sys.modules[f"pcgrelay.{module}"], name)
    failures = iter([ValueError, KeyError])

    def broken(*arguments: Any, **named: Any) -> Any:
        for failure in failures:
            raise failure
        return true(*arguments, **named)

    monkeypatch.setattr(f"pcgrelay.{where}", broken)
    ((relay, port),) = await relays(nodes, 1)
    kent = await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export()])
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=[entry()])
    await until(lambda: is_live(met))
    lines = [line for each in (kent, met) for line in each.lines() if line.get("reason") == "failure"]
    assert lines
    assert "(ValueError)" in "".join(line["cause"] for line in lines)
    assert sum(each.node.refused.total().get("failure", 0) for each in (kent, met)) == 2
    assert not [line for each in (relay, kent, met) for line in each.lines("node.failure")]


class Impostor:
    """A relay that asks an edge for sessions in names of others, and proves none."""

    def __init__(self, relay: Running, victim: Running) -> None:
        self.link = link_to(relay, victim.node.config.node.id.dotted)
        self.relay, self.victim = relay.node.config.node.id, victim.node.config.node.id
        self.asked = 0

    def ask(self, source: NodeId, marking: int = 1) -> None:
        self.asked += 1
        self.link.send(
            PathOpen(
                session=self.asked.to_bytes(16, "big"),
                source=source.uri,
                destination=self.victim.uri,
                marking=marking,
                priority=0,
                flows=1,
                cap=1 << 20,
                label=self.asked,
                resume=False,
                via=(self.relay.uri,),
            )
        )


async def linked_impostor(nodes: Nodes, victim: Running, port: int) -> Impostor:
    links = [{"peer": victim.node.config.node.id.dotted, "address": f"127.0.0.1:{port}"}]
    evil = await nodes.start("evil.example", "relay-9", role="relay", links=links)
    await until(lambda: list(evil.node.link_table.usable()))
    return Impostor(evil, victim)


async def test_names_made_up_take_no_place_of_those_who_come_another_way(nodes: Nodes) -> None:
    ((_, hub),), port = await relays(nodes, 1), free_port()
    kent = await nodes.start(KENT, "kent-1", links=[dial(1, hub)], listens=[f"127.0.0.1:{port}"], exports=[export()])
    impostor = await linked_impostor(nodes, kent, port)
    met_id = NodeId("police.example", MET, "met-1")
    for number in range(200):
        impostor.ask(NodeId("police.example", "evil.example", f"evil-{number}"))
        impostor.ask(met_id)

    def refused() -> int:
        return sum(kent.node.refused.total().get(word, 0) for word in ("too_many_handshakes", "handshake_early_drop"))

    # Those that were let in have ten seconds. The word is a matter of chance from half of the places on.
    await until(lambda: refused() >= 400 - CLAIMS_OF_A_LINK_MOST)
    assert len(list(kent.edge.sessions)) <= CLAIMS_OF_A_LINK_MOST
    met = await nodes.start(MET, "met-1", links=[dial(1, hub)], imports=[entry()])
    await until(lambda: is_live(met))
    assert not met.lines("session.failed")


async def test_a_session_that_was_only_claimed_is_no_news_of_that_edge(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    met = await nodes.start(MET, "met-1", listens=[f"127.0.0.1:{port}"], imports=[entry()])
    impostor = await linked_impostor(nodes, met, port)
    changes: list[object] = []
    monkeypatch.setattr(met.edge, "sessions_changed", changes.append)
    impostor.ask(NodeId("police.example", KENT, "kent-1"))
    await until(lambda: [session.state.name for session in met.edge.sessions] == ["HANDSHAKE"])
    impostor.link.send(PathClose(impostor.asked.to_bytes(16, "big"), Code.DONE))
    await until(lambda: not list(met.edge.sessions))
    assert met.node.refused.total()["path_lost"] == 1
    assert changes == []


async def test_a_session_that_somebody_claims_to_begin_keeps_no_edge_from_its_own(nodes: Nodes) -> None:
    ((_, hub),), port = await relays(nodes, 1), free_port()
    met = await nodes.start(MET, "met-1", links=[dial(1, hub)], listens=[f"127.0.0.1:{port}"], imports=[entry()])
    impostor = await linked_impostor(nodes, met, port)
    kent_id = NodeId("police.example", KENT, "kent-1")
    impostor.ask(kent_id)
    await until(lambda: list(met.edge.sessions))
    await nodes.start(KENT, "kent-1", links=[dial(1, hub)], exports=[export()])
    # It lets the other one come first for two seconds; the impostor's own attempt lasts for ten.
    await until(lambda: is_live(met))
    assert [session.via for session in met.edge.sessions if session.initiator] == [f"relay-1.{HUB}"]
