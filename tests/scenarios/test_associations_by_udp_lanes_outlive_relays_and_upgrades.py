"""What goes by UDP lanes keeps its association when a relay dies, nodes are upgraded, or keys and links are renewed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.asking import Answerer, Asker
from tests.scenarios.kit.echo_witness import host_port
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, Node, Stage
from tests.scenarios.kit.udp_lanes import ON, await_lanes, packets, refused
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_all

PATIENCE_S = 30.0
TABLE = {**ON, "workers": 1}


class Realm:
    """The Met and Kent behind two relays, with UDP lanes everywhere, and one service of datagrams."""

    def __init__(self, stage: Stage, door: int, target: int, policy: dict[str, Any]) -> None:
        common: dict[str, Any] = {"node_table": TABLE, "policy": policy}
        ports = {name: free_port() for name in ("relay-1", "relay-2")}
        self.relays = [stage.relay(name, listens=[host_port(port)], **common) for name, port in ports.items()]
        links = [{"peer": f"{name}.{HUB}", "address": host_port(port)} for name, port in ports.items()]
        export = {"service": "echo", "protocol": "udp", "target": host_port(target), "allow": [MET]}
        entry = {"service": f"echo@{KENT}", "protocol": "udp", "listen": host_port(door)}
        self.kent = stage.node(KENT, "kent-1", links=links, exports=[export], **common)
        self.met = stage.node(MET, "met-1", links=links, imports=[entry], **common)

    @property
    def nodes(self) -> list[Node]:
        return [self.met, self.kent, *self.relays]

    def used(self) -> Node:
        """The relay that carries the session."""
        (route,) = self.met.service("echo").routes
        return next(relay for relay in self.relays if relay.dotted == route.via)


@contextmanager
def realm(folder: Path, **policy: Any) -> Iterator[tuple[Realm, Answerer, Asker]]:
    door, target = (HOST, free_port()), (HOST, free_port())
    with Stage(folder) as stage, Answerer(target) as server, Asker(door) as client:
        made = Realm(stage, door[1], target[1], policy)
        stage.start()
        stage.await_well()
        await_lanes(made.nodes)
        until(client.asks, PATIENCE_S, "the first question is answered")
        yield made, server, client
        assert len(server.clients) == 1
        assert made.met.service("echo").streams_active == 1


def goes_by_udp(made: Realm, client: Asker, count: int = 50) -> None:
    """Questions are answered, and their packets are counted at both edges."""
    before = [packets(node) for node in (made.met, made.kent)]
    assert sum(client.asks() for _ in range(count)) >= count - 1
    for node, (sent, taken) in zip((made.met, made.kent), before, strict=True):
        now = packets(node)
        assert now[0] - sent >= count - 1, node
        assert now[1] - taken >= count - 1, node


def test_a_relay_that_dies(tmp_path: Path) -> None:
    with realm(tmp_path) as (made, _, client):
        lost = made.used()
        lost.kill()
        until(lambda: client.asks() and made.used() is not lost, PATIENCE_S, "the other relay carries it")
        goes_by_udp(made, client)


def test_upgrades_of_all_nodes(tmp_path: Path) -> None:
    with realm(tmp_path) as (made, _, client):
        for node in (made.met, made.used(), made.kent):
            done = node.upgrade()
            assert done.returncode == 0, done.stderr
            until(client.asks, PATIENCE_S, f"questions are answered after the upgrade of {node}")
            assert sum(client.asks() for _ in range(20)) >= 19
        await_lanes(made.nodes, PATIENCE_S)
        goes_by_udp(made, client)
        assert client.unanswered <= 8


def test_renewals_of_links_and_steps_of_keys(tmp_path: Path) -> None:
    with realm(tmp_path, renewal_interval_s=3, rekey_s=1) as (made, _, client):
        until(lambda: all(len(node.log("link.renewed")) >= 3 for node in made.nodes), PATIENCE_S, "links are renewed")
        before = client.unanswered
        began = len(made.met.log("link.renewed"))
        while len(made.met.log("link.renewed")) < began + 4:
            client.asks()
        assert client.unanswered == before
        goes_by_udp(made, client)
        for node in made.nodes:
            assert not node.log("link.udp_lane_down"), node.log_text
            assert not refused(node), node
