"""A narrow lane that is full of bulk: where datagrams go all the time, they wait for a moment of it alone."""

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

pytestmark = pytest.mark.tier_all

RATE = 4_000_000
BULK_STREAMS = 8
RARELY, OFTEN = 7, 60
# After so long without datagrams an edge has as much bulk waiting in a lane as ever, and the next one is behind it.
REST_S = 1.2


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
            rarely = [timed(client, REST_S) for _ in range(RARELY)]
            before, began = sink.taken, time.monotonic()
            often = [timed(client) for _ in range(OFTEN)]
            rate = (sink.taken - before) / (time.monotonic() - began)
    for name, took in (("rarely", rarely), ("all the time", often)):
        figure(f"{name}: p50 {statistics.median(took):.0f} ms, most {max(took):.0f} ms")
    figure(f"bulk {rate / 1e6:.1f} of {RATE / 1e6:.1f} MB/s")
    assert statistics.median(often) < 0.9 * statistics.median(rarely)
    # The bulk is not starved for it.
    assert rate > RATE / 10


def timed(client: Asker, rest_s: float = 0.0) -> float:
    """Milliseconds until a question was answered, or until nobody waited for it any more."""
    time.sleep(rest_s)
    began = time.monotonic()
    client.asks()
    return (time.monotonic() - began) * 1_000
