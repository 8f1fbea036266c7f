"""Control connections on which TCP stays silent: nobody waits for them longer than need be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pcgrelay.link import control
from pcgrelay.messages import PathOpen
from pcgrelay.session.recovery import RESUME_ANSWER_S
from tests.support.nodes_in_process import (
    HUB,
    KENT,
    MET,
    Nodes,
    dial,
    entry,
    export,
    is_live,
    link_to,
    relays,
    told_that_its_way_is_lost,
    two_ways,
)
from tests.support.waiting import until_async as until


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


async def test_another_way_is_tried_when_a_request_is_held_back(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    made, kent, met = await two_ways(nodes)
    (via,) = met.sessions_up()
    other = next(relay for relay, _ in made if relay.node.config.node.id.dotted != via)
    asked: list[PathOpen] = []
    monkeypatch.setattr(other.relay.paths, "_asked", lambda link, message: asked.append(message))
    # The way is left for the other, which does not answer; it is well enough to be taken again.
    told_that_its_way_is_lost(kent)
    await until(lambda: met.lines("session.resumed"), 0.5 * RESUME_ANSWER_S)
    assert asked
    assert met.lines("session.resumed")[0]["pause_ms"] < 1_000
    assert met.sessions_up() == [via]


async def test_a_request_ends_with_the_control_connection_that_it_waits_for(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((relay, port),) = await relays(nodes, 1)
    kent = await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export()])
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=[entry()])
    await until(lambda: is_live(met) and kent.sessions_up())
    asked: list[PathOpen] = []
    with monkeypatch.context() as patched:
        patched.setattr(relay.relay.paths, "_asked", lambda link, message: asked.append(message))
        told_that_its_way_is_lost(kent)
        await until(lambda: asked)
    (link,) = met.node.link_table.links.values()
    link._connection.end("cut")
    await until(lambda: met.lines("session.resumed"), 0.5 * RESUME_ANSWER_S)
    assert len(met.lines("session.up")) == 1


async def test_a_set_up_ends_with_the_control_connection_that_it_waits_for(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((relay, port),) = await relays(nodes, 1)
    asked: list[PathOpen] = []
    with monkeypatch.context() as patched:
        patched.setattr(relay.relay.paths, "_asked", lambda link, message: asked.append(message))
        await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export()])
        met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=[entry()])
        await until(lambda: asked)
    (link,) = met.node.link_table.links.values()
    link._connection.end("cut")
    await until(lambda: is_live(met), 0.5 * RESUME_ANSWER_S)
    assert "path_lost" in met.edge.sessions.refused


@pytest.mark.parametrize("at_the_relay", [False, True])
async def test_a_control_connection_that_tcp_holds_back_is_made_anew_when_a_lane_is_up(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, at_the_relay: bool
) -> None:
    ((relay, port),) = await relays(nodes, 1)
    kent = await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export()])
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=[entry()])
    await until(lambda: is_live(met) and kent.sessions_up())
    who, peer = (relay, f"met-1.{MET}") if at_the_relay else (met, f"relay-1.{HUB}")
    link = link_to(who, peer)
    held_back = link._connection._sock
    monkeypatch.setattr(control, "backs_off", lambda sock: sock is held_back)
    assert not link.usable
    await until(lambda: link.lanes_up and not link.usable)
    met.core.lane_cut(link_to(met, f"relay-1.{HUB}").number, 0)
    await until(lambda: who.lines("link.control_lost"))
    assert who.lines("link.control_lost")[0]["reason"] == "stuck"
    # The other end hears of it at once.
    await until(lambda: all(node.lines("link.control_lost") for node in (met, relay)))
    await until(lambda: link_to(who, peer) is not link and link_to(who, peer).usable)
    await until(lambda: is_live(met))
    assert not met.lines("session.down")


async def test_a_control_connection_that_is_lost_alone_is_made_anew(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((_, port),) = await relays(nodes, 1)
    met = await nodes.start(MET, "met-1", links=[dial(1, port)])
    await until(lambda: met.node.link_table.links and link_to(met, f"relay-1.{HUB}").usable)
    link = link_to(met, f"relay-1.{HUB}")
    held_back = link._connection._sock
    monkeypatch.setattr(control, "backs_off", lambda sock: sock is held_back)
    link.lanes_looked_at(heard=True)  # it may be the outage of all that has just begun
    link.lanes_looked_at(heard=False)
    assert not link._connection.has_ended()
    link.lanes_looked_at(heard=True)
    assert link._connection.has_ended()
    await until(lambda: met.lines("link.control_lost"))
