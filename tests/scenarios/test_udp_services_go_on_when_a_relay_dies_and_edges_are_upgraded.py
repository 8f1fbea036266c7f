"""Clients of all services of datagrams at work while the relay that carries them is killed, and nodes are upgraded."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.datagram_programs import ends
from tests.scenarios.kit.datagram_services import EXPORTED, IMPORTED, SERVICES, Clients, served
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, Line, Node, Service, Stage
from tests.scenarios.kit.voice import calling, heard
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_all

PATIENCE_S = 120.0
CALLS = 20
NAMES, TRIES = 400, 3


@dataclass
class Work:
    """Each client does its work again and again, with as many tries as its program makes by itself."""

    clients: Clients
    done: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    given_up: int = 0  # rounds of calls
    missing: int = 0
    _stopping: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        acts: dict[str, Callable[[], None]] = {
            "dns": self._names,
            "radius": self.clients.admitted,
            "kerberos": self.clients.ticket,
            "snmp": self.clients.agent,
            "syslog": self._lines,
            "sip": self._phones,
        }
        threads = [threading.Thread(target=self._repeat, args=each, daemon=True) for each in acts.items()]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join(PATIENCE_S)

    def await_more(self) -> None:
        """Wait until each has begun and ended some work since now."""
        at = Counter(self.done)
        # What had begun before counts once.
        until(
            lambda: self.failed or all(self.done[name] >= at[name] + 2 for name in SERVICES if name != "voice"),
            PATIENCE_S,
            f"all go on; done so far: {dict(self.done)}",
        )
        assert self.failed == []

    def _repeat(self, name: str, act: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            try:
                act()
            except Exception as error:
                self.failed.append(f"{name}: {error!r}")
                return
            self.done[name] += 1

    def _phones(self) -> None:
        try:
            self.clients.phones()
        except AssertionError:
            # An ACK is sent once (RFC 3261, 13.2.2.4), and sipp's phone answers no call of which it is lost.
            self.given_up += 1
            assert self.given_up == 1

    def _names(self) -> None:
        assert self.clients.names(NAMES, digs=4, tries=TRIES) == NAMES

    def _lines(self) -> None:
        # Nobody sends a line again.
        self.missing += self.clients.lines(100)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Line]:
    """Two edges behind two relays beside each other."""
    made = {name: Service(name, (HOST, free_port()), (HOST, free_port())) for name in SERVICES}
    ports = {name: free_port() for name in ("relay-1", "relay-2")}
    links: list[dict[str, Any]] = [
        {"peer": f"{name}.{HUB}", "address": f"{HOST}:{port}"} for name, port in ports.items()
    ]
    exports = [
        {"service": name, "target": f"{HOST}:{service.target[1]}", "allow": [MET], **EXPORTED}
        for name, service in made.items()
    ]
    imports = [
        {"service": service.full_name, "listen": f"{HOST}:{service.door[1]}", **IMPORTED} for service in made.values()
    ]
    with Stage(tmp_path) as stage:
        relays = tuple(stage.relay(name, listens=[f"{HOST}:{port}"]) for name, port in ports.items())
        kent = stage.node(KENT, "kent-1", links=links, exports=exports)
        met = stage.node(MET, "met-1", links=links, imports=imports)
        found = Line(stage, "edge-relay-edge", met, kent, relays, made)
        found.start()
        yield found


def used(nodes: Line) -> Node:
    """The relay that carries them."""
    (route,) = nodes.importer.service("dns").routes
    return next(relay for relay in nodes.relays if relay.dotted == route.via)


def kill_the_relay(nodes: Line) -> None:
    lost = used(nodes)
    lost.kill()
    until(lambda: used(nodes) is not lost, PATIENCE_S, "the other relay carries them")


def upgrade_both_edges(nodes: Line) -> None:
    upgrade(nodes.importer, nodes.exporter)


def upgrade_the_relay(nodes: Line) -> None:
    upgrade(used(nodes))


def upgrade(*nodes: Node) -> None:
    for node in nodes:
        done = node.upgrade()
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("befalls", [kill_the_relay, upgrade_both_edges, upgrade_the_relay])
def test_clients_notice_nothing(
    befalls: Callable[[Line], None], nodes: Line, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    with served(tmp_path, nodes) as clients:
        work = Work(clients)
        with calling(nodes.door("voice"), CALLS, 0) as calls, work.going_on():
            work.await_more()
            befalls(nodes)
            work.await_more()
            # Each call has the association that it began with, and its port at the target.
            assert nodes.importer.service("voice").streams_active == CALLS
            assert nodes.exporter.service("voice").streams_active == CALLS
            edges = (nodes.importer, nodes.exporter)
            ended = [line for node in edges for line in ends(node) if "voice" in line["service"]]
            told = heard(calls, 30)
    figure(
        f"{dict(work.done)}, {work.given_up} rounds of calls given up, {work.missing} lines of syslog missing; voice: "
        f"{told.lost} of {told.sent} packets lost, round trip {told.median_ms:.1f} ms, {told.worst_ms:.0f} ms at most; "
        f"jitter {told.jitter_ms:.1f} ms"
    )
    assert ended == []
    # Of each call five seconds at most, which only a busy machine needs.
    assert told.lost <= CALLS * 250
    assert work.missing <= 100
