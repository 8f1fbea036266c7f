"""UDP lanes as two nodes agree on them: offered, answered, renewed, refused, and given up."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pcgrelay.clock import SetClock
from pcgrelay.config import Address, ListenSettings
from pcgrelay.identity.handshake import UDP_LANES
from pcgrelay.link import udp_lane, udp_lanes
from pcgrelay.link.link import LinkState
from pcgrelay.messages import Code, DatagramLane, MessageReader, encode_message
from tests.support import fake_core
from tests.support.linked_udp_lanes import ON, LinkOfFakeCore, Pair, lanes_up, link_of, refused
from tests.support.nodes_in_process import HUB, KENT, Nodes, dial
from tests.support.ports import free_port
from tests.support.vectors import Json, load
from tests.support.waiting import until_async as until

NOW = datetime(2031, 1, 1, tzinfo=UTC)
VECTORS = load("datagram_lane")


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


@pytest.mark.parametrize("known", VECTORS["messages"], ids=lambda known: known["wire"])
def test_the_message_has_its_form(known: Json) -> None:
    wire = bytes.fromhex(known["wire"])
    message = DatagramLane(*(known[name] for name in ("index", "number", "token", "port", "code")))
    assert encode_message(message) == wire
    ((read, _),) = MessageReader().feed(wire)
    assert read == message


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["what"])
def test_the_acceptor_answers_as_the_vectors_say(case: Json) -> None:
    plane: Any = LinkOfFakeCore(dialler=False)
    answers: list[DatagramLane] = []
    link = SimpleNamespace(
        number=1,
        lanes=2,
        dialled=False,
        features={UDP_LANES},
        state=LinkState.UP,
        ends=("127.0.0.1", "127.0.0.2"),
        standing=SimpleNamespace(settings=ListenSettings(address=Address("127.0.0.1", free_port()), bearer="internet")),
        send=answers.append,
    )
    local = SimpleNamespace(config=SimpleNamespace(node=SimpleNamespace(udp_lanes=True)))
    keeper = udp_lanes.UdpLanes(local, {1: link}, Counter(), plane, lambda record: None, SetClock(NOW))
    for index, number, token, port in case["offers"]:
        keeper.receive(link, DatagramLane(index, number, token, port))
    plane.core.stop()
    assert [answer.code for answer in answers] == case["codes"]
    for answer, offer in zip(answers, case["offers"], strict=True):
        assert [answer.index, answer.number] == offer[:2]
        assert bool(answer.token) == bool(answer.port) == (answer.code == 0)


async def test_each_index_of_a_link_gets_its_udp_lane(nodes: Nodes) -> None:
    pair = await Pair(nodes).start()
    for each in (pair.edge, pair.relay):
        await until(lambda each=each: lanes_up(each) == [0, 1])
        lines = each.lines("link.udp_lane_up")
        assert sorted(line["index"] for line in lines) == [0, 1]
        assert refused(each) == {}
    # At the acceptor each worker has the port behind that of the worker before; each side knows the other's.
    asked = [socket.socket(fileno=fd) for _, fd in pair.relay.core.udp_sockets.values()]
    assert [sock.getsockname() for sock in asked] == [("127.0.0.1", pair.port), ("127.0.0.1", pair.port + 1)]
    own = [socket.socket(fileno=fd) for _, fd in pair.edge.core.udp_sockets.values()]
    at_relay = {lane.peer for lane in pair.relay.core.udp_lane_table.values()}
    assert at_relay == {sock.getsockname() for sock in own}
    at_edge = {lane.peer for lane in pair.edge.core.udp_lane_table.values()}
    assert at_edge == {("127.0.0.1", pair.port), ("127.0.0.1", pair.port + 1)}
    for sock in (*asked, *own):
        sock.detach()


async def test_the_first_port_is_another_if_the_file_says_so(nodes: Nodes) -> None:
    first = free_port()
    pair = await Pair(nodes).start(udp_port=first)
    await until(lambda: lanes_up(pair.edge) == [0, 1])
    assert {lane.peer[1] for lane in pair.edge.core.udp_lane_table.values()} == {first, first + 1}


@pytest.mark.parametrize(("relay", "edge"), [(ON, {}), ({}, ON), ({}, {})])
async def test_without_both_sides_there_is_none(nodes: Nodes, relay: dict[str, Any], edge: dict[str, Any]) -> None:
    pair = await Pair(nodes).start(relay, edge)
    for each in (pair.edge, pair.relay):
        each.node.tick()
        assert UDP_LANES not in link_of(each).features
        assert each.core.udp_sockets == {}
        assert refused(each) == {}


async def test_a_lane_is_renewed_in_time_and_the_log_says_nothing_of_it(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = await Pair(nodes).start()
    await until(lambda: lanes_up(pair.edge) == lanes_up(pair.relay) == [0, 1])
    before = set(pair.edge.core.udp_lane_table)
    monkeypatch.setattr(udp_lane, "RENEW_MS", 0)
    pair.edge.node.tick()
    monkeypatch.setattr(udp_lane, "RENEW_MS", 100_000)
    await until(lambda: lanes_up(pair.edge) == lanes_up(pair.relay) == [0, 1])
    await until(lambda: not before & set(pair.edge.core.udp_lane_table))
    for each in (pair.edge, pair.relay):
        assert len(each.lines("link.udp_lane_up")) == 2
        assert not each.lines("link.udp_lane_down")


async def test_a_lane_is_renewed_when_the_link_is_and_when_the_core_says_that_it_is_spent(nodes: Nodes) -> None:
    pair = await Pair(nodes).start()
    await until(lambda: lanes_up(pair.edge) == [0, 1])
    link = link_of(pair.edge)
    first = set(pair.edge.core.udp_lane_table)
    link.generation += 1
    pair.edge.node.tick()
    await until(lambda: len(set(pair.edge.core.udp_lane_table) - first) == 2)
    await until(lambda: lanes_up(pair.edge) == [0, 1])
    second = {row[0]: row[1] for row in pair.edge.core.udp_lanes(link.number)}
    pair.edge.core.emit(fake_core.EVENT_UDP_LANE_SPENT, link.number, 1, second[1])
    await until(lambda: lanes_up(pair.edge) == [0, 1] and pair.edge.core.udp_lanes(link.number)[1][1] != second[1])
    assert pair.edge.core.udp_lanes(link.number)[0][1] == second[0]
    # One that was spent and is replaced already asks for nothing.
    known = set(pair.edge.core.udp_lane_table)
    pair.edge.core.emit(fake_core.EVENT_UDP_LANE_SPENT, link.number, 1, second[1])
    await asyncio.sleep(0)
    assert set(pair.edge.core.udp_lane_table) == known


async def test_blocked_udp_is_told_once_and_the_next_lane_tries_again(nodes: Nodes) -> None:
    pair = Pair(nodes)
    listens = [f"127.0.0.1:{pair.port}"]
    pair.relay = await nodes.start(HUB, "relay-1", role="relay", listens=listens, node_table=ON)
    pair.relay.core.udp_blocked = True
    pair.edge = await nodes.start(KENT, "kent-1", links=[dial(1, pair.port)], node_table=ON)
    for each in (pair.edge, pair.relay):
        await until(lambda each=each: len(each.lines("link.udp_lane_down")) == 2)
        assert {line["reason"] for line in each.lines("link.udp_lane_down")} == {"silent"}
    assert lanes_up(pair.edge) == []
    pair.relay.core.udp_blocked = False
    link = link_of(pair.edge)
    link.generation += 1
    pair.edge.node.tick()
    for each in (pair.edge, pair.relay):
        await until(lambda each=each: len(each.lines("link.udp_lane_up")) == 2)
        assert len(each.lines("link.udp_lane_down")) == 2


async def test_a_lane_that_closes_is_offered_again_after_a_while(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = await Pair(nodes).start()
    await until(lambda: lanes_up(pair.edge) == lanes_up(pair.relay) == [0, 1])
    link = link_of(pair.edge)
    monkeypatch.setattr(udp_lane, "backoff_ms", lambda attempt, first, cap: 60_000)
    number = pair.edge.core.udp_lanes(link.number)[0][1]
    pair.edge.core.udp_lane_close(link.number, 0, number)
    pair.edge.core.emit(fake_core.EVENT_UDP_LANE_DOWN, link.number, 0, number, "spent", True)
    keeper = pair.edge.node.link_table.udp_lanes
    await until(lambda: keeper._lane(link, 0).begun is None)
    pair.edge.node.tick()
    assert keeper._lane(link, 0).offered is None
    keeper._lane(link, 0).due_ms = 0
    pair.edge.node.tick()
    await until(lambda: lanes_up(pair.edge) == [0, 1])


async def test_what_nobody_asked_for_changes_nothing(nodes: Nodes) -> None:
    pair = await Pair(nodes).start()
    await until(lambda: lanes_up(pair.edge) == lanes_up(pair.relay) == [0, 1])
    before = set(pair.edge.core.udp_lane_table)
    answers = [DatagramLane(0, 77, 5, 5), DatagramLane(9, 2, 5, 5), DatagramLane(0, 2, 0, 0, Code.BUSY)]
    for each in answers:
        link_of(pair.relay).send(each)
    await until(lambda: refused(pair.edge).get("udp_lane_unasked") == len(answers))
    assert set(pair.edge.core.udp_lane_table) == before
    assert link_of(pair.edge).usable


async def test_a_neighbour_without_the_feature_is_answered_nothing(nodes: Nodes) -> None:
    pair = await Pair(nodes).start(ON, {})
    link_of(pair.edge).send(DatagramLane(0, 2, 5, 5))
    await until(lambda: refused(pair.relay) == {"udp_lane_unasked": 1})
    assert pair.relay.core.udp_sockets == {}
    assert link_of(pair.relay).usable


@pytest.mark.parametrize(
    ("offer", "code", "reason"),
    [
        (DatagramLane(0, 50, 0, 5), Code.VIOLATION, "udp_lane_malformed"),
        (DatagramLane(0, 50, 5, 0), Code.VIOLATION, "udp_lane_malformed"),
        (DatagramLane(2, 50, 5, 5), Code.VIOLATION, "udp_lane_malformed"),
        (DatagramLane(0, 0, 5, 5), Code.BUSY, "udp_lane_refused"),  # the number of a TCP lane
    ],
)
async def test_an_offer_that_is_not_taken_is_answered_with_its_code(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, offer: DatagramLane, code: int, reason: str
) -> None:
    pair = await Pair(nodes).start()
    await until(lambda: lanes_up(pair.relay) == [0, 1])
    answers: list[DatagramLane] = []
    monkeypatch.setattr(pair.edge.node.link_table.udp_lanes, "receive", lambda link, message: answers.append(message))
    link_of(pair.edge).send(offer)
    await until(lambda: answers)
    assert answers == [DatagramLane(offer.index, offer.number, 0, 0, code)]
    assert refused(pair.relay) == {reason: 1}


async def test_too_many_offers_are_answered_with_a_limit(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_lanes, "OFFERS_AT_ONCE", 2)
    monkeypatch.setattr(udp_lanes, "OFFERS_EACH_SECOND", 0.0)
    pair = await Pair(nodes).start()
    await until(lambda: lanes_up(pair.relay) == [0, 1])
    answers: list[DatagramLane] = []
    monkeypatch.setattr(pair.edge.node.link_table.udp_lanes, "receive", lambda link, message: answers.append(message))
    for number in range(10, 15):
        link_of(pair.edge).send(DatagramLane(0, number, 5, 5))
    await until(lambda: len(answers) == 5)
    # Two of four went for the first lanes.
    assert [answer.code for answer in answers] == [0, 0, Code.LIMIT, Code.LIMIT, Code.LIMIT]
    assert refused(pair.relay) == {"udp_lane_too_many": 3}


async def test_a_port_that_is_taken_leaves_its_lanes_to_tcp(nodes: Nodes) -> None:
    pair = Pair(nodes)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", pair.port + 1))
        await pair.start()
        await until(lambda: lanes_up(pair.edge) == [0])
        await until(lambda: refused(pair.relay) == {"udp_lane_no_port": 1})
        await until(lambda: refused(pair.edge) == {"udp_lane_refused": 1})
    # The back-off is over at some time.
    pair.edge.node.link_table.udp_lanes._lane(link_of(pair.edge), 1).due_ms = 0
    pair.edge.node.tick()
    await until(lambda: lanes_up(pair.edge) == [0, 1])


async def test_an_offer_that_is_not_answered_is_given_up(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_lanes.UdpLanes, "_answer", lambda self, link, offer: None)
    pair = await Pair(nodes).start()
    assert len(pair.edge.core.udp_lane_table) == 2
    monkeypatch.setattr(udp_lanes, "ANSWER_MS", -1)
    pair.edge.node.tick()
    assert refused(pair.edge) == {"udp_lane_unanswered": 2}
    assert len(pair.edge.core.udp_lane_table) == 0


async def test_ports_are_open_only_while_a_link_uses_them(nodes: Nodes) -> None:
    pair = await Pair(nodes).start()
    await until(lambda: lanes_up(pair.relay) == [0, 1])
    assert len(pair.relay.core.udp_sockets) == 2
    await pair.edge.kill()
    await until(lambda: not pair.relay.node.link_table.links)
    assert pair.relay.core.udp_sockets == {}


async def test_a_reload_switches_them_off_and_on(nodes: Nodes) -> None:
    pair = await Pair(nodes).start()
    await until(lambda: lanes_up(pair.edge) == lanes_up(pair.relay) == [0, 1])
    await pair.reload(pair.relay, udp_lanes=False)
    assert pair.relay.core.udp_sockets == {}
    assert link_of(pair.relay).usable
    link = link_of(pair.edge)
    # What came in is made again, for its dialler does not know when to offer.
    await pair.reload(pair.relay, udp_lanes=True)
    await until(lambda: lanes_up(pair.relay) == lanes_up(pair.edge) == [0, 1])
    assert link_of(pair.edge) is not link
    # What is dialled here goes on.
    link = link_of(pair.edge)
    await pair.reload(pair.edge, udp_lanes=False)
    assert lanes_up(pair.edge) == []
    await pair.reload(pair.edge, udp_lanes=True)
    pair.edge.node.tick()
    await until(lambda: lanes_up(pair.relay) == lanes_up(pair.edge) == [0, 1])
    assert link_of(pair.edge) is link


async def test_a_reload_that_switches_them_on_makes_links_again(nodes: Nodes) -> None:
    pair = await Pair(nodes).start({}, ON)
    first = link_of(pair.relay)
    await pair.reload(pair.relay, udp_lanes=True)
    await until(lambda: link_of(pair.relay) is not first and lanes_up(pair.relay) == [0, 1])
    assert link_of(pair.edge).usable


async def test_sockets_pass_to_the_next_process(nodes: Nodes) -> None:
    pair = await Pair(nodes).start()
    await until(lambda: lanes_up(pair.relay) == [0, 1])
    keeper = pair.relay.node.link_table.udp_lanes
    handed = keeper.to_handover()
    assert [(each.worker, each.port, each.links) for each in handed] == [
        (0, pair.port, (1,)),
        (1, pair.port + 1, (1,)),
    ]
    # As restored: the same sockets serve the link, and those of a link that is not there are closed.
    keeper.restore((handed[0], handed[1]))
    keeper.judge_restored()
    assert keeper.to_handover() == handed
    pair.relay.node.link_table.links[2] = pair.relay.node.link_table.links.pop(1)
    keeper.judge_restored()
    assert pair.relay.core.udp_sockets == {}
    pair.relay.node.link_table.links[1] = pair.relay.node.link_table.links.pop(2)
