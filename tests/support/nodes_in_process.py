"""Whole nodes in one process, over loopback, with the fake core: for tests of what they say to each other."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pcgrelay import config
from pcgrelay.daemon.run import make_node
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.node import Node
from pcgrelay.gateway.relay import RelayRole
from pcgrelay.identity import handshake
from pcgrelay.link.link import Link
from pcgrelay.log.writer import Log
from pcgrelay.messages import Code
from pcgrelay.state.folder import LOCK
from tests.support import fake_core
from tests.support.pki import Files, RealmPki, write_config
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

KENT, MET, HUB = "kent.police.example", "met.police.example", "hub.example"


class Running:
    """A started node, its fake core and its log."""

    def __init__(self, node: Node, sink: io.StringIO) -> None:
        self.node = node
        self.sink = sink
        self.core: fake_core.Core = node.plane._core

    @property
    def edge(self) -> EdgeRole:
        assert isinstance(self.node.role, EdgeRole)
        return self.node.role

    @property
    def relay(self) -> RelayRole:
        assert isinstance(self.node.role, RelayRole)
        return self.node.role

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        records = [json.loads(line) for line in self.sink.getvalue().splitlines()]
        return [record for record in records if not event or record["event"] == event]

    def imports(self) -> list[int]:
        """The published state of each import."""
        return [entry[4] for entry in self.core.published["imports"]]

    def routes(self) -> list[list[tuple[int, int, int]]]:
        return [list(entry[5]) for entry in self.core.published["imports"]]

    def sessions_up(self) -> list[str]:
        return [session.via for session in self.edge.sessions if session.state.name == "UP"]

    async def kill(self) -> None:
        """End it at once, as kill -9 would: nobody is told, all connections break."""
        for link in list(self.core.link_table):
            for lane in self.core.link_table[link].lanes.values():
                lane.sock.shutdown(socket.SHUT_RDWR)
        for link in list(self.node.link_table.links.values()):
            link._connection._sock.shutdown(socket.SHUT_RDWR)
        await self.node.stop()


class Nodes:
    """Makes and starts nodes of one realm, and stops them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pki = RealmPki(folder)
        self.running: list[Running] = []

    def write(self, organisation: str, name: str, **tables: Any) -> Path:
        """Write a node's configuration, again if it is there."""
        # Short, for the admin socket lies beside it, and the path of a unix socket is soon too long.
        path = self.folder / f"{name}.{organisation.partition('.')[0]}.toml"
        if not (self.folder / f"{name}.{organisation}").exists():
            self.pki.issue(organisation, name)
        files = self.folder / f"{name}.{organisation}"
        given = Files(files / f"{name}.pem", files / f"{name}.key", self.pki.trust, self.pki.crl)
        node_table: Mapping[str, Any] = {"workers": 2, **tables.pop("node_table", {})}
        return write_config(path, given, organisation, name, node_table=node_table, **tables)

    async def start(self, organisation: str, name: str, **tables: Any) -> Running:
        path = self.write(organisation, name, **tables)
        sink = io.StringIO()
        node = make_node(config.load(path), fake_core, Log("debug", sink))
        running = Running(node, sink)
        self.running.append(running)
        await node.start()
        return running

    async def stop(self) -> None:
        for running in self.running:
            if not running.core._stopped:
                await running.node.stop()
            if running.node.state is not None:
                # The process would end here, and the lock with it.
                running.node.state.close()
        assert not _locks_below(self.folder), "a node that is none of these has its folder of state still"


def _locks_below(folder: Path) -> list[Path]:
    """The locks of folders of state that this process has, of a realm's nodes."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that of this very look
            found.append(descriptor.readlink())
    return [path for path in found if path.name == LOCK and path.is_relative_to(folder)]


def without_feature(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the nodes that start from now on be of a version that does not know a feature of links."""
    monkeypatch.setattr(handshake, "LINK_FEATURES", tuple(each for each in handshake.LINK_FEATURES if each != name))


def export(allow: str = MET) -> dict[str, object]:
    return {"service": "custody", "target": "127.0.0.1:5432", "allow": [allow]}


def entry() -> dict[str, object]:
    return {"service": f"custody@{KENT}", "listen": f"127.0.0.1:{free_port()}"}


def is_live(running: Running) -> bool:
    return running.imports() == [fake_core.IMPORT_LIVE]


async def relays(nodes: Nodes, count: int) -> list[tuple[Running, int]]:
    """So many relays, each linked to the one before."""
    made: list[tuple[Running, int]] = []
    for number in range(1, count + 1):
        port = free_port()
        links = [{"peer": f"relay-{number - 1}.{HUB}", "address": f"127.0.0.1:{made[-1][1]}"}] if made else []
        running = await nodes.start(HUB, f"relay-{number}", role="relay", listens=[f"127.0.0.1:{port}"], links=links)
        made.append((running, port))
    return made


def dial(number: int, port: int) -> dict[str, object]:
    return {"peer": f"relay-{number}.{HUB}", "address": f"127.0.0.1:{port}"}


async def two_ways(nodes: Nodes) -> tuple[list[tuple[Running, int]], Running, Running]:
    made = await relays(nodes, 2)
    links = [dial(number, port) for number, (_, port) in enumerate(made, 1)]
    kent = await nodes.start(KENT, "kent-1", links=links, exports=[export()])
    met = await nodes.start(MET, "met-1", links=links, imports=[entry()])
    await until(lambda: is_live(met))
    await until(lambda: all(len(list(edge.node.link_table.usable())) == 2 for edge in (kent, met)))
    await until(lambda: len(met.node.exchange.catalogue.ways(kent.node.config.node.id)) == 2)
    return made, kent, met


def told_that_its_way_is_lost(kent: Running) -> None:
    """The relay tells the far edge that its lane to the Met is silent, which the Met has not noticed."""
    (session,) = kent.edge.sessions
    assert session.path is not None
    kent.core.emit(fake_core.EVENT_SESSION_STALLED, session.number, 0, Code.UNREACHABLE, session.path.in_label)


def link_to(running: Running, peer: str) -> Link:
    return next(link for link in running.node.link_table.links.values() if link.peer.dotted == peer)
