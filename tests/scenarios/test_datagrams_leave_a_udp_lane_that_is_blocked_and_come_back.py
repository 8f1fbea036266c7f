"""Where UDP is blocked datagrams go over TCP within four probes, and over UDP again when it gets through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.kit.asking import ANSWER_S, Answerer, Asker
from tests.scenarios.kit.echo_witness import host_port
from tests.scenarios.kit.network_namespace import own_network
from tests.scenarios.kit.nodes import HOST, KENT, MET, Stage
from tests.scenarios.kit.reload_setup import command
from tests.scenarios.kit.udp_lanes import ON, await_lanes, lanes_up, packets
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

PROBE_MS = 100
TABLE = {**ON, "workers": 1}
# A lane comes back after ten seconds without loss, or with its next key.
BACK_S = 40.0
ANSWER_MS = int(ANSWER_S * 1000)


def test_blocked_from_the_start_or_later(tmp_path: Path, figure: Callable[[str], None]) -> None:
    door, target, port = (HOST, free_port()), (HOST, free_port()), free_port()
    with own_network() as network, Stage(tmp_path) as stage, Answerer(target) as server, Asker(door) as client:
        export = {"service": "echo", "protocol": "udp", "target": host_port(target[1]), "allow": [MET]}
        entry = {"service": f"echo@{KENT}", "protocol": "udp", "listen": host_port(door[1])}
        policy = {"probe_interval_ms": PROBE_MS}
        links = [{"peer": f"kent-1.{KENT}", "address": host_port(port)}]
        kent = stage.node(KENT, "kent-1", listens=[host_port(port)], exports=[export], node_table=TABLE, policy=policy)
        met = stage.node(MET, "met-1", links=links, imports=[entry], node_table=TABLE, policy=policy)
        network.drop_udp(port)
        stage.start()
        stage.await_well()
        # A firewall that was always there is no failure.
        for node in (met, kent):
            assert node.await_log("link.udp_lane_down")["reason"] == "silent"
            assert lanes_up(node) == (0, 1)
            assert node.status().condition == "ready"
        # Whoever asks is told what to open.
        blocked = f"no packet gets through to UDP port {port} of {HOST} and back"
        said = command("explain", f"echo@{KENT}", "-c", met.config).stdout
        assert f"datagrams to the next node go by TCP: {blocked}" in said
        # The acceptor's, which disturbs nobody: a doctor shakes hands with whom its node dials.
        said = command("doctor", "-c", kent.config).stdout
        assert (
            f"0 of 1 UDP lanes to {met.dotted} over internet are up, and all other datagrams go over TCP: no " in said
        )
        assert f"Open UDP port {port} for what comes from {met.dotted} in the firewall of this machine" in said
        until(client.asks, 10, "the first question is answered")
        assert all(client.asks() for _ in range(50))
        network.mend()
        await_lanes((met, kent), BACK_S)
        before = packets(met)
        assert sum(client.asks() for _ in range(100)) >= 99
        assert packets(met)[0] - before[0] >= 99
        up = "datagrams to the next node go by UDP: 1 of 1 UDP lanes are up"
        assert up in command("explain", f"echo@{KENT}", "-c", met.config).stdout
        assert up in command("explain", "echo", "-c", kent.config).stdout
        # One that comes later: questions that are lost are those of four probes.
        since = {node: node.moment() for node in (met, kent)}
        network.drop_udp(port)
        asked = client.asked
        until(client.asks, 10, "questions are answered by TCP")
        lost = client.asked - asked - 1
        assert all(client.asks() for _ in range(50))
        for node in (met, kent):
            assert node.await_log("link.udp_lane_down", after=since[node])["reason"] == "silent"
        network.mend()
        await_lanes((met, kent), BACK_S)
        assert sum(client.asks() for _ in range(100)) >= 99
        assert len(server.clients) == 1
        figure(f"UDP was blocked: {lost} questions, of {ANSWER_MS} ms each, before TCP answered")
        for node in (met, kent):
            for event in ("lane.down", "link.down", "session.down", "session.stalled"):
                assert not node.log(event), node.log_text
