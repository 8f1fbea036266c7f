"""Who is missed, and what an import runs on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.admin.condition import troubles
from pcgrelay.admin.metrics import metrics_text
from pcgrelay.daemon.reload import Reloader
from pcgrelay.gateway.watching import LinkWatch
from pcgrelay.handover.node import NodeHandover, decode_handover, encode_handover
from pcgrelay.health.absences import MISSED_MOST, MISSED_MS, Absences
from pcgrelay.log.writer import Log
from pcgrelay.views.status import node_status
from tests.support.metric_samples import samples
from tests.support.nodes_in_process import HUB, KENT, MET, Nodes, Running, dial, entry, export, is_live, relays
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

KENT_1, KENT_2 = f"kent-1.{KENT}", f"kent-2.{KENT}"
STEPS = st.lists(st.tuples(st.sets(st.integers(0, 5)), st.integers(0, MISSED_MS)), max_size=12)


@given(STEPS)
def test_whoever_was_there_within_a_day_is_there_or_missed(steps: list[tuple[set[int], int]]) -> None:
    absences: Absences[int] = Absences()
    seen: dict[int, int] = {}  # when each was there last, as the looks show it
    now, before = 1, set[int]()
    for present, pause in steps:
        now += pause
        gone, back = absences.look(present, now)
        assert set(gone) <= before - present
        assert set(back) <= present - before
        for each in before - present:
            seen[each] = now
        expected = {each: since for each, since in seen.items() if each not in present and now - since <= MISSED_MS}
        assert absences.away == expected
        for each in present:
            seen.pop(each, None)
        heir: Absences[int] = Absences()
        heir.restore(absences.everybody())
        assert heir.away == absences.away
        assert {key for key, since in heir.everybody() if not since} == present
        absences, before = heir, present


def test_not_more_are_missed_than_there_is_room_for() -> None:
    absences: Absences[int] = Absences()
    absences.look(range(MISSED_MOST + 3), 1)
    absences.look([], 2)
    assert len(absences.away) == MISSED_MOST


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


def up_series(running: Running, family: str, **labels: str) -> list[float]:
    found = samples(metrics_text(node_status(running.node), {}))
    wanted = set(labels.items())
    return [value for (name, pairs), value in found.items() if name == f"pcgrelay_{family}" and wanted <= pairs]


def links_of(running: Running, peer: str) -> list[Any]:
    return [link for link in node_status(running.node).links if link.peer == peer]


async def test_a_relay_misses_a_member_that_was_there(nodes: Nodes) -> None:
    ((relay, port),) = await relays(nodes, 1)
    kent = await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export()])
    await nodes.start(MET, "met-1", links=[dial(1, port)], imports=[entry()])
    await until(lambda: len(list(relay.node.link_table.usable())) == 2)
    relay.node.tick()
    assert up_series(relay, "link_up", link=KENT_1) == [1]
    await kent.kill()
    await until(lambda: relay.lines("member.away"))
    (row,) = links_of(relay, KENT_1)
    assert (row.state, row.direction, row.address) == ("away", "in", f"127.0.0.1:{port}")
    assert row.away_since.endswith("Z")
    assert up_series(relay, "link_up", link=KENT_1) == [0]
    assert up_series(relay, "neighbour_expected", node=KENT_1) == [1]
    assert up_series(relay, "neighbour_up", node=KENT_1) == [0]
    assert up_series(relay, "neighbour_up", node=f"met-1.{MET}") == [1]
    status = node_status(relay.node)
    assert status.condition == "degraded"
    assert any(KENT_1 in trouble.sentence and "away since" in trouble.sentence for trouble in troubles(status))
    # Neither a reload nor another process forgets it.
    nodes.write(HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{port}"], policy={"probe_interval_ms": 300})
    assert (await Reloader(relay.node, Log("debug", relay.sink), lambda state: None).reload()).ok
    heir = LinkWatch(lambda record: None, relay.node.clock)
    heir.restore(
        decode_handover(encode_handover(NodeHandover(started_ms=1, members=relay.node.watch.to_handover()))).members
    )
    assert heir.away == relay.node.watch.away != {}
    # One that may not link any more is not missed.
    policy = {"members": [MET]}
    nodes.write(HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{port}"], policy=policy)
    assert (await Reloader(relay.node, Log("debug", relay.sink), lambda state: None).reload()).ok
    relay.node.tick()
    assert links_of(relay, KENT_1) == []
    assert up_series(relay, "neighbour_up", node=KENT_1) == up_series(relay, "neighbour_expected", node=KENT_1) == []
    assert node_status(relay.node).condition == "ready"


async def test_a_member_that_is_back_is_not_missed_any_more(nodes: Nodes) -> None:
    ((relay, port),) = await relays(nodes, 1)
    for _ in range(2):
        kent = await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[export()])
        await until(lambda: list(relay.node.link_table.usable()))
        relay.node.tick()
        assert [row.state for row in links_of(relay, KENT_1)] == ["up"]
        await kent.kill()
        await until(lambda: [row.state for row in links_of(relay, KENT_1)] == ["away"])
    assert len(relay.lines("member.away")) == 2
    (back,) = relay.lines("member.back")
    assert back["away_ms"] >= 0


async def test_an_import_says_that_it_moves_and_who_is_missed(nodes: Nodes) -> None:
    ports = {KENT_1: free_port(), KENT_2: free_port()}
    made = {}
    for name, precedence in (("kent-1", "preferred"), ("kent-2", "back-up")):
        listens = [f"127.0.0.1:{ports[f'{name}.{KENT}']}"]
        made[name] = await nodes.start(KENT, name, listens=listens, exports=[{**export(), "precedence": precedence}])
    links = [{"peer": peer, "address": f"127.0.0.1:{port}"} for peer, port in ports.items()]
    met = await nodes.start(MET, "met-1", links=links, imports=[entry()])
    await until(lambda: is_live(met) and len(met.routes()[0]) == 2)
    met.node.tick()
    await until(lambda: met.edge.import_watch._serving and met.lines("import.up"))
    await made["kent-1"].kill()
    await until(lambda: met.lines("import.moved"))
    moved = met.lines("import.moved")[-1]
    assert (moved["before"], moved["after"]) == ([KENT_1], [KENT_2])
    await until(lambda: met.lines("member.away"))
    status = node_status(met.node)
    (service,) = status.services
    assert [(route.exporter, route.state) for route in service.routes] == [(KENT_2, "ready"), (KENT_1, "away")]
    assert service.routes[1].away_since
    assert status.condition == "degraded"
    assert up_series(met, "route_up", exporter=KENT_1) == [0]
    assert up_series(met, "route_up", exporter=KENT_2) == [1]
    await made["kent-2"].kill()
    await until(lambda: met.lines("import.down"))


async def test_a_service_that_is_given_up_is_not_missed(nodes: Nodes) -> None:
    port = free_port()
    kent = await nodes.start(KENT, "kent-1", listens=[f"127.0.0.1:{port}"], exports=[export()])
    links = [{"peer": KENT_1, "address": f"127.0.0.1:{port}"}]
    met = await nodes.start(MET, "met-1", links=links, imports=[entry()])
    await until(lambda: is_live(met))
    met.node.tick()
    nodes.write(KENT, "kent-1", listens=[f"127.0.0.1:{port}"], exports=[])
    assert (await Reloader(kent.node, Log("debug", kent.sink), lambda state: None).reload()).ok
    await until(lambda: met.lines("import.down"))
    assert met.lines("member.away") == []
    assert [each.routes for each in node_status(met.node).services] == [()]


async def test_a_link_says_until_when_its_peer_is_certified(nodes: Nodes) -> None:
    ((relay, port),) = await relays(nodes, 1)
    await nodes.start(KENT, "kent-1", links=[dial(1, port)])
    await until(lambda: links_of(relay, KENT_1))
    (link,) = links_of(relay, KENT_1)
    leaf = nodes.pki.authority.issued()[-1]
    assert link.until == f"{leaf.not_after:%Y-%m-%dT%H:%M:%SZ}"
