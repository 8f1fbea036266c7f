"""What goes by UDP lanes keeps its association when a relay dies, nodes are upgraded, or keys and links are renewed.

Calls are under way all the time, and streams of TCP beside them, of which each byte is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.asking import Answerer, Asker
from tests.scenarios.kit.datagram_programs import ends
from tests.scenarios.kit.echo_witness import host_port
from tests.scenarios.kit.network_namespace import Network, control_and_lanes, own_network
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, Node, Stage
from tests.scenarios.kit.steady_streams import flowing
from tests.scenarios.kit.udp_lanes import ON, await_lanes, packets, refused
from tests.scenarios.kit.voice import answering, calling, heard
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_all

PATIENCE_S = 30.0
TABLE = {**ON, "workers": 1, "lanes": 1}
CALLS = 5
# What a call says in five seconds, which only a busy machine needs to find another way.
MISSING_MOST = 250
A_SECOND = 50  # packets of a call
PACE_BYTES = 256 << 10
SERVICES = {"echo": "udp", "voice": "udp", "bytes": "tcp"}


class Realm:
    """The Met and Kent behind two relays, with UDP lanes everywhere. Each edge has a port of its own at each relay."""

    def __init__(self, stage: Stage, policy: dict[str, Any]) -> None:
        common: dict[str, Any] = {"node_table": TABLE, "policy": policy}
        self.targets = {name: (HOST, free_port()) for name in SERVICES}
        self.doors = {name: (HOST, free_port()) for name in SERVICES}
        self.ports = {name: (free_port(), free_port()) for name in ("relay-1", "relay-2")}
        self.relays = [
            stage.relay(name, listens=[host_port(port) for port in ports], **common)
            for name, ports in self.ports.items()
        ]
        links = [
            [{"peer": f"{name}.{HUB}", "address": host_port(ports[side])} for name, ports in self.ports.items()]
            for side in (0, 1)
        ]
        exports = [
            {"service": name, "protocol": protocol, "target": host_port(self.targets[name][1]), "allow": [MET]}
            for name, protocol in SERVICES.items()
        ]
        imports = [
            {"service": f"{name}@{KENT}", "protocol": protocol, "listen": host_port(self.doors[name][1])}
            for name, protocol in SERVICES.items()
        ]
        self.met = stage.node(MET, "met-1", links=links[0], imports=imports, **common)
        self.kent = stage.node(KENT, "kent-1", links=links[1], exports=exports, **common)

    @property
    def nodes(self) -> list[Node]:
        return [self.met, self.kent, *self.relays]

    def used(self) -> Node:
        """The relay that carries the session."""
        (route,) = self.met.service("echo").routes
        return next(relay for relay in self.relays if relay.dotted == route.via)


@dataclass
class Scene:
    """The realm at work, and a client of which each question is known."""

    realm: Realm
    client: Asker
    network: Network


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest, figure: Callable[[str], None]) -> Iterator[Scene]:
    """All are at work while a test does harm; then each association and stream must be whole."""
    with at_work(tmp_path, getattr(request, "param", {}), figure) as made:
        yield made


@contextmanager
def at_work(folder: Path, policy: dict[str, Any], figure: Callable[[str], None]) -> Iterator[Scene]:
    with ExitStack() as stack:
        network = stack.enter_context(own_network())
        stage = stack.enter_context(Stage(folder))
        realm = Realm(stage, policy)
        server = stack.enter_context(Answerer(realm.targets["echo"]))
        client = stack.enter_context(Asker(realm.doors["echo"]))
        stack.enter_context(answering(realm.targets["voice"]))
        stage.start()
        stage.await_well()
        await_lanes(realm.nodes)
        until(client.asks, PATIENCE_S, "the first question is answered")
        with (
            flowing(realm.doors["bytes"], realm.targets["bytes"], pace_bytes=PACE_BYTES),
            calling(realm.doors["voice"], CALLS, 0) as calls,
        ):
            until(lambda: realm.met.service("voice").streams_active == CALLS, PATIENCE_S, "all calls have begun")
            yield Scene(realm, client, network)
            before = said(realm.met)
            until(lambda: said(realm.met) >= before + CALLS * A_SECOND, PATIENCE_S, "the calls go on")
            assert len(server.clients) == 1
            for edge in (realm.met, realm.kent):
                assert edge.service("echo").streams_active == 1
                assert edge.service("voice").streams_active == CALLS
                assert ends(edge) == []
            told = heard(calls, PATIENCE_S)
        figure(f"{told.lost} of {told.sent} packets of voice lost, {client.unanswered} questions unanswered")
        assert told.lost <= CALLS * MISSING_MOST


def said(node: Node) -> int:
    """Datagrams that came back to the applications of a node."""
    return int(node.metrics()["core_datagrams_sent_total"])


def goes_by_udp(made: Realm, client: Asker, count: int = 50) -> None:
    """Questions are answered, and their packets are counted at both edges."""
    before = [packets(node) for node in (made.met, made.kent)]
    assert sum(client.asks() for _ in range(count)) >= count - 1
    for node, (sent, taken) in zip((made.met, made.kent), before, strict=True):
        now = packets(node)
        assert now[0] - sent >= count - 1, node
        assert now[1] - taken >= count - 1, node


def test_a_relay_that_dies(scene: Scene) -> None:
    realm, client = scene.realm, scene.client
    lost = realm.used()
    lost.kill()
    until(lambda: client.asks() and realm.used() is not lost, PATIENCE_S, "the other relay carries it")
    goes_by_udp(realm, client)


def test_upgrades_of_all_nodes(scene: Scene) -> None:
    realm, client = scene.realm, scene.client
    for node in (realm.met, realm.used(), realm.kent):
        done = node.upgrade()
        assert done.returncode == 0, done.stderr
        until(client.asks, PATIENCE_S, f"questions are answered after the upgrade of {node}")
        assert sum(client.asks() for _ in range(20)) >= 19
    await_lanes(realm.nodes, PATIENCE_S)
    goes_by_udp(realm, client)
    assert client.unanswered <= 8


def test_a_link_that_is_made_anew(scene: Scene) -> None:
    realm, client, relay = scene.realm, scene.client, scene.realm.used()
    port = realm.ports[relay.name][0]
    control, _ = control_and_lanes(port)
    since = realm.met.moment()
    scene.network.reset(control, port)
    anew = realm.met.await_log("link.up", after=since, peer=relay.dotted)
    assert anew["replaces"]
    scene.network.mend()
    # Those of the new link: the old one still has its own until the paths have moved.
    realm.met.await_log("link.udp_lane_up", after=since, link=anew["link"])
    realm.met.await_log("link.down", after=since, link=anew["replaces"])
    await_lanes(realm.nodes, PATIENCE_S)
    goes_by_udp(realm, client)
    assert client.unanswered <= 2
    for node in realm.nodes:
        assert not node.log("session.down"), node.log_text


@pytest.mark.parametrize("scene", [{"renewal_interval_s": 3, "rekey_s": 1}], indirect=True, ids=[""])
def test_renewals_of_links_and_steps_of_keys(scene: Scene) -> None:
    realm, client = scene.realm, scene.client
    until(lambda: all(len(node.log("link.renewed")) >= 3 for node in realm.nodes), PATIENCE_S, "links are renewed")
    before = client.unanswered
    began = len(realm.met.log("link.renewed"))
    while len(realm.met.log("link.renewed")) < began + 4:
        client.asks()
    assert client.unanswered == before
    goes_by_udp(realm, client)
    for node in realm.nodes:
        assert not node.log("link.udp_lane_down"), node.log_text
        assert not refused(node), node
