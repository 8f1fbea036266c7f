"""UDP lanes that one side switches off: the other hears of it at once, and why it has none is known afterwards."""

from __future__ import annotations

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
from pcgrelay.link.link import LinkState
from pcgrelay.link.udp_lane import Obstacle
from pcgrelay.link.udp_lanes import UdpLanes
from pcgrelay.messages import Code, DatagramLane
from tests.support.linked_udp_lanes import ON, LinkOfFakeCore, Pair, lanes_up, link_of, refused
from tests.support.nodes_in_process import Nodes
from tests.support.ports import free_port
from tests.support.vectors import Json, load
from tests.support.waiting import until_async as until

HOST = "127.0.0.1"
NOW = datetime(2031, 1, 1, tzinfo=UTC)
VECTORS = load("datagram_lane")


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


@pytest.mark.parametrize("dialled", [False, True], ids=["acceptor", "dialler"])
@pytest.mark.parametrize("case", VECTORS["withdrawals"], ids=lambda case: case["what"])
def test_either_side_takes_a_withdrawal_as_the_vectors_say(case: Json, dialled: bool) -> None:
    plane: Any = LinkOfFakeCore(dialler=dialled)
    sent: list[DatagramLane] = []
    listen = ListenSettings(address=Address(HOST, free_port()), bearer="internet")
    link: Any = SimpleNamespace(
        number=1, lanes=2, dialled=dialled, features={UDP_LANES}, state=LinkState.UP, ends=(HOST, HOST), generation=0,
        replaced=False, bearer="internet", peer=SimpleNamespace(dotted="kent-1.kent.police.example"),
        standing=SimpleNamespace(settings=None if dialled else listen), send=sent.append,
    )  # fmt: skip
    local: Any = SimpleNamespace(config=SimpleNamespace(node=SimpleNamespace(udp_lanes=True)))
    counts: Counter[str] = Counter()
    keeper = UdpLanes(local, {1: link}, counts, plane, lambda record: None, SetClock(NOW))
    keeper.tick()
    for index, number in case["open"]:
        keeper.receive(link, DatagramLane(index, number, 7, 7_400))
    assert {lane.index: number for (_, number), lane in plane.core.udp_lane_table.items()} == dict(case["open"])
    before = len(sent)
    for index, number in case["withdrawn"]:
        keeper.receive(link, DatagramLane(index, number, 0, 0, Code.REFUSED))
    left = [[lane.index, number] for (_, number), lane in sorted(plane.core.udp_lane_table.items())]
    plane.core.stop()
    assert left == case["left"]
    assert counts == Counter(udp_lane_unasked=case["unasked"])
    assert len(sent) == before


async def test_an_acceptor_that_switches_them_off_tells_at_once(nodes: Nodes) -> None:
    pair = await Pair(nodes).start()
    await until(lambda: lanes_up(pair.edge) == lanes_up(pair.relay) == [0, 1])
    link = link_of(pair.edge)
    await pair.reload(pair.relay, udp_lanes=False)
    await until(lambda: lanes_up(pair.edge) == [] and not pair.edge.core.udp_lane_table)
    lines = pair.edge.lines("link.udp_lane_down")
    assert [(line["index"], line["reason"]) for line in lines] == [(0, "withdrawn"), (1, "withdrawn")]
    keeper = pair.edge.node.link_table.udp_lanes
    assert keeper.is_withdrawn(link)
    assert refused(pair.edge) == refused(pair.relay) == {}
    # It offers again, with back-off, and is told the same.
    keeper._lane(link, 0).due_ms = 0
    pair.edge.node.tick()
    await until(lambda: refused(pair.relay) == {"udp_lane_off": 1})
    await until(lambda: refused(pair.edge) == {"udp_lane_refused": 1})
    assert not pair.edge.core.udp_lane_table
    assert keeper.is_withdrawn(link)
    assert link_of(pair.edge) is link
    assert len(pair.edge.lines("link.udp_lane_down")) == 2


async def test_a_dialler_that_switches_them_off_and_on_tells_at_once(nodes: Nodes) -> None:
    pair = await Pair(nodes).start()
    await until(lambda: lanes_up(pair.edge) == lanes_up(pair.relay) == [0, 1])
    link = link_of(pair.relay)
    await pair.reload(pair.edge, udp_lanes=False)
    await until(lambda: lanes_up(pair.relay) == [] and not pair.relay.core.udp_lane_table)
    assert {line["reason"] for line in pair.relay.lines("link.udp_lane_down")} == {"withdrawn"}
    assert pair.relay.node.link_table.udp_lanes.is_withdrawn(link)
    await pair.reload(pair.edge, udp_lanes=True)
    pair.edge.node.tick()
    await until(lambda: lanes_up(pair.relay) == lanes_up(pair.edge) == [0, 1])
    assert link_of(pair.relay) is link
    assert not pair.relay.node.link_table.udp_lanes.is_withdrawn(link)
    assert refused(pair.edge) == refused(pair.relay) == {}


async def test_what_is_withdrawn_while_an_offer_is_under_way_is_offered_later(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = await Pair(nodes).start()
    await until(lambda: lanes_up(pair.edge) == lanes_up(pair.relay) == [0, 1])
    keeper, link = pair.edge.node.link_table.udp_lanes, link_of(pair.edge)
    monkeypatch.setattr(pair.relay.node.link_table.udp_lanes, "_answer", lambda link, offer: None)
    keeper._lane(link, 0).is_spent = True
    pair.edge.node.tick()
    assert len(keeper._lane(link, 0).numbers()) == 2
    keeper.receive(link, DatagramLane(0, 0, 0, 0, Code.REFUSED))
    assert not keeper._lane(link, 0).numbers()
    assert lanes_up(pair.edge) == [1]
    assert keeper._lane(link, 0).due_ms > 0
    assert refused(pair.edge) == {"udp_lane_refused": 1}


@pytest.mark.parametrize(
    ("code", "obstacle"),
    [
        (Code.UNREACHABLE, Obstacle.FAR_PORT),
        (Code.BUSY, Obstacle.REFUSED),
        (Code.LIMIT, Obstacle.REFUSED),
        (Code.REFUSED, Obstacle.OFF_THERE),
    ],
)
async def test_why_an_offer_was_not_taken_is_kept(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, code: int, obstacle: Obstacle
) -> None:
    monkeypatch.setattr(
        UdpLanes,
        "_answer",
        lambda self, link, offer: link.send(DatagramLane(offer.index, offer.number, 0, 0, code)),
    )
    pair = await Pair(nodes).start(ON, ON)
    keeper, link = pair.edge.node.link_table.udp_lanes, link_of(pair.edge)
    await until(lambda: refused(pair.edge) == {"udp_lane_refused": 2})
    assert {keeper._lane(link, index).obstacle for index in (0, 1)} == {obstacle}
    # Nothing was up, so nothing went down.
    assert pair.edge.lines("link.udp_lane_down") == []
