"""A client sends four times what its service may carry: so much arrives, the rest is dropped; others go on."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.kit.echo_witness import Echo, host_port
from tests.scenarios.kit.nodes import HOST, KENT, Address, Node
from tests.scenarios.kit.socket_steps import connect
from tests.scenarios.kit.two_edges import pair, reload
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

MIB = 1 << 20
SIZE, FLOOD_S = 1_024, 2.0
CLIENTS = 4
FLOOD_BYTES = int(4 * MIB * FLOOD_S) // (SIZE * CLIENTS) * SIZE * CLIENTS
# A tenth of a second's worth may come at once.
AT_ONCE_S = 0.1


@contextlib.contextmanager
def flooded(door: Address) -> Iterator[list[float]]:
    """Four clients that send in turn, evenly; the list has the seconds that it took once they are done."""
    took: list[float] = []

    def send() -> None:
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(CLIENTS)]
            for number in range(FLOOD_BYTES // SIZE):
                if number % 16 == 0:
                    time.sleep(max(0.0, began + number * SIZE / (4 * MIB) - time.monotonic()))
                clients[number % CLIENTS].sendto(bytes(SIZE), door)
        took.append(time.monotonic() - began)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    yield took
    thread.join(60)
    assert took


def count(node: Node, name: str) -> float:
    return node.metrics()[f"core_datagrams_{name}_total"]


@pytest.mark.parametrize(
    ("at", "workers"),
    [
        ("import", 1),
        pytest.param("import", 2, marks=pytest.mark.tier_all),
        pytest.param("export", 1, marks=pytest.mark.tier_all),
    ],
)
def test_so_much_arrives_and_streams_go_on(at: str, workers: int, tmp_path: Path) -> None:
    door, target, stream_door, stream_target = (free_port() for _ in range(4))
    rate = {"rate": "1MiB", "idle_timeout_s": 2}
    exports: list[dict[str, object]] = [
        {"service": "sink", "protocol": "udp", "target": host_port(target), **(rate if at == "export" else {})},
        {"service": "echo", "target": host_port(stream_target)},
    ]
    imports: list[dict[str, object]] = [
        {
            "service": f"sink@{KENT}", "protocol": "udp", "listen": host_port(door), "idle_timeout_s": 2,
            **(rate if at == "import" else {}),
        },
        {"service": f"echo@{KENT}", "listen": host_port(stream_door)},
    ]  # fmt: skip
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
        Echo((HOST, stream_target)),
        pair(tmp_path, exports, imports, (workers, workers)) as nodes,
    ):
        # What it has no room for has been written to it.
        sink.bind((HOST, target))
        node = nodes.importer if at == "import" else nodes.exporter
        passed = "sent" if at == "import" else "received"
        began = time.monotonic()
        turns = 0
        with flooded((HOST, door)) as took, connect((HOST, stream_door)) as stream:
            while not took:
                stream.sendall(b"x")
                assert stream.recv(1) == b"x"
                turns += 1
        assert turns >= 10
        sent = FLOOD_BYTES / SIZE
        lost = ("dropped_rate", "dropped_queue", "dropped_age")
        until(lambda: count(node, passed) + sum(count(node, name) for name in lost) >= sent, 20, "all are counted")
        passed_bytes = count(node, passed) * SIZE
        assert passed_bytes <= MIB * (time.monotonic() - began + AT_ONCE_S)
        # A machine that stands still for a moment lets less through than there could be.
        assert passed_bytes >= MIB * took[0] / 2
        assert count(node, "dropped_rate") >= sent / 4
        # The associations end, and say why so little came.
        until(lambda: node.service("sink").dropped.get("rate", 0) == count(node, "dropped_rate"), 20, "status names it")
        direction = f'direction="{at}"'
        families = [name for name in node.metrics() if name.startswith('service_dropped_datagrams_total{cause="rate"')]
        assert [direction in name for name in families] == [True]
        assert node.await_log("stream.end", service=f"sink@{KENT}")["dropped"]["rate"] > 0


def test_a_reload_takes_it_away_and_no_association_with_it(tmp_path: Path) -> None:
    door, target = free_port(), free_port()
    exports = [{"service": "sink", "protocol": "udp", "target": host_port(target)}]
    entry = {"service": f"sink@{KENT}", "protocol": "udp", "listen": host_port(door)}
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        pair(tmp_path, exports, [{**entry, "rate": "1KiB"}]) as nodes,
    ):
        sink.bind((HOST, target))
        sink.settimeout(10)
        client.connect((HOST, door))
        # What may come at once has room for one of these.
        client.send(bytes(60_000))
        assert len(sink.recv(65_536)) == 60_000
        for _ in range(3):
            client.send(bytes(60_000))
        until(lambda: count(nodes.importer, "dropped_rate") == 3, 10, "no more pass")
        nodes.write_importer([entry])
        answer = reload(nodes.importer)
        assert answer.ok
        assert any("changed (rate)" in change for change in answer.changes)
        client.send(bytes(60_000))
        assert len(sink.recv(65_536)) == 60_000
        assert count(nodes.importer, "dropped_rate") == 3
        assert nodes.importer.status().streams.active == nodes.exporter.status().streams.active == 1
