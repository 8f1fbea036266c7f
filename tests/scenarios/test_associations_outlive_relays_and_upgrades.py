"""A client of datagrams keeps its association, and its port at the target, whatever the size and whatever befalls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.asking import Answerer, Asker
from tests.scenarios.kit.echo_witness import host_port
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, Node, Stage
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

PATIENCE_S = 20.0


@dataclass
class Realm:
    """The Met and Kent behind two relays, with one service of datagrams."""

    met: Node
    kent: Node
    relays: list[Node]
    server: Answerer
    client: Asker

    def used(self) -> Node:
        """The relay that carries the session."""
        (route,) = self.met.service("echo").routes
        return next(relay for relay in self.relays if relay.dotted == route.via)


@contextmanager
def realm(folder: Path) -> Iterator[Realm]:
    door, target = (HOST, free_port()), (HOST, free_port())
    with Stage(folder) as stage, Answerer(target) as server, Asker(door) as client:
        ports = {name: free_port() for name in ("relay-1", "relay-2")}
        relays = [stage.relay(name, listens=[host_port(port)]) for name, port in ports.items()]
        links: list[dict[str, Any]] = [
            {"peer": f"{name}.{HUB}", "address": host_port(port)} for name, port in ports.items()
        ]
        export = {"service": "echo", "protocol": "udp", "target": host_port(target[1]), "allow": [MET]}
        entry = {"service": f"echo@{KENT}", "protocol": "udp", "listen": host_port(door[1])}
        kent = stage.node(KENT, "kent-1", links=links, exports=[export])
        met = stage.node(MET, "met-1", links=links, imports=[entry])
        made = Realm(met, kent, relays, server, client)
        stage.start()
        stage.await_well()
        until(made.client.asks, PATIENCE_S, "the first question is answered")
        yield made


def test_datagrams_of_every_size_arrive_whole(tmp_path: Path) -> None:
    with realm(tmp_path) as made:
        for size in (0, 16, 1_472, 1_473, 4_096, 16_384, 65_507):
            # One that is empty is a datagram too.
            assert made.client.asks(size) if size else made.client.asks_nothing()
        assert len(made.server.clients) == 1


def test_a_relay_that_dies_ends_no_association(tmp_path: Path) -> None:
    with realm(tmp_path) as made:
        lost = made.used()
        lost.kill()
        until(lambda: made.client.asks() and made.used() is not lost, PATIENCE_S, "the other relay carries it")
        assert sum(made.client.asks() for _ in range(20)) >= 19
        assert len(made.server.clients) == 1
        assert made.met.service("echo").streams_active == 1


def test_upgrades_of_all_nodes_end_no_association(tmp_path: Path) -> None:
    with realm(tmp_path) as made:
        nodes = (made.met, made.used(), made.kent)
        for node in nodes:
            done = node.upgrade()
            assert done.returncode == 0, done.stderr
            until(made.client.asks, PATIENCE_S, f"questions are answered after the upgrade of {node}")
            # A frame that meets a label of before, because the path moves meanwhile, is lost.
            assert sum(made.client.asks() for _ in range(20)) >= 19
        assert len(made.server.clients) == 1
        assert made.met.service("echo").streams_active == 1
        # What came before the upgrades counts on.
        assert made.client.unanswered <= 2 * len(nodes)
