"""The name service is away: a node starts without it, keeps what it knew, and finds everything once it is back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.kit.echo_talk import answers, talks
from tests.scenarios.kit.echo_witness import Echo, host_port
from tests.scenarios.kit.fake_dns import Names
from tests.scenarios.kit.network_namespace import own_network
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, Stage
from tests.scenarios.kit.socket_steps import connect
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

READY_S = 30.0
BACK_S = 30.0


def test_a_node_lives_without_its_name_service(tmp_path: Path, figure: Callable[[str], None]) -> None:
    with own_network(), Names(tmp_path) as names, Stage(tmp_path) as stage:
        port, target, door = free_port(), (HOST, free_port()), (HOST, free_port())
        relay = stage.relay("relay-1", listens=[host_port(port)])
        link = {"peer": f"relay-1.{HUB}", "address": f"relay-1.hub.example:{port}"}
        export = {"service": "echo", "target": f"records.kent.example:{target[1]}", "allow": [MET]}
        kent = stage.node(KENT, "kent-1", links=[link], exports=[export])
        met = stage.node(
            MET, "met-1", links=[link], imports=[{"service": f"echo@{KENT}", "listen": host_port(door[1])}]
        )
        for edge in (kent, met):
            edge.prefix = names.with_it
        with Echo(target):
            began = time.monotonic()
            stage.start()
            assert time.monotonic() - began < READY_S
            for edge in (kent, met):
                edge.await_log("link.failed", 15.0, reason="unreachable")
            kent.await_log("target.unresolved", 15.0)
            assert names.asked

            names.answers = True
            began = time.monotonic()
            stage.await_well()
            until(lambda: answers(door), BACK_S, "the target is found")
            back_s = time.monotonic() - began
            assert back_s < BACK_S
            with connect(door) as running:
                talks(running, b"with it")
                names.answers = False
                talks(running, b"without it")
                with connect(door) as fresh:
                    talks(fresh, b"a new one, too")
                # Who was linked once is found again by the address that the name led to last.
                relay.kill()
                relay.start()
                began = time.monotonic()
                met.await_log("session.resumed", 20.0)
                again_s = time.monotonic() - began
                talks(running, b"after a restart")
            stage.await_well()
    figure(f"all well {back_s:.1f} s after names are back; linked again without them {again_s:.1f} s after a restart")
