"""A node that was upgraded has its UDP lanes, and shows them, before its links are made anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.kit.asking import Answerer, Asker
from tests.scenarios.kit.echo_witness import host_port
from tests.scenarios.kit.network_namespace import own_network
from tests.scenarios.kit.nodes import HOST, KENT, MET, Stage
from tests.scenarios.kit.reload_setup import command
from tests.scenarios.kit.udp_lanes import ON, await_lanes, packets
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_all

TABLE = {**ON, "workers": 1}
QUESTIONS = 50
# Nobody connects for a while, and the next try is as far away.
PATIENCE_S = 60.0


@pytest.mark.parametrize("upgraded", ["dialler", "acceptor"])
def test_while_no_new_connection_comes_up(upgraded: str, tmp_path: Path) -> None:
    door, target, port = (HOST, free_port()), (HOST, free_port()), free_port()
    with own_network() as network, Stage(tmp_path) as stage, Answerer(target) as server, Asker(door) as client:
        export = {"service": "echo", "protocol": "udp", "target": host_port(target[1]), "allow": [MET]}
        entry = {"service": f"echo@{KENT}", "protocol": "udp", "listen": host_port(door[1])}
        links = [{"peer": f"kent-1.{KENT}", "address": host_port(port)}]
        kent = stage.node(KENT, "kent-1", listens=[host_port(port)], exports=[export], node_table=TABLE)
        met = stage.node(MET, "met-1", links=links, imports=[entry], node_table=TABLE)
        stage.start()
        stage.await_well()
        await_lanes((met, kent))
        until(client.asks, 10, "the first question is answered")
        network.drop_new(port)
        node = met if upgraded == "dialler" else kent
        done = node.upgrade()
        assert done.returncode == 0, done.stderr
        (link,) = [each for each in node.status().links if each.lanes_up]
        assert (link.state, link.lanes_up) == ("connecting", 1)
        assert link.udp is not None
        assert (link.udp.up, link.udp.lanes) == (1, 1)
        assert "UDP lanes 1 of 1 up" in command("status", "-c", node.config).stdout
        before = packets(node)
        assert sum(client.asks() for _ in range(QUESTIONS)) >= QUESTIONS - 1
        assert packets(node)[0] - before[0] >= QUESTIONS - 1
        network.mend()
        await_lanes((met, kent), PATIENCE_S)
        assert sum(client.asks() for _ in range(QUESTIONS)) >= QUESTIONS - 1
        assert len(server.clients) == 1
