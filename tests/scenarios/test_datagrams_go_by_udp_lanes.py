"""With UDP lanes at both ends of a link datagrams go as packets of UDP, and nothing else does: streams are as ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.kit.asking import Answerer, Asker
from tests.scenarios.kit.datagram_programs import datagram_line
from tests.scenarios.kit.reload_setup import reload
from tests.scenarios.kit.steady_streams import flowing
from tests.scenarios.kit.udp_lanes import ON, await_lanes, lanes_up, packets, refused
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

QUESTIONS = 300
PACE_BYTES = 512 << 10
# No probe is due so often that it could be taken for a question.
PROBES = {"probe_interval_ms": 1_000}


@pytest.mark.parametrize(
    ("topology", "workers"),
    [
        ("edge-edge", 1),
        pytest.param("edge-edge", 2, marks=pytest.mark.tier_all),
        ("edge-relay-relay-edge", 1),
        pytest.param("edge-relay-relay-edge", 2, marks=pytest.mark.tier_all),
    ],
)
def test_each_hop_is_one_of_udp(topology: str, workers: int, tmp_path: Path) -> None:
    table = {**ON, "workers": workers, "lanes": workers}
    with (
        datagram_line(tmp_path, topology, "echo", streams=["bytes"], node_table=table, policy=PROBES) as nodes,
        Answerer(nodes.target("echo")) as server,
        Asker(nodes.door("echo")) as client,
        # Of each of these every byte is looked at.
        flowing(nodes.door("bytes"), nodes.target("bytes"), pace_bytes=PACE_BYTES) as streams,
    ):
        await_lanes(nodes.nodes)
        until(client.asks, 10, "the far edge has accepted the association")
        before = {node: packets(node) for node in nodes.nodes}
        carried = [stream.received for stream in streams]
        assert sum(client.asks() for _ in range(QUESTIONS)) == QUESTIONS
        assert len(server.clients) == 1
        assert all(stream.received > then for stream, then in zip(streams, carried, strict=True))
        for node in nodes.nodes:
            ends = 2 if node in nodes.relays else 1
            sent, taken = (now - then for now, then in zip(packets(node), before[node], strict=True))
            # A question and an answer for each, in each direction; a relay has both twice.
            assert sent >= ends * QUESTIONS, node
            assert taken >= ends * QUESTIONS, node
            assert refused(node) == {}, node
            assert node.metrics()["core_udp_frames_too_long_total"] == 0, node


def test_long_datagrams_go_by_tcp_and_arrive_whole(tmp_path: Path) -> None:
    with (
        datagram_line(tmp_path, "edge-relay-relay-edge", "echo", node_table={**ON, "workers": 1}) as nodes,
        Answerer(nodes.target("echo")),
        Asker(nodes.door("echo")) as client,
    ):
        await_lanes(nodes.nodes)
        until(client.asks, 10, "the far edge has accepted the association")
        for size in (16, 1_100, 1_472, 4_096, 16, 65_507, 16):
            assert client.asks(size), size
        assert nodes.importer.metrics()["core_udp_frames_too_long_total"] >= 3


@pytest.mark.parametrize("without", ["importer", "exporter"])
def test_one_side_without_them_goes_on_by_tcp(without: str, tmp_path: Path) -> None:
    with datagram_line(tmp_path, "edge-edge", "echo", node_table=ON) as nodes:
        node, other = nodes.importer, nodes.exporter
        if without == "exporter":
            node, other = other, node
        with Answerer(nodes.target("echo")) as server, Asker(nodes.door("echo")) as client:
            await_lanes(nodes.nodes)
            until(client.asks, 10, "the first question is answered")
            text = node.config.read_text()
            assert "udp_lanes = true" in text
            node.config.write_text(text.replace("udp_lanes = true", "udp_lanes = false"))
            assert reload(node).ok
            # What is on its way meanwhile may be lost.
            until(client.asks, 10, "questions are answered by TCP")
            assert all(client.asks() for _ in range(50))
            assert len(server.clients) == 1
            # It was told, and did not find out by silence; nobody misses what somebody has switched off.
            other.await_log("link.udp_lane_down", reason="withdrawn")
            assert not other.log("link.udp_lane_down", reason="silent")
            until(lambda: all(lanes_up(each) == (0, 0) for each in nodes.nodes), 10, "no UDP lane is up")
            node.config.write_text(text)
            assert reload(node).ok
            await_lanes([node], 90)
            assert all(client.asks() for _ in range(50))
            assert len(server.clients) == 1
