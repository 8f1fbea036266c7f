"""Services of datagrams beside nodes of an earlier commit, which may not know them: streams go on, and each says why.

Nobody is upgraded in the first three; in the last one both edges are, and datagrams cross then.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.asking import Answerer, Asker
from tests.scenarios.kit.earlier import ROOT, built, runs
from tests.scenarios.kit.echo_witness import Echo, Witness, host_port, received
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, Address, Node, Stage
from tests.scenarios.kit.reload_setup import explained, reload
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = [pytest.mark.tier_upgrade, pytest.mark.timeout(180)]

WAIT_S = 60.0
UDP = {"protocol": "udp"}
POLICY = {"renewal_interval_s": 2, "renewal_age_s": 60}


@dataclass
class Realm:
    """Kent offers `echo` and `names` to the Met over one relay. Which of them are datagrams, each test says."""

    stage: Stage
    relay: Node
    links: list[dict[str, Any]]
    doors: dict[str, Address]
    targets: dict[str, Address]

    def kent(self, **odd: dict[str, Any]) -> Node:
        exports = [
            {"service": name, "target": host_port(self.targets[name][1]), "allow": [MET], **odd.get(name, {})}
            for name in ("echo", "names")
        ]
        return self.stage.node(KENT, "kent-1", links=self.links, exports=exports, policy=dict(POLICY))

    def met(self, **odd: dict[str, Any]) -> Node:
        imports = [
            {"service": f"{name}@{KENT}", "listen": host_port(door[1]), **odd.get(name, {})}
            for name, door in self.doors.items()
            if name in ("echo", "names") or name in odd
        ]
        return self.stage.node(MET, "met-1", links=self.links, imports=imports, policy=dict(POLICY))

    def start(self, earlier: Path, *old: Node, but: tuple[str, ...] = ()) -> None:
        """Start all nodes, these of the earlier version."""
        for node in old:
            node.environment = {"PYTHONPATH": str(earlier / "src")}
        self.stage.start()
        self.stage.await_well(but=but)
        for node in self.stage.nodes.values():
            assert runs(node, earlier if node in old else ROOT)

    def carries_streams(self) -> None:
        with socket.create_connection(self.doors["echo"], 20) as sock:
            sock.settimeout(20)
            sock.sendall(b"a stream")
            assert received(sock, 8) == b"a stream"

    def nothing_broke(self) -> None:
        for node in self.stage.nodes.values():
            for event in ("link.down", "link.refused", "session.down"):
                assert not node.log(event), node.log(event)


@pytest.fixture(scope="module")
def earlier(request: pytest.FixtureRequest) -> Path:
    return built(request.config)


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Realm]:
    with Stage(tmp_path) as stage:
        port = free_port()
        relay = stage.relay("relay-1", listens=[host_port(port)])
        links = [{"peer": f"relay-1.{HUB}", "address": host_port(port)}]
        doors = {name: (HOST, free_port()) for name in ("echo", "names", "time")}
        targets = {name: (HOST, free_port()) for name in ("echo", "names")}
        with Echo(targets["echo"]):
            yield Realm(stage, relay, links, doors, targets)


def knows_datagrams(earlier: Path) -> bool:
    return (earlier / "src" / "pcgrelay" / "config" / "datagrams.py").exists()


def said(node: Node, event: str) -> dict[str, str]:
    """The causes that the lines of a log name, by service."""
    return {line["service"]: line.get("cause", "") for line in node.log(event)}


def is_ready(met: Node) -> bool:
    return bool(met.service("names").state == "ready")


@contextmanager
def names(realm: Realm) -> Iterator[tuple[Answerer, Asker]]:
    with Answerer(realm.targets["names"]) as server, Asker(realm.doors["names"]) as client:
        yield server, client


def test_an_import_says_why_the_edge_that_offers_it_as_a_stream_is_no_way(realm: Realm, earlier: Path) -> None:
    kent, met = realm.kent(), realm.met(names=UDP, time=UDP)
    realm.start(earlier, kent, but=("names", "time"))
    with names(realm) as (_, client):
        realm.carries_streams()
        offered = f"{kent.dotted} offers it as a stream (tcp), and protocol is udp here"
        until(lambda: offered in met.service("names").reason, 10, "it says who offers it as what")
        assert f"no edge of {KENT} offers it; it offers: echo, names" in met.service("time").reason
        assert offered in explained(met, f"names@{KENT}")["verdict"]
        assert not client.asks()
        causes = {f"names@{KENT}": "transport", f"time@{KENT}": "unknown-service"}
        until(lambda: said(met, "import.unavailable") == causes, 20, "its log says so too")
        # Nothing of it reached Kent, and streams go on.
        assert kent.status().streams.active == 0
        realm.carries_streams()
    realm.nothing_broke()


def test_an_edge_that_knows_no_datagrams_is_refused_by_name(realm: Realm, earlier: Path) -> None:
    kent, met = realm.kent(names=UDP), realm.met()
    realm.start(earlier, met, but=("names",))
    realm.carries_streams()
    # It takes the offer for one of a stream, and asks; or knows that it is none, and does not.
    until(lambda: is_ready(met) or f"names@{KENT}" in said(met, "import.unavailable"), 30, "it knows what is offered")
    with suppress(ConnectionError), socket.create_connection(realm.doors["names"], 20) as sock:
        sock.settimeout(20)
        sock.sendall(b"a stream")
        assert sock.recv(1) == b""
    if is_ready(met):
        until(lambda: said(kent, "stream.refused") == {f"names@{KENT}": "transport"}, 20, "Kent says why")
    realm.carries_streams()
    realm.nothing_broke()


def test_datagrams_cross_a_relay_that_knows_none(realm: Realm, earlier: Path) -> None:
    realm.kent(names=UDP)
    met = realm.met(names=UDP)
    realm.start(earlier, realm.relay)
    with names(realm) as (server, client):
        until(client.asks, 10, "the first question is answered")
        for size in (16, 1_472, 4_096, 65_507):
            assert all(client.asks(size) for _ in range(5))
        realm.carries_streams()
        assert len(server.clients) == 1
        assert met.service("names").streams_active == 1
    realm.nothing_broke()


def test_once_both_edges_are_upgraded_datagrams_cross(realm: Realm, earlier: Path) -> None:
    odd = {"names": UDP} if knows_datagrams(earlier) else {}
    kent, met = realm.kent(**odd), realm.met(**odd)
    realm.start(earlier, kent, met)
    with names(realm) as (server, client), Witness(realm.doors["echo"], 1) as stream:
        if odd:
            until(client.asks, 10, "the first question is answered")
        for node in (kent, met):
            done = node.upgrade(seconds=60)
            assert done.returncode == 0, done.stderr
            assert runs(node, ROOT)
            if odd:
                until(client.asks, WAIT_S, f"questions are answered after the upgrade of {node}")
        if not odd:
            realm.kent(names=UDP)
            realm.met(names=UDP)
            for node in (kent, met):
                assert reload(node).ok
        # The session is one of before, which carries none until it is renewed.
        until(client.asks, WAIT_S, "questions are answered")
        assert all(client.asks() for _ in range(20))
        assert len(server.clients) == 1
        stream.check()
    assert not met.log("session.down"), met.log_text
    assert not kent.log("session.down"), kent.log_text
