"""A narrow lane that is full of bulk: datagrams of the same class wait for a moment of it alone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.kit.asking import Answerer, Asker
from tests.scenarios.kit.echo_witness import host_port
from tests.scenarios.kit.narrow_wire import NarrowWire
from tests.scenarios.kit.nodes import HOST, KENT, MET, Stage
from tests.scenarios.kit.streaming import Sink, bulk
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

RATE = 2_000_000
BULK_STREAMS = 8
QUESTIONS = 40
# What an edge has waiting in a lane by which no datagrams go.
WAITS_BYTES = 262_144


def test_one_lane_and_one_class(tmp_path: Path, figure: Callable[[str], None]) -> None:
    port, door, bulk_door, target = (free_port() for _ in range(4))
    sink = Sink()
    exports = [
        {"service": "echo", "protocol": "udp", "target": host_port(target), "allow": [MET], "wait_ms": 5_000},
        {"service": "bulk", "target": host_port(sink.address[1]), "allow": [MET]},
    ]
    imports = [
        {"service": f"echo@{KENT}", "protocol": "udp", "listen": host_port(door), "wait_ms": 5_000},
        {"service": f"bulk@{KENT}", "listen": host_port(bulk_door)},
    ]
    with (
        Stage(tmp_path) as stage,
        NarrowWire((HOST, port), RATE) as wire,
        Answerer((HOST, target)),
        Asker((HOST, door)) as client,
        sink,
    ):
        stage.node(KENT, "kent-1", listens=[host_port(port)], exports=exports)
        link = {"peer": f"kent-1.{KENT}", "address": host_port(wire.address[1])}
        stage.node(MET, "met-1", node_table={"lanes": 1}, links=[link], imports=imports)
        stage.start()
        stage.await_well()
        until(client.asks, 10, "the first question is answered")
        with bulk((HOST, bulk_door), BULK_STREAMS):
            until(lambda: sink.taken > RATE, 20, "the lane is full")
            before, began = sink.taken, time.monotonic()
            took = [timed(client) for _ in range(QUESTIONS)]
            rate = (sink.taken - before) / (time.monotonic() - began)
    middle = statistics.median(took)
    figure(f"{middle:.0f} ms, {max(took):.0f} ms at most, beside bulk of {rate / 1e6:.1f} of {RATE / 1e6:.1f} MB/s")
    assert middle < WAITS_BYTES / RATE * 1_000
    # The bulk is not starved for it.
    assert rate > 0.6 * RATE


def timed(client: Asker) -> float:
    """Milliseconds until a question was answered, or until nobody waited for it any more."""
    began = time.monotonic()
    client.asks()
    return (time.monotonic() - began) * 1_000
