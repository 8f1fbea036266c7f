"""As many associations as there are local ports: none is used again at once, and all are after ten seconds."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.scenarios.kit.asking import Answerer, Asker
from tests.scenarios.kit.echo_witness import host_port
from tests.scenarios.kit.network_namespace import own_network
from tests.scenarios.kit.nodes import HOST, KENT, Address
from tests.scenarios.kit.two_edges import await_streams, pair
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_all

PORTS = 16
FIRST_PORT = 50_000
OF_CLIENTS = 40_000  # none of these
REST_S = 11
UDP = {"protocol": "udp", "idle_timeout_s": 1}


def answered(door: Address) -> int:
    """How many of as many clients as there are ports are answered."""
    with ExitStack() as stack:
        clients = [stack.enter_context(Asker(door, HOST, OF_CLIENTS + number)) for number in range(PORTS)]
        return sum(client.asks() for client in clients)


def test_after_ten_seconds_each_is_good_again(tmp_path: Path) -> None:
    with own_network():
        door, target = free_port(), free_port()
        exports = [{"service": "echo", "target": host_port(target), **UDP}]
        imports = [{"service": f"echo@{KENT}", "listen": host_port(door), **UDP}]
        with pair(tmp_path, exports, imports) as nodes, Answerer((HOST, target)) as server:
            range_of_ports = Path("/proc/sys/net/ipv4/ip_local_port_range")
            range_of_ports.write_text(f"{FIRST_PORT} {FIRST_PORT + PORTS - 1}")
            assert answered((HOST, door)) == PORTS
            await_streams(nodes.exporter, 0)
            closed = time.monotonic()
            # At once none is used again.
            assert answered((HOST, door)) == 0
            refused = nodes.exporter.log("stream.refused")
            assert {line["cause"] for line in refused} == {"no-local-port"}
            until(lambda: time.monotonic() > closed + REST_S + 1, REST_S + 5)
            assert answered((HOST, door)) == PORTS
            assert {port for _, port in server.clients} == set(range(FIRST_PORT, FIRST_PORT + PORTS))
