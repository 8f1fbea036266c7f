"""Edges and relays of one realm, in one process: what they say to each other, and how it mends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from pcgrelay.identity.handshake import INTEREST
from pcgrelay.session.recovery import RESUME_ANSWER_S
from tests.support import fake_core
from tests.support.nodes_in_process import (
    HUB,
    KENT,
    MET,
    Nodes,
    Running,
    dial,
    entry,
    export,
    is_live,
    link_to,
    relays,
    told_that_its_way_is_lost,
    two_ways,
    without_feature,
)
from tests.support.ports import free_port
from tests.support.waiting import until_async as until


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


async def test_two_edges_that_are_neighbours(nodes: Nodes) -> None:
    port = free_port()
    kent = await nodes.start(KENT, "kent-1", listens=[f"127.0.0.1:{port}"], exports=[export()])
    met = await nodes.start(
        MET, "met-1", links=[{"peer": f"kent-1.{KENT}", "address": f"127.0.0.1:{port}"}], imports=[entry()]
    )
    await until(lambda: is_live(met))
    await until(lambda: kent.sessions_up() and met.sessions_up())
    assert kent.core.published["grants"] == {1: (0,)}
    assert met.core.published["grants"] == {1: ()}
    up = met.lines("session.up")[0]
    assert (up["peer"], up["group"], up["suite"]) == (f"kent-1.{KENT}", "X25519MLKEM768", "AES-256-GCM")
    assert [link.binding for link in kent.core.link_table.values()] == [
        link.binding for link in met.core.link_table.values()
    ]
    assert [session.secret for session in kent.core.session_table.values()] == [
        session.secret for session in met.core.session_table.values()
    ]


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_edges_meet_through_relays_in_a_row(nodes: Nodes, count: int) -> None:
    made = await relays(nodes, count)
    kent = await nodes.start(KENT, "kent-1", links=[dial(1, made[0][1])], exports=[export()])
    met = await nodes.start(MET, "met-1", links=[dial(count, made[-1][1])], imports=[entry()])
    await until(lambda: is_live(met))
    assert met.sessions_up() == [f"relay-{count}.{HUB}"]
    assert kent.lines("session.up")[0]["peer"] == f"met-1.{MET}"
    for relay, _ in made:
        assert len(relay.core.path_sides) == 1
        assert not relay.lines("path.refused")


async def test_an_exporter_that_goes_leaves_nothing_behind(nodes: Nodes) -> None:
    ((relay, port),) = await relays(nodes, 1)
    kent = await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export()])
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=[entry()])
    await until(lambda: is_live(met))
    await kent.node.stop()
    await until(lambda: not relay.core.path_sides)
    await until(lambda: not list(met.node.exchange.catalogue.edges()))
    assert not is_live(met)


async def test_a_session_outlives_its_relay(nodes: Nodes) -> None:
    made, kent, met = await two_ways(nodes)
    (via,) = met.sessions_up()
    used = next(relay for relay, _ in made if relay.node.config.node.id.dotted == via)
    await used.kill()
    await until(lambda: met.lines("session.resumed") and kent.lines("session.resumed"))
    assert met.sessions_up() == kent.sessions_up() != [via]
    assert len(met.lines("session.up")) == 1
    assert met.lines("session.resumed")[0]["pause_ms"] < 2_000
    await until(lambda: is_live(met))


async def test_a_session_outlives_one_lane(nodes: Nodes) -> None:
    ((relay, port),) = await relays(nodes, 1)
    await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export()])
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=[entry()])
    await until(lambda: is_live(met))
    relay.core.lane_cut(1, 1)
    await until(lambda: met.lines("session.resumed"))
    await until(lambda: is_live(met))
    assert len(met.lines("session.up")) == 1


async def test_a_way_that_the_far_edge_found_lost_is_left_although_it_looks_well_here(nodes: Nodes) -> None:
    _, kent, met = await two_ways(nodes)
    (via,) = met.sessions_up()
    # The link is the best that there is, to all that the Met can see.
    for link in met.node.link_table.links.values():
        link.probing = replace(link.probing, round_trip_ms=1.0 if link.peer.dotted == via else 9.0)
    told_that_its_way_is_lost(kent)
    await until(lambda: met.lines("session.resumed") and kent.lines("session.resumed"))
    assert link_to(met, via).is_steady
    assert met.lines("session.resumed")[0]["via"] != via
    assert met.sessions_up() == kent.sessions_up() != [via]


async def test_a_link_that_loses_its_lane_makes_no_session_wait_for_an_answer(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, kent, met = await two_ways(nodes)
    (via,) = met.sessions_up()
    (session,) = met.edge.sessions
    with monkeypatch.context() as patched:
        # What the Met says on its lanes is lost.
        patched.setattr(met.core, "_say_flow", lambda *_: None)
        told_that_its_way_is_lost(kent)
        await until(lambda: session.path is not None and session.path.is_open and session.path.link.peer.dotted != via)
        assert session.path is not None
        other = session.path.link
        await until(lambda: met.core.session_table[session.number].path[0] == other.number)
    met.core.lane_cut(other.number, 0)
    await until(lambda: met.lines("session.resumed"), 0.5 * RESUME_ANSWER_S)
    assert met.lines("session.resumed")[0]["via"] == via
    assert met.lines("lane.down")
    # It is back at once, and is not preferred at once.
    await until(lambda: other.is_well)
    assert not other.is_steady


async def two_neighbours(nodes: Nodes) -> tuple[Running, Running]:
    port = free_port()
    kent = await nodes.start(KENT, "kent-1", listens=[f"127.0.0.1:{port}"], exports=[export()])
    links = [{"peer": f"kent-1.{KENT}", "address": f"127.0.0.1:{port}"}]
    met = await nodes.start(MET, "met-1", links=links, imports=[entry()])
    await until(lambda: is_live(met))
    return kent, met


async def test_a_lane_whose_end_was_not_heard_is_found_by_the_counts_of_the_core(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, met = await two_neighbours(nodes)
    (number,) = met.core.link_table
    with monkeypatch.context() as deaf:
        deaf.setattr(met.core, "emit", lambda *event: None)
        met.core.lane_cut(number, 0)
        await until(lambda: 0 not in met.core.link_table[number].lanes)
    # Ends of streams are for the log alone.
    met.core.emit(fake_core.EVENT_EVENTS_LOST, 40_000, 0)
    await until(lambda: met.lines("events.lost"))
    met.node.tick()
    assert not met.lines("link.down")
    met.core.emit(fake_core.EVENT_EVENTS_LOST, 3, 2)
    await until(lambda: met.lines("link.down"))
    assert met.lines("link.down")[0]["reason"] == "events_lost"
    await until(lambda: met.lines("session.resumed"))
    await until(lambda: is_live(met))


async def test_a_session_whose_stall_was_not_heard_is_mended(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    _, met = await two_neighbours(nodes)
    (number,) = met.core.session_table
    with monkeypatch.context() as halted:
        halted.setattr(met.core, "sessions", lambda: {number: {"flows_up": 0, "streams": 0}})
        met.core.emit(fake_core.EVENT_EVENTS_LOST, 1, 1)
        await until(lambda: met.lines("session.stalled"))
    await until(lambda: met.lines("session.resumed"))
    assert [line["reason"] for line in met.lines("session.stalled")] == ["busy"]
    assert is_live(met)


@pytest.mark.parametrize("silent", ["met", "kent"])
async def test_a_session_that_starts_outlives_its_relay(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    """Keys are there, and the first confirmation of one side is lost with the path."""
    made = await relays(nodes, 2)
    links = [dial(number, port) for number, (_, port) in enumerate(made, 1)]
    with monkeypatch.context() as patched:
        kent = await nodes.start(KENT, "kent-1", links=links, exports=[export()])
        met = await nodes.start(MET, "met-1", links=links, imports=[entry()])
        both = {"met": met, "kent": kent}
        patched.setattr(both[silent].core, "_say_flow", lambda *_: None)
        await until(lambda: any(session.state.name == "STARTING" for session in met.edge.sessions))
        await until(lambda: len(list(met.node.link_table.usable())) == len(list(kent.node.link_table.usable())) == 2)
        await until(lambda: len(met.node.exchange.catalogue.ways(kent.node.config.node.id)) == 2)
        (session,) = met.edge.sessions
        via, states = session.via, [met.imports()]
        used = next(relay for relay, _ in made if relay.node.config.node.id.dotted == via)
        # On a busy machine the first attempt may come before a relay knows the other edge.
        failed = met.lines("session.failed")
    publish = met.core.publish

    def noted(**tables: object) -> None:
        publish(**tables)
        states.append(met.imports())

    monkeypatch.setattr(met.core, "publish", noted)
    await used.kill()
    await until(lambda: is_live(met))
    # Applications waited all the time, and nothing was set up again.
    assert [fake_core.IMPORT_DOWN] not in states
    assert [each.id for each in met.edge.sessions] == [each.id for each in kent.edge.sessions] == [session.id]
    assert met.sessions_up() != [via]
    assert met.lines("session.failed") == failed
    assert not met.lines("session.down")


async def test_ways_that_are_lost_again_and_again_make_no_application_wait_less(nodes: Nodes) -> None:
    ((relay, port),) = await relays(nodes, 1)
    await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export()])
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=[entry()])
    await until(lambda: is_live(met))
    (session,) = met.edge.sessions
    for reason in ("path_lost", "no_answer", "path_lost"):
        met.edge.sessions._failed(session.key, reason, "", "", 0)
    assert session.key not in met.edge.sessions.failures
    met.edge.sessions._failed(session.key, "deadline", "", "", 0)
    assert met.edge.sessions.failures[session.key] == 1
    assert relay.core.path_sides


async def test_a_drained_relay_is_left_without_a_pause(nodes: Nodes) -> None:
    made, _, met = await two_ways(nodes)
    (via,) = met.sessions_up()
    used = next(relay for relay, _ in made if relay.node.config.node.id.dotted == via)
    await used.node.drain(5.0)
    assert not used.core.path_sides
    assert met.sessions_up() != [via]
    assert not met.lines("session.stalled")


async def test_a_restarted_relay_is_found_again(nodes: Nodes) -> None:
    ((relay, port),) = await relays(nodes, 1)
    await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export()])
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=[entry()])
    await until(lambda: is_live(met))
    await relay.kill()
    await until(lambda: met.lines("session.stalled"))
    await nodes.start(HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{port}"])
    await until(lambda: met.lines("session.resumed"), 15)
    await until(lambda: is_live(met))
    assert len(met.lines("session.up")) == 1


async def test_a_lost_control_connection_stops_nothing(nodes: Nodes) -> None:
    ((_, port),) = await relays(nodes, 1)
    await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export()])
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=[entry()])
    await until(lambda: is_live(met))
    (link,) = met.node.link_table.links.values()
    link._connection.end("cut")
    await until(lambda: met.lines("link.control_lost"))
    await until(lambda: len(met.lines("link.up")) == 2)
    await until(lambda: met.lines("link.down"))
    assert met.lines("link.up")[1]["replaces"] == 1
    # The session has moved before its lanes went.
    (fresh,) = met.node.link_table.links.values()
    (session,) = met.edge.sessions
    assert session.path is not None
    assert session.path.link is fresh
    assert is_live(met)
    assert not met.lines("session.down")


async def test_a_restarted_exporter_gets_a_new_session(nodes: Nodes) -> None:
    ((_, port),) = await relays(nodes, 1)
    kent = await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export()])
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=[entry()])
    await until(lambda: is_live(met))
    await kent.kill()
    await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export()])
    await until(lambda: len(met.lines("session.up")) == 2, 15)
    await until(lambda: is_live(met))


async def test_edges_that_call_each_other_share_a_session(nodes: Nodes) -> None:
    ((_, port),) = await relays(nodes, 1)
    cases = {"service": f"cases@{MET}", "listen": f"127.0.0.1:{free_port()}"}
    offer = {"service": "cases", "target": "127.0.0.1:5432", "allow": [KENT]}
    kent = await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export()], imports=[cases])
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], exports=[offer], imports=[entry()])
    await until(lambda: is_live(met) and is_live(kent))
    assert len(kent.core.session_table) == len(met.core.session_table) == 1


async def test_an_organisation_that_is_no_member_cannot_link(nodes: Nodes) -> None:
    port = free_port()
    relay = await nodes.start(
        HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{port}"], policy={"members": ["kent.police.example"]}
    )
    met = await nodes.start(MET, "met-1", links=[dial(1, port)])
    await until(lambda: relay.lines("handshake.refused"))
    assert relay.lines("handshake.refused")[0]["reason"] == "not_a_member"
    await until(lambda: met.lines("link.failed"))
    assert met.lines("link.failed")[0]["reason"] == "peer_refused"


async def test_a_dialled_neighbour_must_be_the_one_that_was_named(nodes: Nodes) -> None:
    ((_, port),) = await relays(nodes, 1)
    met = await nodes.start(MET, "met-1", links=[{"peer": f"relay-9.{HUB}", "address": f"127.0.0.1:{port}"}])
    await until(lambda: met.lines("link.failed"))
    assert met.lines("link.failed")[0]["reason"] == "unexpected_identity"


async def test_nobody_offers_what_belongs_to_another_organisation(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_feature(monkeypatch, INTEREST)
    ((_, port),) = await relays(nodes, 1)
    await nodes.start(MET, "met-2", links=[dial(1, port)], exports=[export()])
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=[entry()])
    await until(lambda: list(met.node.exchange.catalogue.edges()))
    assert [entry.exporters for entry in met.edge.services.imports] == [[]]


async def test_status_of_every_kind_of_node(nodes: Nodes) -> None:
    from pcgrelay.admin.server import AdminHandlers, answered
    from pcgrelay.views.status import node_status

    ((relay, port),) = await relays(nodes, 1)
    kent = await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export()])
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=[entry()])
    await until(lambda: is_live(met) and kent.sessions_up())
    for running in (relay, kent, met):
        status = node_status(running.node)
        assert {link.state for link in status.links} == {"up"}
        assert {service.state for service in status.services} <= {"ready"}
        facts = AdminHandlers(lambda status=status: status, running.core.counters)
        for path in ("/v1/status", "/healthz", "/readyz", "/metrics"):
            assert answered("GET", path, facts).code == 200, (path, status)
    (service,) = node_status(met.node).services
    assert [(route.via, route.exporter, route.state) for route in service.routes] == [
        (f"relay-1.{HUB}", f"kent-1.{KENT}", "ready")
    ]


async def test_a_node_that_loses_one_of_two_ways_is_degraded_and_fails_with_the_other(nodes: Nodes) -> None:
    from pcgrelay.views.status import node_status

    made, kent, met = await two_ways(nodes)
    await until(lambda: [node_status(each.node).condition for each in (kent, met)] == ["ready", "ready"])
    for (relay, _), condition in zip(made, ("degraded", "failing"), strict=True):
        await relay.kill()
        for edge in (kent, met):
            await until(
                lambda edge=edge, condition=condition: node_status(edge.node).condition == condition, what=condition
            )


async def test_a_draining_edge_keeps_its_sessions_through_relays_that_know_each_other(nodes: Nodes) -> None:
    made = await relays(nodes, 2)
    links = [dial(number, port) for number, (_, port) in enumerate(made, 1)]
    kent = await nodes.start(KENT, "kent-1", links=links, exports=[export()])
    met = await nodes.start(MET, "met-1", links=links, imports=[entry()])
    await until(lambda: is_live(met))
    kent.core.streams_open = met.core.streams_open = 1
    met.core.streams_of_sessions = kent.core.streams_of_sessions = 1
    kent.node.drain_begin(0)
    await until(lambda: met.imports() == [fake_core.IMPORT_DOWN] or met.imports() == [fake_core.IMPORT_PENDING])
    (via,) = met.sessions_up()
    # Longer than the relays wait before they lead paths away from a neighbour that leaves.
    await asyncio.sleep(1.5)
    assert met.sessions_up() == [via]
    # It loses its relay meanwhile, and finds the other, though its far edge is leaving.
    used = next(relay for relay, _ in made if relay.node.config.node.id.dotted == via)
    await used.kill()
    await until(lambda: met.lines("session.resumed"))
    assert met.sessions_up() != [via]


async def test_a_session_moves_as_soon_as_there_is_another_way(nodes: Nodes) -> None:
    ports = [free_port(), free_port()]
    first = await nodes.start(HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{ports[0]}"])
    links = [dial(number, port) for number, port in enumerate(ports, 1)]
    kent = await nodes.start(KENT, "kent-1", links=links, exports=[export()])
    met = await nodes.start(MET, "met-1", links=links, imports=[entry()])
    await until(lambda: is_live(met))
    met.core.streams_of_sessions = kent.core.streams_of_sessions = 1
    first.node.drain_begin(0)
    await asyncio.sleep(1.2)
    assert met.sessions_up() == [f"relay-1.{HUB}"]
    assert not is_live(met)
    await nodes.start(HUB, "relay-2", role="relay", listens=[f"127.0.0.1:{ports[1]}"])
    await until(lambda: met.sessions_up() == [f"relay-2.{HUB}"])
    await until(lambda: is_live(met))
    assert not met.lines("session.stalled")


async def test_a_session_without_a_stream_does_not_keep_a_drained_relay_busy(nodes: Nodes) -> None:
    ((relay, port),) = await relays(nodes, 1)
    await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export()])
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=[entry()])
    await until(lambda: is_live(met))
    relay.node.drain_begin(0)
    await until(lambda: not relay.node.role.is_busy(), 8)
    assert met.lines("session.down")[0]["reason"] == "drained"
    await relay.node.drain_undo()
    await until(lambda: is_live(met))
