"""A link is made anew beside the old one, whose lanes go on until its paths have moved: calls and bulk go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.datagram_programs import drops
from tests.scenarios.kit.echo_witness import host_port
from tests.scenarios.kit.network_namespace import control_and_lanes, own_network
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, Line, Stage
from tests.scenarios.kit.streaming import Sink, bulk
from tests.scenarios.kit.voice import answering, calling, heard
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_all

CALLS, CALL_S = 20, 5
BULK_STREAMS = 8
LANES = 1
# A new control connection is made after a wait, and the old link gives way ten seconds after that.
PATIENCE_S = 30.0


@pytest.mark.parametrize("priority", ["normal", "critical"])
@pytest.mark.parametrize("has_relay", [False, True], ids=["edge-edge", "edge-relay-edge"])
def test_twenty_calls_beside_bulk(
    priority: str, has_relay: bool, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    with own_network() as network, Stage(tmp_path) as stage:
        # Each edge has a port of its own, so that the connections of the Met's link are known.
        port, other, voice, sink = free_port(), free_port(), free_port(), Sink()
        doors = free_port(), free_port()
        exports = [
            {"service": "voice", "protocol": "udp", "target": host_port(voice), "allow": [MET], "priority": priority},
            {"service": "bulk", "target": host_port(sink.address[1]), "allow": [MET]},
        ]
        imports = [
            {"service": f"voice@{KENT}", "protocol": "udp", "listen": host_port(doors[0])},
            {"service": f"bulk@{KENT}", "listen": host_port(doors[1])},
        ]
        middle = f"relay-1.{HUB}" if has_relay else f"kent-1.{KENT}"
        links = [{"peer": middle, "address": host_port(port)}]
        relays = (stage.relay("relay-1", listens=[host_port(port), host_port(other)]),) if has_relay else ()
        ways: dict[str, Any] = {"listens": [host_port(port)]}
        if has_relay:
            ways = {"links": [{"peer": middle, "address": host_port(other)}]}
        kent = stage.node(KENT, "kent-1", node_table={"lanes": LANES}, exports=exports, **ways)
        met = stage.node(MET, "met-1", node_table={"lanes": LANES}, links=links, imports=imports)
        nodes = Line(stage, "", met, kent, relays)
        stage.start()
        stage.await_well()
        with (
            sink,
            answering((HOST, voice)),
            bulk((HOST, doors[1]), BULK_STREAMS),
            calling((HOST, doors[0]), CALLS, CALL_S) as calls,
        ):
            began, before = time.monotonic(), sink.taken
            until(lambda: met.service("voice").streams_active == CALLS, 10, "all calls have begun")
            control, _ = control_and_lanes(port)
            network.reset(control, port)
            until(lambda: replaced(nodes), PATIENCE_S, "the link is made anew")
            network.mend()
            told = heard(calls, CALL_S + PATIENCE_S)
            rate = (sink.taken - before) / (time.monotonic() - began) / 1e6
            assert met.service("voice").streams_active == CALLS
            assert kent.service("voice").streams_active == CALLS
        # What was under way when the path moved comes with a label that is known no more: of each call a packet or two.
        found = drops(nodes)
        frames = sum(node.metrics()["core_unknown_flow_frames_total"] for node in nodes.nodes)
        figure(
            f"beside {rate:.0f} MB/s {told.lost} of {told.sent} packets lost, {sum(found.values()):.0f} dropped by "
            f"cause, {frames:.0f} frames of an old path; round trip {told.median_ms:.1f} ms, of 99 % below "
            f"{told.p99_ms:.1f} ms, {told.worst_ms:.0f} ms at most; jitter {told.jitter_ms:.2f} ms"
        )
        assert told.lost <= sum(found.values()) + 2 * CALLS * frames, found
        assert told.lost <= told.sent // 20
        for node in nodes.nodes:
            assert not node.log("session.down"), node.log_text


def replaced(nodes: Line) -> bool:
    return any(line.get("replaces") for node in nodes.nodes for line in node.log("link.up"))
