"""Who sends packets to a port of UDP lanes gets no answer and changes nothing, whatever he has seen on the way."""

from __future__ import annotations

import random
import socket
import struct
from pathlib import Path

import pytest

from tests.scenarios.kit.asking import Answerer, Asker
from tests.scenarios.kit.datagram_programs import datagram_line
from tests.scenarios.kit.network_namespace import own_network
from tests.scenarios.kit.nodes import HOST
from tests.scenarios.kit.udp_lanes import ON, await_lanes, refused
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

ETHERNET, IPV4, UDP = 14, 0x0800, 17
KEPT = 200
SEED = 11


def test_forged_changed_and_replayed_packets(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with (
        own_network(),
        datagram_line(tmp_path, "edge-edge", "echo", node_table={**ON, "workers": 1}) as nodes,
        Answerer(nodes.target("echo")) as server,
        Asker(nodes.door("echo")) as client,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(IPV4)) as wire,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):
        await_lanes(nodes.nodes)
        until(client.asks, 10, "the far edge has accepted the association")
        port = nodes.exporter.status().links[0].address.rpartition(":")[2]
        seen = heard_on(wire, int(port), client)
        stranger.bind((HOST, 0))
        there = (HOST, int(port))
        for packet in seen:
            stranger.sendto(packet, there)  # a second time
            at = chance.randrange(4, len(packet))
            stranger.sendto(packet[:at] + bytes([packet[at] ^ 1 << chance.randrange(8)]) + packet[at + 1 :], there)
            stranger.sendto(bytes([packet[0] ^ 0x80]) + packet[1:], there)  # of no lane
            stranger.sendto(packet[: chance.randrange(len(packet))], there)
            stranger.sendto(chance.randbytes(chance.randrange(1, 1_400)), there)
        causes = {"replayed", "tag", "token", "length"}
        until(lambda: set(refused(nodes.exporter)) >= causes, 10, "each cause is counted")
        until(lambda: sum(refused(nodes.exporter).values()) >= 4 * len(seen), 10, "and all that was sent")
        # Nobody is answered, and the lane still leads to the neighbour and not to the stranger.
        assert all(client.asks() for _ in range(100))
        stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            stranger.recv(2_048)
        assert len(server.clients) == 1
        for node in nodes.nodes:
            for event in ("link.udp_lane_down", "lane.down", "link.down", "session.down", "session.stalled"):
                assert not node.log(event), node.log_text


def heard_on(wire: socket.socket, port: int, client: Asker) -> list[bytes]:
    """Packets that were sent to a port of UDP while questions were asked, each once."""
    wire.settimeout(0.2)
    found: dict[bytes, None] = {}
    while len(found) < KEPT:
        assert client.asks()
        try:
            while True:
                frame = wire.recv(65_536)
                packet = frame[ETHERNET:]
                head = (packet[0] & 15) * 4
                if packet[9] == UDP and struct.unpack_from("!H", packet, head + 2)[0] == port:
                    found[packet[head + 8 :]] = None
        except TimeoutError:
            pass
    return list(found)
