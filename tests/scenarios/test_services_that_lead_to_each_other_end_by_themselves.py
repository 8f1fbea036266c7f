"""Two edges whose services lead to each other: what goes round ends, and both can be asked how they are."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.kit.echo_talk import answers
from tests.scenarios.kit.echo_witness import Echo, host_port
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, Node, Stage
from tests.support.applications import client_unless_refused
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_all

LIMIT = 1_024  # descriptors that each edge may have
KEPT_BACK = 256
WATCHED_S = 8.0


def test_what_goes_round_ends_and_harms_nothing_else(tmp_path: Path, figure: Callable[[str], None]) -> None:
    with Stage(tmp_path) as stage:
        port, doors, target, well = free_port(), (free_port(), free_port()), free_port(), free_port()
        stage.relay("relay-1", listens=[host_port(port)])
        link = {"peer": f"relay-1.{HUB}", "address": host_port(port)}

        def loop(name: str, door: int, allow: str) -> dict[str, object]:
            return {"service": name, "target": host_port(door), "allow": [allow], "probe_interval_ms": 500}

        kent = stage.node(
            KENT,
            "kent-1",
            links=[link],
            exports=[loop("there", doors[0], MET), {"service": "echo", "target": host_port(target), "allow": [MET]}],
            imports=[{"service": f"back@{MET}", "listen": host_port(doors[0])}],
        )
        met = stage.node(
            MET,
            "met-1",
            links=[link],
            exports=[loop("back", doors[1], KENT)],
            imports=[
                {"service": f"there@{KENT}", "listen": host_port(doors[1])},
                {"service": f"echo@{KENT}", "listen": host_port(well)},
            ],
        )
        for edge in (kent, met):
            edge.prefix = ("prlimit", f"--nofile={LIMIT}:{LIMIT}")
        with Echo((HOST, target)):
            stage.start()
            stage.await_well()
            until(lambda: answers((HOST, well)), 30, "the other service is reached")
            began, most, slowest = time.monotonic(), 0, 0.0
            held: list[socket.socket | None] = []
            while time.monotonic() - began < WATCHED_S:
                # A probe that goes round is soon over; an application stays.
                # It may be refused as soon as it is there.
                held.append(client_unless_refused((HOST, doors[0])))
                for edge in (kent, met):
                    asked = time.monotonic()
                    assert edge.status()
                    slowest = max(slowest, time.monotonic() - asked)
                    most = max(most, edge.descriptors)
                assert answers((HOST, well))
            for sock in filter(None, held):
                sock.close()
            # Something went round, and was refused in the end.
            assert kent.log("service.full") or met.log("service.full")
            assert most < LIMIT - KEPT_BACK // 2
            assert stage_is_linked(kent)
            assert stage_is_linked(met)
    figure(f"{most} of {LIMIT} descriptors at most; status within {slowest:.2f} s")


def stage_is_linked(node: Node) -> bool:
    return not node.log("link.down")
