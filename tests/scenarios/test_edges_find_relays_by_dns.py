"""Edges find their relays by DNS: they link some of them, replace one that is lost, and follow the records."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.scenarios.kit.echo_talk import talks
from tests.scenarios.kit.echo_witness import Echo, host_port
from tests.scenarios.kit.fake_dns import NXDOMAIN, SERVFAIL, Names
from tests.scenarios.kit.network_namespace import own_network
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, PCGRELAY, STOP_S, Node, Stage
from tests.scenarios.kit.socket_steps import connect
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

NAME = "_pcgrelay._tcp.relays.example"
WAIT_S = 45.0
# Two answers, each after at most 33 s and a look-up, and then the links.
WITHDRAWN_S = 120.0


@dataclass
class Scene:
    """Three relays that know each other, and two edges that find them by DNS."""

    stage: Stage
    names: Names
    relays: list[Node]
    ports: list[int]
    kent: Node
    met: Node
    door: tuple[str, int]

    def leads_to(self, *numbers: int) -> None:
        """The records lead to these relays, the first being number 1."""
        self.names.services["_pcgrelay"] = [
            (10, 1, self.ports[number - 1], f"relay-{number}.hub.example") for number in numbers
        ]

    def linked(self, edge: Node) -> list[str]:
        links = [link for link in edge.status().links if link.state == "up" and link.lanes_up == link.lanes]
        assert all(link.discover == NAME for link in links)
        return sorted(link.peer.partition(".")[0] for link in links)

    def await_linked(self, edge: Node, number: int, without: str = "", seconds: float = WAIT_S) -> list[str]:
        until(
            lambda: len(self.linked(edge)) == number and without not in self.linked(edge), seconds, f"{edge} is linked"
        )
        return self.linked(edge)


@contextmanager
def scene(folder: Path) -> Iterator[Scene]:
    with own_network(), Names(folder) as names, Stage(folder) as stage:
        names.answers = True
        ports, target, door = [free_port() for _ in range(3)], (HOST, free_port()), (HOST, free_port())
        relays = [
            stage.relay(
                f"relay-{number}",
                listens=[host_port(port)],
                links=[
                    {"peer": f"relay-{other}.{HUB}", "address": host_port(ports[other - 1])}
                    for other in range(1, number)
                ],
            )
            for number, port in enumerate(ports, 1)
        ]
        found = {"links": [{"discover": NAME}], "policy": {"relays": [HUB]}}
        exports = [{"service": "echo", "target": host_port(target[1]), "allow": [MET]}]
        kent = stage.node(KENT, "kent-1", exports=exports, **found)
        imports = [{"service": f"echo@{KENT}", "listen": host_port(door[1])}]
        met = stage.node(MET, "met-1", imports=imports, **found)
        for edge in (kent, met):
            edge.prefix = names.with_it
        with Echo(target):
            made = Scene(stage, names, relays, ports, kent, met, door)
            made.leads_to(1, 2, 3)
            yield made


def test_a_lost_relay_is_replaced_and_an_upgrade_keeps_the_links(tmp_path: Path, figure: Callable[[str], None]) -> None:
    with scene(tmp_path) as realm:
        realm.stage.start()
        for edge in (realm.kent, realm.met):
            realm.await_linked(edge, 2)
        realm.stage.await_well()
        with connect(realm.door) as running:
            talks(running, b"found by DNS")
            gone = realm.linked(realm.met)[0]
            since = realm.met.moment()
            began = time.monotonic()
            realm.relays[int(gone[-1]) - 1].kill()
            realm.await_linked(realm.met, 2, without=gone)
            replaced_s = time.monotonic() - began
            realm.met.await_log("link.up", after=since)
            talks(running, b"over what is left")

            # Without DNS a new process goes on with the links of the old one.
            realm.names.services["_pcgrelay"] = SERVFAIL
            realm.names.says = {relay.name: (SERVFAIL, SERVFAIL) for relay in realm.relays}
            before = realm.linked(realm.met)
            # What asks this name service has to be started as the node was.
            upgrade = [*realm.names.with_it, PCGRELAY, "upgrade", "-c", realm.met.config]
            done = subprocess.run(upgrade, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr
            assert realm.met.process is not None
            assert realm.met.process.wait(STOP_S) == 0
            realm.met.adopt(int(done.stdout.split()[3]))
            assert realm.await_linked(realm.met, 2) == before
            until(lambda: realm.met.status().discoveries[0].answered is False, WAIT_S, "DNS was asked")
            talks(running, b"after an upgrade")
        assert [(found.wanted, found.up) for found in realm.met.status().discoveries] == [(2, 2)]
        assert realm.met.metrics()[f'discovery_links{{discover="{NAME}"}}'] == 2
        shown = subprocess.run(
            [PCGRELAY, "status", "-c", realm.met.config], capture_output=True, text=True, check=False
        )
        assert f"found by {NAME}" in shown.stdout
        assert f"DNS does not answer for {NAME}; 2 of 2 links to its relays are up." in shown.stdout
        assert shown.returncode == 4
    figure(f"a lost relay is replaced after {replaced_s:.2f} s")


@pytest.mark.tier_all
@pytest.mark.timeout(600)
def test_edges_follow_records_that_change_and_only_two_answers_withdraw(tmp_path: Path) -> None:
    with scene(tmp_path) as realm:
        realm.leads_to(1, 2)
        realm.stage.start()
        for edge in (realm.kent, realm.met):
            assert realm.await_linked(edge, 2) == ["relay-1", "relay-2"]
        realm.stage.await_well()
        with connect(realm.door) as running:
            talks(running, b"before")
            realm.leads_to(2, 3)
            for edge in (realm.kent, realm.met):
                realm.await_linked(edge, 2, without="relay-1", seconds=WITHDRAWN_S)
            talks(running, b"after the records have changed")

            realm.names.services["_pcgrelay"] = NXDOMAIN
            edges = (realm.kent, realm.met)
            until(lambda: any(edge.status().discoveries[0].absent for edge in edges), WITHDRAWN_S, "the name is gone")
            # Whoever asked first has one such answer, and the other one none or one.
            talks(running, b"one answer withdraws nothing")
            assert [realm.linked(edge) for edge in edges] == [["relay-2", "relay-3"]] * 2
            until(lambda: realm.linked(realm.met) == [], WITHDRAWN_S, "the links are withdrawn")
        realm.leads_to(1, 3)
        assert realm.await_linked(realm.met, 2, seconds=WITHDRAWN_S) == ["relay-1", "relay-3"]
        done = subprocess.run(
            [*realm.names.with_it, PCGRELAY, "doctor", "-c", realm.met.config],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "DNS leads to 2 relays; 2 links are wanted." in done.stdout
        assert done.stdout.count("The relay accepts this node") == 2
