"""Markings that bite: a service is carried by networks and relays that are cleared for it, and by nobody else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pcgrelay.model import NodeId
from tests.reference.records import Kind, record_open
from tests.scenarios.kit.echo_witness import Echo, Witness, ending, host_port, received
from tests.scenarios.kit.malicious_member import Member
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, Address, Node, Stage
from tests.scenarios.kit.reload_setup import command, reload
from tests.support.pki import REALM
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

SENSITIVE = "OFFICIAL-SENSITIVE"


def marked(**bearers: str) -> list[dict[str, str]]:
    return [{"name": name, "marking": marking} for name, marking in bearers.items()]


@dataclass
class Scene:
    """Kent's echo is OFFICIAL-SENSITIVE. Of two relays the first is on the internet, the second on the PSN."""

    stage: Stage
    door: Address
    ports: list[int]  # of the relays
    relays: list[Node]
    met: Node
    kent: Node
    tables: dict[str, dict[str, Any]]

    def write(self, node: Node, **tables: Any) -> None:
        """Write another file for a node; only these tables are different."""
        self.tables[node.dotted] |= tables
        self.stage.node(node.organisation, node.name, **dict(self.tables[node.dotted]))

    def reload(self, node: Node, **tables: Any) -> None:
        """Have a node take another file; only these tables are different."""
        self.write(node, **tables)
        answer = reload(node)
        assert answer.ok, answer

    def via(self) -> str:
        routes = self.met.service("echo").routes
        return routes[0].via if routes and routes[0].state == "ready" else ""

    def explained(self) -> str:
        return command("explain", f"echo@{KENT}", "-c", self.met.config).stdout


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    ports, target, door = [free_port(), free_port()], free_port(), (HOST, free_port())
    places = list(zip((1, 2), ports, ("internet", "psn"), strict=True))
    links = [
        {"peer": f"relay-{number}.{HUB}", "address": host_port(port), "bearer": bearer}
        for number, port, bearer in places
    ]
    export = {"service": "echo", "target": host_port(target), "allow": [MET], "marking": SENSITIVE}
    tables: dict[str, dict[str, Any]] = {
        f"relay-{number}.{HUB}": {"role": "relay", "listens": [{"address": host_port(port), "bearer": bearer}]}
        for number, port, bearer in places
    }
    tables[f"kent-1.{KENT}"] = {"links": links, "exports": [export]}
    entry = {"service": f"echo@{KENT}", "listen": host_port(door[1])}
    tables[f"met-1.{MET}"] = {"links": links, "imports": [entry], "bearers": marked(psn=SENSITIVE)}
    with Stage(tmp_path) as stage, Echo((HOST, target)):
        nodes = {
            name: stage.node(name.partition(".")[2], name.partition(".")[0], **dict(said))
            for name, said in tables.items()
        }
        stage.start()
        stage.await_well()
        relays = [nodes[f"relay-{number}.{HUB}"] for number in (1, 2)]
        yield Scene(stage, door, ports, relays, nodes[f"met-1.{MET}"], nodes[f"kent-1.{KENT}"], tables)


def over(node: Node) -> dict[str, int]:
    """Paths of a node, by bearer."""
    return {link.bearer: link.paths for link in node.status().links}


def test_the_cleared_relay_is_used_and_the_other_is_explained(scene: Scene) -> None:
    assert scene.via() == f"relay-2.{HUB}"
    said = f"relay-1.{HUB} over internet: cleared for OFFICIAL, this service is {SENSITIVE}"
    until(lambda: said in " ".join(scene.explained().split()), 10, "the other relay has announced it too")
    explained = scene.explained().splitlines()
    assert explained[0] == explained[-1] == SENSITIVE
    assert {link.bearer: link.cleared for link in scene.met.status().links} == {
        "internet": "OFFICIAL",
        "psn": SENSITIVE,
    }
    # Not even if it is all that is left.
    with Witness(scene.door) as application:
        application.pause()
        scene.relays[1].kill()
        until(lambda: scene.met.log("session.stalled"), 10)
        until(lambda: over(scene.met)["psn"] == 0, 10)
        assert over(scene.met)["internet"] == 0
        scene.relays[1].start()
        until(lambda: scene.met.log("session.resumed"), 30)
        application.go_on()
        application.check()


def test_a_network_that_is_marked_lower_loses_a_live_stream_to_another(
    scene: Scene, figure: Callable[[str], None]
) -> None:
    with Witness(scene.door) as application:
        # An upgrade keeps what is judged. On a busy machine it may pause the session too.
        assert scene.met.upgrade().returncode == 0
        until(lambda: scene.via() == f"relay-2.{HUB}", 10)
        # At once: the new process makes its links anew, and what comes up is waited for.
        scene.reload(scene.met, bearers=marked(psn="OFFICIAL", internet=SENSITIVE))
        resumed = scene.met.await_log("session.resumed", 20.0, via=f"relay-1.{HUB}")
        figure(f"a network was marked lower: the session paused for {resumed['pause_ms']} ms")
        assert resumed["pause_ms"] < 10_000
        until(lambda: scene.via() == f"relay-1.{HUB}", 10, "the route is ready again")
        until(lambda: over(scene.met) == {"internet": 1, "psn": 0}, 10, "the former path is closed")
        application.check()
        # A relay judges by its own file: the stream goes back.
        scene.reload(scene.met, bearers=marked(psn=SENSITIVE, internet=SENSITIVE))
        scene.reload(scene.relays[0], bearers=marked(internet="OFFICIAL"))
        until(lambda: scene.via() == f"relay-2.{HUB}", 20)
        assert scene.relays[0].status().refusals["marking"] >= 1
        application.check()
    assert len(scene.met.log("session.down")) == 0


@pytest.mark.tier_all
def test_an_upgrade_to_a_file_that_clears_less_leaves_what_it_no_longer_clears(scene: Scene) -> None:
    with Witness(scene.door) as application:
        scene.write(scene.met, bearers=marked(psn="OFFICIAL", internet=SENSITIVE))
        assert scene.met.upgrade().returncode == 0
        until(lambda: scene.via() == f"relay-1.{HUB}", 20, "the session goes over what is cleared")
        until(lambda: over(scene.met) == {"internet": 1, "psn": 0}, 10, "the former path is closed")
        application.check()
    assert scene.met.log("session.down") == []


def test_without_another_way_streams_end_at_once_and_new_ones_are_refused(scene: Scene) -> None:
    with socket.create_connection(scene.door, timeout=10) as sock:
        sock.sendall(b"before")
        assert received(sock, 6) == b"before"
        scene.reload(scene.met, bearers=marked(psn="OFFICIAL"))
        sock.settimeout(10.0)
        assert ending(sock) == (b"", "reset")
    down = scene.met.await_log("session.down")
    assert (down["code"], down["reason"]) == ("refused", "marking")
    until(lambda: scene.met.service("echo").state == "down", 20)
    # What comes now is told why, and so is whoever asks.
    with pytest.raises(ConnectionResetError), socket.create_connection(scene.door, timeout=10) as sock:
        received(sock, 1)
    assert scene.met.await_log("import.unavailable", cause="marking")
    until(lambda: scene.met.status().refusals.get("stream_marking"), 10, "it is counted by its cause")
    assert scene.met.metrics()["core_stream_end_marking_total"] == 1
    assert "stream_no-route" not in scene.met.status().refusals
    answer = command("explain", f"echo@{KENT}", "-c", scene.met.config)
    assert answer.returncode != 0
    assert f"relay-2.{HUB} over psn: cleared for OFFICIAL, this service is {SENSITIVE}" in " ".join(
        answer.stdout.split()
    )
    # With the clearance it is back.
    scene.reload(scene.met, bearers=marked(psn=SENSITIVE))
    until(lambda: scene.via() == f"relay-2.{HUB}", 15)
    with Witness(scene.door) as application:
        application.check()


async def answer_to_open(scene: Scene, marking: int) -> Kind:
    """What Kent answers to a member of the Met whose session has this marking, and whose OPEN says SECRET."""
    member = Member.new(scene.stage.pki, MET)
    async with member.linked(scene.ports[0]) as linked:
        far = await linked.session(NodeId(REALM, KENT, "kent-1"), marking=marking)
        far.send(record_open(1, "echo", 1 << 20, marking=3))

        def answers() -> list[Kind]:
            records = (record for arrival in far.arrivals for record in arrival.records)
            return [each.kind for each in records if each.kind in (Kind.ACCEPT, Kind.RESET)]

        await far.neighbour.until(lambda: bool(answers()))
        return answers()[0]


def test_a_caller_who_says_more_of_a_stream_than_its_session_is_cleared_for_is_refused(scene: Scene) -> None:
    """Its session is OFFICIAL, so the relays led it over what is cleared for no more."""
    assert asyncio.run(answer_to_open(scene, 1)) is Kind.RESET
    assert scene.kent.metrics()["core_stream_end_marking_total"] == 1
    assert asyncio.run(answer_to_open(scene, 2)) is Kind.ACCEPT
