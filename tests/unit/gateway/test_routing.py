"""Edges and relays of one realm, in one process: which way is taken, what takes over, and what gives back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pcgrelay.catalogue.entries import RELAYS_MOST
from pcgrelay.health import damping
from pcgrelay.identity.handshake import INTEREST
from tests.support import fake_core
from tests.support.nodes_in_process import HUB, KENT, MET, Nodes, Running, without_feature
from tests.support.ports import free_port
from tests.support.waiting import until_async as until


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


@pytest.fixture(autouse=True)
def hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damping, "HOLD_MS", 400)


def export(**keys: object) -> dict[str, object]:
    return {"service": "custody", "target": "127.0.0.1:5432", "allow": [MET], **keys}


def entry(**keys: object) -> dict[str, object]:
    return {"service": f"custody@{KENT}", "listen": f"127.0.0.1:{free_port()}", **keys}


def dial(number: int, port: int, **keys: object) -> dict[str, object]:
    return {"peer": f"relay-{number}.{HUB}", "address": f"127.0.0.1:{port}", **keys}


async def relay(nodes: Nodes, number: int, port: int, **tables: Any) -> Running:
    return await nodes.start(HUB, f"relay-{number}", role="relay", listens=[f"127.0.0.1:{port}"], **tables)


def is_live(running: Running) -> bool:
    return running.imports() == [fake_core.IMPORT_LIVE]


def precedences(met: Running) -> list[int]:
    """Of the published routes of the one import."""
    return sorted(precedence for _, precedence, _ in met.routes()[0])


# -- links --------------------------------------------------------------------------------------------------------


async def test_two_bearers_to_one_neighbour_live_beside_each_other(nodes: Nodes) -> None:
    port = free_port()
    hub = await nodes.start(HUB, "relay-1", role="relay", listens=[f"0.0.0.0:{port}"])
    links = [dial(1, port, bearer="psn"), {**dial(1, port), "address": f"127.0.0.2:{port}", "precedence": "preferred"}]
    kent = await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export()])
    met = await nodes.start(MET, "met-1", links=links, imports=[entry()])
    await until(lambda: is_live(met))
    await until(lambda: len(list(met.node.link_table.usable())) == 2)
    # Longer than a link that is replaced takes to come back and replace the other.
    await asyncio.sleep(1.0)
    assert [(line["bearer"], line.get("replaces", 0)) for line in met.lines("link.up")] in (
        [("psn", 0), ("internet", 0)],
        [("internet", 0), ("psn", 0)],
    )
    assert not hub.lines("link.down")
    await until(lambda: bearers(met) == ["internet"])
    # One bearer is lost: the session goes on over the other, and back when the better one has been well for a while.
    better = next(link for link in met.node.link_table.links.values() if link.bearer == "internet")
    better.close("cut")
    await until(lambda: bearers(met) == ["psn"])
    await until(lambda: bearers(met) == ["internet"], 15)
    assert len(met.lines("session.up")) == 1
    assert len(kent.core.session_table) == 1


def bearers(met: Running) -> list[str]:
    return [session.path.link.bearer for session in met.edge.sessions if session.path is not None]


async def test_a_preferred_relay_is_taken_left_and_taken_again(nodes: Nodes) -> None:
    ports = [free_port(), free_port()]
    made = [await relay(nodes, number, port) for number, port in enumerate(ports, 1)]
    await nodes.start(KENT, "kent-1", links=[dial(1, ports[0]), dial(2, ports[1])], exports=[export()])
    links = [dial(1, ports[0], precedence="back-up"), dial(2, ports[1], precedence="preferred")]
    met = await nodes.start(MET, "met-1", links=links, imports=[entry()])
    await until(lambda: met.sessions_up() == [f"relay-2.{HUB}"])
    await made[1].kill()
    await until(lambda: met.sessions_up() == [f"relay-1.{HUB}"])
    await relay(nodes, 2, ports[1])
    await until(lambda: met.sessions_up() == [f"relay-2.{HUB}"], 15)
    # The session moved with all it carries, and without a pause.
    assert len(met.lines("session.up")) == 1
    assert len(met.lines("session.stalled")) == 1
    assert is_live(met)


async def test_a_change_of_precedence_moves_sessions_and_no_link(nodes: Nodes) -> None:
    from pcgrelay.daemon.reload import Reloader
    from pcgrelay.log.writer import Log

    ports = [free_port(), free_port()]
    for number, port in enumerate(ports, 1):
        await relay(nodes, number, port)
    both = [dial(1, ports[0]), dial(2, ports[1])]
    await nodes.start(KENT, "kent-1", links=both, exports=[export()])
    door = entry()
    tables = {"imports": [door]}
    met = await nodes.start(MET, "met-1", links=[{**both[0], "precedence": "preferred"}, both[1]], **tables)
    await until(lambda: met.sessions_up() == [f"relay-1.{HUB}"])
    await until(lambda: len(list(met.node.link_table.usable())) == 2)
    nodes.write(MET, "met-1", links=[both[0], {**both[1], "precedence": "preferred", "weight": 7}], imports=[door])
    answer = await Reloader(met.node, Log("debug", met.sink), lambda text: None).reload()
    assert answer.ok
    assert [change.rpartition(" (")[2] for change in answer.changes] == ["precedence)", "precedence, weight)"]
    await until(lambda: met.sessions_up() == [f"relay-2.{HUB}"])
    assert len(met.lines("link.up")) == 2
    assert not met.lines("link.down")


async def test_sessions_are_dealt_over_links_by_weight(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    without_feature(monkeypatch, INTEREST)
    ports = [free_port(), free_port()]
    for number, port in enumerate(ports, 1):
        await relay(nodes, number, port)
    both = [dial(1, ports[0], weight=75), dial(2, ports[1], weight=25)]
    await nodes.start(KENT, "kent-1", links=both, exports=[export()])
    met = await nodes.start(MET, "met-1", links=both)
    kent = next(running for running in nodes.running if running.node.config.node.id.organisation == KENT).node
    await until(lambda: len(met.node.exchange.catalogue.ways(kent.config.node.id)) == 2)
    await until(lambda: len(list(met.node.link_table.usable())) == 2)
    found = {}
    for turn in range(40):
        link = met.node.exchange.route(kent.config.node.id, lambda link: True)
        assert link is not None
        session, edge = turn.to_bytes(16, "big"), kent.config.node.id
        met.edge.paths.open(link, session, edge, marking=1, priority=0, flows=1, cap=1 << 20, resume=True)
        found[link.peer.name] = found.get(link.peer.name, 0) + 1
    assert found == {"relay-1": 30, "relay-2": 10}


async def test_a_ring_of_relays_leads_in_no_circle(nodes: Nodes) -> None:
    ports = [free_port() for _ in range(3)]
    # Each dials the next, and is told to prefer it whatever the length of the way.
    made = [
        await relay(nodes, n + 1, ports[n], links=[dial((n + 1) % 3 + 1, ports[(n + 1) % 3], precedence="preferred")])
        for n in range(3)
    ]
    kent = await nodes.start(KENT, "kent-1", links=[dial(3, ports[2])], exports=[export()])
    met = await nodes.start(MET, "met-1", links=[dial(1, ports[0])], imports=[entry()])
    await until(lambda: is_live(met))
    edge = kent.node.config.node.id
    await until(lambda: all(len(list(each.node.link_table.usable())) >= 2 for each in made))

    def is_settled() -> bool:
        # From the first relay to Kent's: straight, and around.
        return len(made[0].node.exchange.catalogue.ways(edge)) == 2

    await until(is_settled)

    async def is_quiet() -> bool:
        sequences = [len(each.lines()) for each in made]
        await asyncio.sleep(0.5)
        return [len(each.lines()) for each in made] == sequences

    # Nothing is told over and over: what was under way has come, and then the ring is quiet.
    assert await is_quiet() or await is_quiet()
    for each in made:
        for known in each.node.exchange.catalogue.ways(edge).values():
            assert each.node.config.node.id.uri not in known.path
            assert len(set(known.path)) == len(known.path) <= RELAYS_MOST
        assert len(each.core.path_sides) <= 1
    # The first relay was told to prefer the long way round, and its path goes there.
    assert [len(each.core.path_sides) for each in made] == [1, 1, 1]
    # The second one goes: the path is found the other way round the ring.
    await made[1].kill()
    await until(lambda: met.lines("session.resumed"))
    await until(lambda: is_live(met))
    assert [len(each.core.path_sides) for each in (made[0], made[2])] == [1, 1]
    assert len(met.lines("session.up")) == 1
    assert not any(each.relay.paths.refused.get("loop") for each in made)


# -- edges that export the same ----------------------------------------------------------------------------------------


async def two_exporters(nodes: Nodes, first: dict[str, Any], second: dict[str, Any]) -> tuple[int, Running, Running]:
    port = free_port()
    await relay(nodes, 1, port)
    one = await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export(**first)])
    await nodes.start(KENT, "kent-2", links=[dial(1, port)], exports=[export(**second)])
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=[entry()])
    await until(lambda: len(met.routes()[0]) == 2)
    return port, one, met


async def test_what_exports_say_of_themselves_is_what_streams_are_dealt_by(nodes: Nodes) -> None:
    _, _, met = await two_exporters(nodes, {"weight": 75}, {"weight": 0, "precedence": "back-up"})
    assert sorted((precedence, weight) for _, precedence, weight in met.routes()[0]) == [(2, 75), (3, 0)]


async def test_a_preferred_edge_goes_and_gives_no_reason_to_flap(nodes: Nodes) -> None:
    port, one, met = await two_exporters(nodes, {"precedence": "preferred"}, {"precedence": "back-up"})
    assert precedences(met) == [1, 3]
    await one.kill()
    await until(lambda: precedences(met) == [3])
    assert is_live(met)
    again = await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export(precedence="preferred")])
    # It is well, and comes after the other until it has been so for a while.
    await until(lambda: precedences(met) == [3, 4], 15)
    await until(lambda: precedences(met) == [1, 3])
    # The next time it takes twice as long.
    await again.kill()
    await until(lambda: precedences(met) == [3])
    (imported,) = met.edge.services.imports
    await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export(precedence="preferred")])
    await until(lambda: precedences(met) == [3, 4], 15)
    assert imported.damping[one.node.config.node.id].hold_ms == 800
    await until(lambda: precedences(met) == [1, 3])


async def test_a_lost_relay_makes_no_edge_fall(nodes: Nodes) -> None:
    ports = [free_port(), free_port()]
    made = [await relay(nodes, number, port) for number, port in enumerate(ports, 1)]
    both = [dial(number, port) for number, port in enumerate(ports, 1)]
    await nodes.start(KENT, "kent-1", links=both, exports=[export(precedence="preferred")])
    await nodes.start(KENT, "kent-2", links=both, exports=[export()])
    met = await nodes.start(MET, "met-1", links=both, imports=[entry()])
    await until(lambda: precedences(met) == [1, 2])
    await until(lambda: len(list(met.node.link_table.usable())) == 2)
    await made[0].kill()
    await until(lambda: met.lines("session.resumed"))
    await until(lambda: precedences(met) == [1, 2])


# -- classes -----------------------------------------------------------------------------------------------------------


async def test_each_class_has_its_own_session(nodes: Nodes) -> None:
    port = free_port()
    hub = await relay(nodes, 1, port)
    cases = {"service": "cases", "target": "127.0.0.1:5432", "allow": [MET]}
    mail = {**cases, "service": "mail", "priority": "critical"}
    kent = await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export(priority="critical"), cases, mail])
    imports = [
        entry(),
        {"service": f"cases@{KENT}", "listen": f"127.0.0.1:{free_port()}", "priority": "critical"},
        {"service": f"mail@{KENT}", "listen": f"127.0.0.1:{free_port()}", "priority": "interactive"},
    ]
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=imports)
    await until(lambda: met.imports() == 3 * [fake_core.IMPORT_LIVE])
    # As the owner says, never above it, and below it if the importer says so.
    by_class = {session.key.priority: session.number for session in met.edge.sessions}
    assert set(by_class) == {0, 1, 2}
    routes = [route[0][0] for route in met.routes()]
    assert routes == [by_class[2], by_class[0], by_class[1]]
    assert [row[3] for row in met.core.published["imports"]] == [2, 0, 1]
    assert len(hub.core.path_sides) == 3
    # What the exporter lets each session open: nothing above the class of the export.
    grants = {session.key.priority: kent.core.published["grants"][session.number] for session in kent.edge.sessions}
    assert grants == {0: (0, 1, 2), 1: (0, 2), 2: (0, 2)}
