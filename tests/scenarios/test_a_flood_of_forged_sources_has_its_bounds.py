"""A hundred thousand datagrams, each from another source that nobody has: their cost has bounds, and others go on."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.kit.asking import Answerer, Asker
from tests.scenarios.kit.echo_witness import Echo, host_port
from tests.scenarios.kit.network_namespace import own_network
from tests.scenarios.kit.nodes import HOST, KENT, MET, Address, Stage
from tests.scenarios.kit.socket_steps import connect
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

SOURCES = 100_000
# Beyond what a node can read, the kernel drops what comes to its socket, whosever it is.
BURST, BURST_S = 100, 0.005
ASSOCIATIONS = 500
HEADER, UDP = struct.Struct(">BBHHHBBH4s4s"), struct.Struct(">HHHH")
PAYLOAD = b"?" * 32


def flood(door: Address) -> float:
    """Send one datagram from each of many sources; answers how many seconds it took. Loopback asks no source."""
    to = socket.inet_aton(door[0])
    udp = UDP.pack(4_000, door[1], UDP.size + len(PAYLOAD), 0) + PAYLOAD
    began = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        for number in range(SOURCES):
            if number % BURST == 0:
                time.sleep(max(0.0, began + number / BURST * BURST_S - time.monotonic()))
            source = struct.pack(">I", (10 << 24) + number)
            sock.sendto(HEADER.pack(0x45, 0, HEADER.size + len(udp), 0, 0, 64, 17, 0, source, to) + udp, door)
    return time.monotonic() - began


def test_others_go_on(tmp_path: Path, figure: Callable[[str], None]) -> None:
    with own_network(), Stage(tmp_path) as stage:
        port, door, stream_door, target, stream_target = (free_port() for _ in range(5))
        exports = [
            {"service": "names", "protocol": "udp", "target": host_port(target), "allow": [MET]},
            {"service": "echo", "target": host_port(stream_target), "allow": [MET]},
        ]
        imports = [
            {
                "service": f"names@{KENT}", "protocol": "udp", "listen": host_port(door),
                "max_streams": ASSOCIATIONS, "idle_timeout_s": 60,
            },
            {"service": f"echo@{KENT}", "listen": host_port(stream_door)},
        ]  # fmt: skip
        kent = stage.node(KENT, "kent-1", listens=[host_port(port)], exports=exports)
        links = [{"peer": kent.dotted, "address": host_port(port)}]
        met = stage.node(MET, "met-1", links=links, imports=imports)
        stage.start()
        stage.await_well()
        with (
            Answerer((HOST, target)),
            Echo((HOST, stream_target)),
            Asker((HOST, door)) as honest,
            connect((HOST, stream_door)) as stream,
        ):
            until(honest.asks, 10, "the first question is answered")
            before, took = met.memory, [0.0]
            thread = threading.Thread(target=lambda: took.append(flood((HOST, door))), daemon=True)
            thread.start()
            answers, turns, most = 0, 0, 0
            while thread.is_alive():
                turns += 1
                answers += honest.asks()
                stream.sendall(b"x")
                assert stream.recv(1) == b"x"
                most = max(most, met.service("names").streams_active)
            thread.join()
            figure(
                f"{SOURCES / took[-1]:.0f} forged sources a second: {answers} of {turns} questions answered, "
                f"{most} associations at most"
            )
            # Whoever is in use is never the one that was used least recently.
            assert answers >= turns * 9 // 10
            assert most <= ASSOCIATIONS + 1
            until(honest.asks, 10, "the honest one is answered afterwards")
            assert met.memory.pss_bytes - before.pss_bytes < 32 << 20
            # Nearly all of them were more than what may begin in a second, or came faster than the socket was read.
            dropped = met.metrics()["core_datagrams_dropped_limit_total"]
            figure(f"{dropped:.0f} of {SOURCES} dropped by the limit of new ones")
            assert dropped > ASSOCIATIONS
