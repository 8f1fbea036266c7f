"""What is not cleared for the marking of a service carries none of it: nodes of one realm, in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pcgrelay.health import damping
from pcgrelay.views.explain import explain
from pcgrelay.views.status import node_status
from tests.support import fake_core
from tests.support.marked_nodes import PSN, SENSITIVE, Realm, export
from tests.support.nodes_in_process import HUB, KENT, MET, Nodes, Running
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

STRANGER = "stranger.example"


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


@pytest.fixture(autouse=True)
def hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damping, "HOLD_MS", 400)


def is_live(running: Running) -> bool:
    return running.imports() == [fake_core.IMPORT_LIVE]


def granted(running: Running) -> list[tuple[int, ...]]:
    return [tuple(numbers) for numbers in running.core.published["grants"].values()]


async def test_an_edge_takes_the_bearer_that_is_cleared_and_says_why(nodes: Nodes) -> None:
    realm = Realm(nodes)
    await realm.start(met={"bearers": PSN})
    await until(lambda: realm.met.sessions_up() == [f"relay-2.{HUB}"])
    other = next(way for way in realm.explained().ways if not way.chosen)
    assert other.why_not == f"relay-1.{HUB} over internet: cleared for OFFICIAL, this service is {SENSITIVE}"
    # It is not taken even if the other one is lost.
    await realm.relays[1].kill()
    await until(lambda: realm.met.lines("session.stalled"))
    await asyncio.sleep(1.0)
    assert realm.met.sessions_up() == []
    assert not realm.relays[0].core.path_sides


async def test_an_organisation_that_is_not_cleared_is_passed_over(nodes: Nodes) -> None:
    realm = Realm(nodes, STRANGER)
    await realm.start(met={"policy": {"clearances": {HUB: SENSITIVE}}})
    await until(lambda: realm.met.sessions_up() == [f"relay-1.{HUB}"])
    other = next(way for way in realm.explained().ways if not way.chosen)
    said = f"{STRANGER} is cleared for OFFICIAL, this service is {SENSITIVE}"
    assert other.why_not == f"relay-2.{STRANGER} over psn: {said}"


async def test_without_a_cleared_way_the_import_is_down_and_explained(nodes: Nodes) -> None:
    realm = Realm(nodes)
    await realm.start(met={"bearers": [{"name": "psn"}]})
    await until(lambda: realm.met.lines("session.failed"))
    (failed, *_) = realm.met.lines("session.failed")
    assert failed["reason"] == "marking"
    await until(lambda: realm.met.imports() == [fake_core.IMPORT_UNCLEARED], 15)
    answer = realm.explained()
    assert answer.marking == SENSITIVE
    assert not answer.open
    assert f"relay-1.{HUB} over internet: cleared for OFFICIAL, this service is {SENSITIVE}" in answer.verdict
    # What is for everybody goes.
    await realm.reload(realm.kent, KENT, **realm.of_kent(exports=[export(marking="OFFICIAL")]))
    await until(lambda: is_live(realm.met), 15)


async def test_where_others_have_cleared_no_way_the_import_is_down_for_its_marking(nodes: Nodes) -> None:
    realm = Realm(nodes)
    await realm.start(kent={"bearers": [{"name": "psn"}]})
    await until(lambda: realm.met.imports() == [fake_core.IMPORT_UNCLEARED], 15)
    failure = realm.met.edge.import_failure(realm.met.edge.services.imports[0])
    assert failure is not None
    assert failure.cause == "marking"
    refused = f"over psn: refused there, what is behind it is not cleared for {SENSITIVE}"
    assert f"relay-2.{HUB} {refused}" in realm.explained().verdict
    # Without any way it is another cause.
    for relay in realm.relays:
        await relay.kill()
    await until(lambda: realm.met.imports() == [fake_core.IMPORT_DOWN], 15)


async def test_a_session_that_finds_no_cleared_way_ends_for_its_marking(nodes: Nodes) -> None:
    realm = Realm(nodes)
    await realm.start(met={"bearers": PSN, "policy": {"path_wait_ms": 1_000}})
    await until(lambda: realm.met.sessions_up() == [f"relay-2.{HUB}"])
    await realm.relays[1].kill()
    await until(lambda: realm.met.lines("session.down"), 10)
    (down,) = realm.met.lines("session.down")
    assert (down["code"], down["reason"]) == ("timeout", "marking")
    assert realm.met.node.refused.total()["marking"] >= 1


async def test_a_link_that_goes_over_another_network_from_a_reload_on_is_another_link(nodes: Nodes) -> None:
    realm = Realm(nodes)
    await realm.start(met={"bearers": PSN})
    await until(lambda: realm.met.sessions_up() == [f"relay-2.{HUB}"])
    links = realm.met.node.link_table.links
    (old,) = [link for link in links.values() if link.bearer == "psn"]
    # The file says now that what is on the internet is on the PSN, and the other way round.
    swapped = [{**realm.links[0], "bearer": "psn"}, {**realm.links[1], "bearer": "internet"}]
    await realm.reload(realm.met, MET, **realm.of_met(bearers=PSN, links=swapped))
    # What is up went over the network that it went over.
    assert (old.bearer, old.draining) == ("psn", True)
    await until(lambda: realm.met.sessions_up() == [f"relay-1.{HUB}"], 15)
    await until(lambda: old.number not in links, 15)
    assert {link.peer.name: link.bearer for link in links.values()} == {"relay-1": "psn", "relay-2": "internet"}


async def test_the_highest_marking_that_anybody_announces_is_that_of_a_direct_outlet(nodes: Nodes) -> None:
    realm = Realm(nodes)
    direct = {
        "service": f"custody@{KENT}",
        "name": "cjx",
        "address": "127.0.0.9:5432",
        "bearer": "cjx",
        "probe": "none",
    }
    await realm.start(met={"directs": [direct]})
    await nodes.start(KENT, "kent-2", links=realm.links, exports=[export(marking="OFFICIAL")])
    (imported,) = realm.met.edge.services.imports
    await until(lambda: len(imported.exporters) == 2)
    # The edge that says more takes no streams now: what is direct is still for as much.
    realm.kent.node.drain_begin(0)
    await until(lambda: [each.edge.name for each in imported.exporters] == ["kent-2"])
    assert imported.marking == 2
    realm.met.edge.tables.publisher.now()
    (row,) = [row[6] for row in realm.met.core.published["imports"]]
    assert row[7][1][0] == fake_core.OUTLET_FORBIDDEN


async def test_a_relay_and_its_neighbours_say_what_is_cleared(nodes: Nodes) -> None:
    realm = Realm(nodes)
    await realm.start(met={"bearers": PSN, "policy": {"clearances": {HUB: SENSITIVE}}})
    await until(lambda: realm.met.sessions_up() == [f"relay-2.{HUB}"])
    second, listens = realm.relays[1], [{"address": f"127.0.0.1:{realm.ports[1]}", "bearer": "psn"}]
    assert node_status(second.node).marking == SENSITIVE
    assert node_status(realm.relays[0].node).marking == ""
    await realm.reload(second, HUB, role="relay", listens=listens, bearers=PSN)
    status = node_status(second.node)
    assert (status.marking, status.clearances.bearers) == (SENSITIVE, {"psn": SENSITIVE})
    assert {link.cleared for link in status.links} == {SENSITIVE}
    at_edge = node_status(realm.met.node).clearances
    assert at_edge.bearers == {"internet": "OFFICIAL", "psn": SENSITIVE}
    assert at_edge.organisations == {HUB: SENSITIVE}
    for subject in (f"custody@{KENT}", f"kent-1.{KENT}"):
        assert explain(second.node, subject).marking == SENSITIVE
    assert explain(realm.kent.node, "custody").marking == SENSITIVE
    assert realm.explained().marking == SENSITIVE
    # A lower one takes the path, and is told.
    await realm.reload(second, HUB, role="relay", listens=listens, bearers=[{"name": "psn"}])
    status = node_status(second.node)
    assert (status.marking, status.clearances.bearers) == ("OFFICIAL", {"psn": "OFFICIAL"})
    assert status.clearances.refused_total >= 1
    answer = explain(second.node, f"custody@{KENT}")
    assert (answer.open, answer.verdict) == (False, f"New paths are refused: no route is cleared for {SENSITIVE}.")


async def test_the_far_edge_refuses_what_came_over_what_it_has_not_cleared(nodes: Nodes) -> None:
    realm = Realm(nodes)
    links = [{**realm.links[0], "precedence": "preferred"}, realm.links[1]]
    await realm.start(kent={"bearers": PSN}, met={"links": links})
    # Kent alone knows that the internet is not cleared there: the Met tries it first, and then the other.
    await until(lambda: realm.met.sessions_up() == [f"relay-2.{HUB}"], 15)
    await until(lambda: realm.kent.edge.paths.refused["marking"] >= 1)
    assert is_live(realm.met)
    # It is not tried over and over, though it is preferred.
    before = realm.kent.edge.paths.refused["marking"]
    await asyncio.sleep(2.5)
    assert realm.kent.edge.paths.refused["marking"] == before


async def test_a_bearer_that_is_marked_lower_loses_its_paths_and_sessions_go_on(nodes: Nodes) -> None:
    realm = Realm(nodes)
    links = [realm.links[0], {**realm.links[1], "precedence": "preferred"}]
    both = [{"name": name, "marking": SENSITIVE} for name in ("internet", "psn")]
    await realm.start(met={"bearers": both, "links": links})
    await until(lambda: realm.met.sessions_up() == [f"relay-2.{HUB}"])
    await realm.reload(realm.met, MET, **realm.of_met(bearers=both[:1], links=links))
    await until(lambda: realm.met.sessions_up() == [f"relay-1.{HUB}"])
    assert len(realm.met.lines("session.up")) == len(realm.kent.lines("session.up")) == 1
    (resumed,) = realm.met.lines("session.resumed")
    assert resumed["pause_ms"] < 1_000
    await until(lambda: not realm.relays[1].core.path_sides)
    # Back again: it is preferred, and cleared.
    await realm.reload(realm.met, MET, **realm.of_met(bearers=both, links=links))
    await until(lambda: realm.met.sessions_up() == [f"relay-2.{HUB}"], 15)


async def test_the_far_edge_leaves_a_path_that_it_clears_no_longer(nodes: Nodes) -> None:
    realm = Realm(nodes)
    links = [realm.links[0], {**realm.links[1], "precedence": "preferred"}]
    both = [{"name": name, "marking": SENSITIVE} for name in ("internet", "psn")]
    await realm.start(kent={"bearers": both}, met={"links": links})
    await until(lambda: realm.met.sessions_up() == [f"relay-2.{HUB}"])
    (session,) = realm.kent.core.session_table.values()
    assert session.path is not None
    before = session.path
    await realm.reload(realm.kent, KENT, **realm.of_kent(bearers=both[:1]))
    await until(lambda: realm.met.sessions_up() == [f"relay-1.{HUB}"])
    await until(lambda: session.path is not None and session.path[0] not in (0, before[0]))
    assert len(realm.met.lines("session.up")) == 1


async def test_without_another_way_a_session_ends_at_once_on_both_sides(nodes: Nodes) -> None:
    realm = Realm(nodes)
    await realm.start(met={"bearers": PSN})
    await until(lambda: realm.met.sessions_up() == [f"relay-2.{HUB}"])
    await realm.reload(realm.met, MET, **realm.of_met(bearers=[{"name": "psn"}]))
    assert realm.met.sessions_up() == []
    (down,) = realm.met.lines("session.down")
    assert (down["code"], down["reason"]) == ("refused", "marking")
    await until(lambda: not realm.met.core.session_table)
    # The far edge is told by the core; here it is not, and lets go because no other path was opened.
    await until(lambda: not realm.kent.core.session_table)
    assert realm.met.node.refused.total()["marking"] >= 1


async def test_a_relay_ends_paths_that_it_clears_no_longer(nodes: Nodes) -> None:
    realm = Realm(nodes)
    links = [realm.links[0], {**realm.links[1], "precedence": "preferred"}]
    await realm.start(met={"links": links})
    await until(lambda: realm.met.sessions_up() == [f"relay-2.{HUB}"])
    second = realm.relays[1]
    listens = [{"address": f"127.0.0.1:{realm.ports[1]}", "bearer": "psn"}]
    await realm.reload(second, HUB, role="relay", listens=listens, bearers=[{"name": "psn"}])
    assert not second.core.path_sides
    assert second.relay.paths.refused["marking"] >= 1
    await until(lambda: realm.met.sessions_up() == [f"relay-1.{HUB}"])
    assert len(realm.met.lines("session.up")) == 1


async def test_where_a_relay_was_the_only_way_both_ends_let_go(nodes: Nodes) -> None:
    realm = Realm(nodes)
    await realm.start(met={"bearers": PSN})
    await until(lambda: realm.met.sessions_up() == [f"relay-2.{HUB}"])
    listens = [{"address": f"127.0.0.1:{realm.ports[1]}", "bearer": "psn"}]
    await realm.reload(realm.relays[1], HUB, role="relay", listens=listens, bearers=[{"name": "psn"}])
    await until(lambda: realm.met.lines("session.down"))
    (down,) = realm.met.lines("session.down")
    assert (down["code"], down["reason"]) == ("refused", "marking")
    await until(lambda: not realm.kent.core.session_table)


async def test_a_relay_forwards_between_bearers_that_are_named_together(nodes: Nodes) -> None:
    port, other = free_port(), free_port()
    listens = [{"address": f"127.0.0.1:{port}", "bearer": "psn"}, {"address": f"127.0.0.1:{other}"}]
    tables: dict[str, Any] = {"role": "relay", "listens": listens, "bearers": [{"name": "psn", "marking": SENSITIVE}]}
    hub = await nodes.start(HUB, "relay-1", **tables)
    peer = {"peer": f"relay-1.{HUB}"}
    exports = [export(marking="OFFICIAL")]
    kent = await nodes.start(KENT, "kent-1", links=[{**peer, "address": f"127.0.0.1:{port}"}], exports=exports)
    door = {"service": f"custody@{KENT}", "listen": f"127.0.0.1:{free_port()}"}
    met = await nodes.start(MET, "met-1", links=[{**peer, "address": f"127.0.0.1:{other}"}], imports=[door])
    edge = kent.node.config.node.id
    await until(lambda: hub.node.exchange.catalogue.ways(edge))
    await until(lambda: met.imports() == [fake_core.IMPORT_DOWN], 10)
    # What is not forwarded is not announced.
    assert not met.node.exchange.catalogue.ways(edge)
    assert not met.lines("session.up")
    realm = Realm(nodes)
    await realm.reload(hub, HUB, **tables, policy={"transit": [["internet", "psn"]]})
    await until(lambda: is_live(met), 15)
    await realm.reload(hub, HUB, **tables)
    assert not hub.core.path_sides
    assert hub.relay.paths.refused["no_transit"] == 1
    await until(lambda: not met.node.exchange.catalogue.ways(edge))


async def test_a_caller_needs_clearance_besides_the_allow_list(nodes: Nodes) -> None:
    realm = Realm(nodes)
    clearances = {HUB: SENSITIVE, MET: SENSITIVE}
    await realm.start(kent={"policy": {"clearances": clearances}})
    await until(lambda: is_live(realm.met))
    (number,) = (exported.number for exported in realm.kent.edge.services.exports)
    await until(lambda: granted(realm.kent) == [(number,)])
    answer = explain(realm.kent.node, "custody", MET)
    assert answer.open
    await realm.reload(realm.kent, KENT, **realm.of_kent(policy={"clearances": {HUB: SENSITIVE}}))
    await until(lambda: granted(realm.kent) == [()])
    answer = explain(realm.kent.node, "custody", MET)
    assert answer.verdict == (
        f"A new stream of {MET} would be refused now (not-allowed): it is cleared for OFFICIAL, "
        f"this service is {SENSITIVE}."
    )
    # What is for everybody is not in question.
    exports = [export(marking="OFFICIAL")]
    await realm.reload(realm.kent, KENT, **realm.of_kent(policy={"clearances": {HUB: SENSITIVE}}, exports=exports))
    await until(lambda: (number,) in granted(realm.kent))
