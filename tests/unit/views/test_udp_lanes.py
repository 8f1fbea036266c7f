"""Which way datagrams take to the next node, and why they do not go by UDP lanes: as `explain` and `doctor` say it."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from pcgrelay import config
from pcgrelay.doctor.udp_lanes import udp_lane_findings
from pcgrelay.finding import OK, WARNING, Finding, good
from pcgrelay.link import udp_lanes
from pcgrelay.link.link import LinkState
from pcgrelay.views.status import node_status
from pcgrelay.views.udp_lanes import datagram_way, port_words, udp_lanes_of
from tests.support import fake_core
from tests.support.linked_udp_lanes import ON, Pair, lanes_up, link_of
from tests.support.nodes_in_process import HUB, KENT, Nodes, Running
from tests.support.waiting import until_async as until

EDGE, RELAY = f"kent-1.{KENT}", f"relay-1.{HUB}"


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


def way(running: Running) -> str:
    return datagram_way(running.node, link_of(running))


def findings(running: Running) -> list[Finding]:
    """What the doctor says of UDP lanes, by the file of a node and its status."""
    return list(udp_lane_findings(config.load(running.node.config.path), node_status(running.node)))


def finding(running: Running) -> Finding:
    (found,) = findings(running)
    return found


@contextmanager
def port_taken(port: int) -> Iterator[None]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", port))
        yield


@pytest.mark.parametrize(
    ("ports", "words"),
    [
        ((), ""),
        ((7_400,), "UDP port 7400"),
        ((7_400, 7_401), "UDP ports 7400 and 7401"),
        ((7_400, 7_401, 7_402), "UDP ports 7400 to 7402"),
        ((7_400, 7_402, 7_403), "UDP ports 7400 and 7402 and 7403"),
    ],
)
def test_ports_as_a_phrase(ports: tuple[int, ...], words: str) -> None:
    assert port_words(ports) == words


async def test_all_are_up(nodes: Nodes) -> None:
    pair = await Pair(nodes).start()
    await until(lambda: lanes_up(pair.edge) == lanes_up(pair.relay) == [0, 1])
    for each, peer in ((pair.edge, RELAY), (pair.relay, EDGE)):
        assert way(each) == "by UDP: 2 of 2 UDP lanes are up"
        assert finding(each).level == OK
        assert finding(each).sentence == f"All UDP lanes to {peer} over internet are up."
        status = udp_lanes_of(each.node, link_of(each))
        assert status is not None
        assert status.ports == (pair.port, pair.port + 1)


@pytest.mark.parametrize("without", ["relay", "edge"])
async def test_one_end_alone_wants_them(nodes: Nodes, without: str) -> None:
    pair = await Pair(nodes).start({} if without == "relay" else ON, {} if without == "edge" else ON)
    here, there = (pair.relay, pair.edge) if without == "relay" else (pair.edge, pair.relay)
    peer = EDGE if there is pair.edge else RELAY
    other = RELAY if there is pair.edge else EDGE
    assert way(here) == "by TCP: UDP lanes are off at this node ([node] udp_lanes)"
    assert findings(here) == []
    assert way(there) == f"by TCP: {other} has no UDP lanes; they are off there, or it is of an earlier version"
    assert finding(there).level == OK
    assert finding(there).sentence == f"Datagrams to {other} over internet go over TCP: it has no UDP lanes now."
    assert peer != other


@pytest.mark.parametrize("off", ["relay", "edge"])
async def test_they_were_switched_off_there(nodes: Nodes, off: str) -> None:
    pair = await Pair(nodes).start()
    await until(lambda: lanes_up(pair.edge) == lanes_up(pair.relay) == [0, 1])
    here, there = (pair.relay, pair.edge) if off == "relay" else (pair.edge, pair.relay)
    await pair.reload(here, udp_lanes=False)
    await until(lambda: not lanes_up(there))
    assert way(there) == f"by TCP: {RELAY if here is pair.relay else EDGE} has switched its UDP lanes off"
    assert way(here) == "by TCP: UDP lanes are off at this node ([node] udp_lanes)"
    # Nobody is to look for what is meant so, here or there; and the ports are closed.
    for each in (here, there):
        assert udp_lanes_of(each.node, link_of(each)) is None
        assert each.core.udp_sockets == {}
    assert finding(there).level == OK
    assert findings(here) == []


async def test_udp_is_blocked(nodes: Nodes) -> None:
    pair = Pair(nodes)
    await pair.start(edge={})
    pair.relay.core.udp_blocked = True
    await pair.reload(pair.edge, udp_lanes=True)
    await until(lambda: len(pair.edge.lines("link.udp_lane_down")) == len(pair.relay.lines("link.udp_lane_down")) == 2)
    ports = f"UDP ports {pair.port} and {pair.port + 1}"
    blocked = "and back; something on the way seems to block it"
    assert way(pair.edge) == f"by TCP: no packet gets through to {ports} of 127.0.0.1 {blocked}"
    assert way(pair.relay) == f"by TCP: no packet gets through to {ports} {blocked}"
    found = finding(pair.edge)
    assert found.level == WARNING
    assert found.sentence.startswith(f"0 of 2 UDP lanes to {RELAY} over internet are up, and all other ")
    assert found.mend == f"Open {ports} of 127.0.0.1 in the firewalls on the way, or write udp_lanes = false."
    mend = f"Open {ports} for what comes from {EDGE} in the firewall of this machine and on the way"
    assert finding(pair.relay).mend == f"{mend}, or write udp_lanes = false."


async def test_too_much_is_lost(nodes: Nodes) -> None:
    pair = await Pair(nodes).start()
    await until(lambda: lanes_up(pair.edge) == [0, 1])
    link = link_of(pair.edge)
    (lane,) = [each for each in pair.edge.core.udp_lane_table.values() if each.index == 1]
    lane.state = "broken"
    pair.edge.core.emit(fake_core.EVENT_UDP_LANE_DOWN, link.number, 1, lane.number, "loss", False)
    await until(lambda: pair.edge.lines("link.udp_lane_down"))
    lost = "more than a tenth of the packets was lost, and they are tried again when less is"
    assert way(pair.edge) == f"by UDP, some by TCP: 1 of 2 UDP lanes are up; for the others, {lost}"
    status = udp_lanes_of(pair.edge.node, link)
    assert status is not None
    assert (status.ports, status.closed_ports) == ((pair.port, pair.port + 1), (pair.port + 1,))
    assert finding(pair.edge).mend == "See whether the network on the way is full or broken."


async def test_another_program_has_a_port(nodes: Nodes) -> None:
    pair = Pair(nodes)
    with port_taken(pair.port + 1):
        await pair.start()
        await until(lambda: lanes_up(pair.edge) == lanes_up(pair.relay) == [0])
        keeper = pair.edge.node.link_table.udp_lanes
        await until(lambda: keeper._lane(link_of(pair.edge), 1).obstacle.value)
        up = "by UDP, some by TCP: 1 of 2 UDP lanes are up; for the others,"
        assert way(pair.relay) == f"{up} another program has a port of this node"
        assert way(pair.edge) == f"{up} {RELAY} cannot have its port; another program has it"
        assert finding(pair.edge).mend.startswith(f"Ask the operator of {RELAY} to free it")
        of_link, of_port = findings(pair.relay)
        assert of_link.mend == "Free that port, or write another udp_port."
        # That one is found without a link too.
        assert (of_port.level, of_port.where) == (WARNING, "listen[1].address")
        assert f"Another program has 127.0.0.1:{pair.port + 1}" in of_port.sentence
    # The port that is this node's own is none of another program.
    assert len(findings(pair.relay)) == 1


async def test_a_word_of_a_newer_node(nodes: Nodes) -> None:
    pair = await Pair(nodes).start()
    await until(lambda: lanes_up(pair.edge) == [0, 1])
    status = node_status(pair.edge.node)
    (link,) = status.links
    assert link.udp is not None
    newer = replace(status, links=(replace(link, udp=replace(link.udp, up=1, why="eclipse")),))
    (found,) = udp_lane_findings(config.load(pair.edge.node.config.path), newer)
    assert found.sentence.endswith("go over TCP: eclipse.")
    assert found.mend == "See the log of this node."


async def test_nobody_answers(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_lanes.UdpLanes, "_answer", lambda self, link, offer: None)
    pair = await Pair(nodes).start()
    assert way(pair.edge) == f"by TCP: they are being agreed on with {RELAY}"
    assert finding(pair.edge) == good("node.udp_lanes", f"UDP lanes to {RELAY} over internet are being agreed on.")
    monkeypatch.setattr(udp_lanes, "ANSWER_MS", -1)
    pair.edge.node.tick()
    assert way(pair.edge) == f"by TCP: {RELAY} has not answered"
    assert finding(pair.edge).mend == f"Ask the operator of {RELAY} what its log says."


async def test_a_link_of_the_process_before_whose_features_nobody_knows(nodes: Nodes) -> None:
    pair = await Pair(nodes).start()
    link = link_of(pair.edge)
    link.features, state = frozenset(), link.state
    link.state = LinkState.ORPHANED
    assert way(pair.edge) == "by TCP, until the link is made anew"
    link.state = state
