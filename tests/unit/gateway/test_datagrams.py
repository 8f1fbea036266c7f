"""Services of datagrams at whole nodes with the fake core: what is offered, opened, told and handed over."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pcgrelay.admin.status import ServiceStatus
from pcgrelay.daemon.reload import Reloader
from pcgrelay.errors import RunError
from pcgrelay.identity import handshake
from pcgrelay.log.writer import Log
from pcgrelay.messages import Code
from pcgrelay.model import Transport
from pcgrelay.views.explain import explain
from pcgrelay.views.status import node_status
from tests.support import fake_core
from tests.support.nodes_in_process import KENT, MET, Nodes, Running, dial, is_live, relays
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

DNS = f"dns@{KENT}"


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


class Realm:
    """Kent's edge with a name server and the Met's, over one relay."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.port = free_port()
        self.export: dict[str, Any] = {"service": "dns", "protocol": "udp", "target": "127.0.0.1:53", "allow": [MET]}
        self.entry: dict[str, Any] = {"service": DNS, "protocol": "udp", "listen": f"127.0.0.1:{self.port}"}

    async def start(self, policy: dict[str, object] | None = None, **tables: Any) -> None:
        ((_, port),) = await relays(self.nodes, 1)
        common: dict[str, Any] = {"links": [dial(1, port)], "policy": policy or {}, **tables}
        self.common = common
        self.kent = await self.nodes.start(KENT, "kent-1", exports=[self.export], **common)
        self.met = await self.nodes.start(MET, "met-1", imports=[self.entry], **common)

    async def reload(self, running: Running, organisation: str, **tables: Any) -> None:
        self.nodes.write(organisation, running.node.config.node.id.name, **{**self.common, **tables})
        answer = await Reloader(running.node, Log("debug", running.sink), lambda text: None).reload()
        assert answer.ok, answer

    def service(self) -> ServiceStatus:
        (service,) = node_status(self.met.node).services
        return service


@pytest.fixture
async def realm(nodes: Nodes) -> Realm:
    realm = Realm(nodes)
    await realm.start()
    await until(lambda: is_live(realm.met))
    return realm


def sockets_of(running: Running) -> list[tuple[int, int]]:
    """The kind and port of each socket of the one import."""
    (fds,) = running.core.listeners.values()
    found = []
    for fd in fds:
        with socket.socket(fileno=os.dup(fd)) as sock:
            found.append((int(sock.type), sock.getsockname()[1]))
    return found


async def test_an_import_comes_up_with_a_socket_of_datagrams(realm: Realm) -> None:
    assert set(sockets_of(realm.met)) == {(socket.SOCK_DGRAM, realm.port)}
    # There is an access log, which has a line for each association but for those that make room for others.
    assert realm.met.node.plane.tells_each_end
    assert not realm.met.node.plane.tells_limits
    (row,) = realm.met.core.published["imports"]
    assert row[7] == (120_000, 300_000, 200, 4_096, 256, 400, ())
    (exported,) = realm.kent.core.published["exports"]
    assert exported[9] == (10_000, 10_000, 200)
    # Its row bounds associations, and a bound of streams would do it twice.
    assert list(realm.met.core.bounds_set["imports"].values()) == [[0, 0, 0, 0, 0, 0]]
    (newest,) = realm.met.node.exchange.catalogue.newest(realm.kent.node.config.node.id).offers  # type: ignore[union-attr]
    assert newest.transport == Transport.DATAGRAM


async def test_status_and_explain_say_what_it_is(realm: Realm) -> None:
    assert (realm.service().protocol, realm.service().state) == ("udp", "ready")
    answer = explain(realm.met.node, DNS)
    assert (answer.protocol, answer.open) == ("udp", True)
    assert "at most 4,096 associations" in answer.datagrams
    assert explain(realm.kent.node, "dns").datagrams.startswith("an association ends after 10 s")


async def test_an_association_that_ends_is_in_the_log_and_in_the_status(realm: Realm) -> None:
    (number,) = realm.met.core.listeners
    session = next(iter(realm.met.core.session_table))
    dropped = (1, 0, 0, 0, 0, 0, 0, 0)
    realm.met.core.emit(
        fake_core.EVENT_STREAM_END, True, number, session, b"dns", 90, 400, 10_000, Code.DONE, "done", 0xFFFF, False,
        (0, 0, 0, True, 0, 7, 0, 1, 300, "udp", 3, 2, dropped),
    )  # fmt: skip
    await until(lambda: realm.met.lines("stream.end"))
    (line,) = realm.met.lines("stream.end")
    assert (line["protocol"], line["sent_datagrams"], line["received_datagrams"]) == ("udp", 3, 2)
    assert line["dropped"] == {"queue": 1}
    found = realm.service()
    assert (found.sent_datagrams, found.received_datagrams, found.dropped) == (3, 2, {"queue": 1})


async def test_associations_that_make_room_for_others_are_told_in_one(nodes: Nodes) -> None:
    realm = Realm(nodes)
    await realm.start(log={"access": False})
    await until(lambda: is_live(realm.met))
    assert not realm.met.node.plane.tells_limits
    (number,) = realm.met.core.listeners
    session = next(iter(realm.met.core.session_table))
    ended = (True, number, session, 1_000, 0, (8_000, 0, 0, 0, [0] * 40, [0] * 40, 1_000, 0, (0,) * 8), 0, b"dns", b"")
    realm.met.core.emit(fake_core.EVENT_STREAMS_DONE, *ended, "udp", Code.LIMIT, "limit", False, False)
    await until(lambda: realm.met.lines("service.full"))
    (line,) = realm.met.lines("service.full")
    assert (line["service"], line["limit"]) == (DNS, "limit")
    found = realm.service()
    assert (found.refused_total, found.sent_datagrams) == (1_000, 1_000)
    # Those that were answered made room as well, which a resolver has them do all the time.
    realm.met.core.emit(fake_core.EVENT_STREAMS_DONE, *ended, "udp", Code.LIMIT, "limit", False, True)
    await until(lambda: realm.service().opened_total == 1_000)
    assert len(realm.met.lines("service.full")) == 1
    realm.met.edge.stream_ends.tick()
    assert realm.met.lines("stream.evicted") == []


async def test_the_access_log_has_one_line_for_those_that_made_room(realm: Realm) -> None:
    (number,) = realm.met.core.listeners
    session = next(iter(realm.met.core.session_table))
    for count, cause, remote in ((1_000, "limit", False), (500, "limit", False), (7, "far-reset", True)):
        sums = (8 * count, 0, 0, 0, [0] * 40, [0] * 40, count, 2, (1, 0, 0, 0, 0, 0, 0, 0))
        ended = (True, number, session, count, 0, sums, 0, b"dns", b"", "udp", Code.LIMIT, cause, remote, False)
        realm.met.core.emit(fake_core.EVENT_STREAMS_DONE, *ended)
    await until(lambda: realm.service().refused_total == 1_507)
    realm.met.edge.stream_ends.tick()
    lines = realm.met.lines("stream.evicted")
    assert sum(line["streams"] for line in lines) == 1_507
    assert sum(line["sent_bytes"] for line in lines) == 8 * 1_507
    assert {(line["service"], line["direction"], line["session"], line["code"]) for line in lines} == {
        (DNS, "import", session, "limit")
    }
    assert {(line["cause"], line.get("remote", False)) for line in lines} == {("limit", False), ("far-reset", True)}
    assert sum(line["received_datagrams"] for line in lines) == 6
    assert sum(line["dropped"]["queue"] for line in lines) == 3
    # Each second has lines of its own.
    realm.met.edge.stream_ends.tick()
    assert realm.met.lines("stream.evicted") == lines


async def test_another_protocol_at_the_importer_is_told_and_mended_by_a_reload(realm: Realm) -> None:
    stream = {"service": DNS, "listen": realm.entry["listen"]}
    await realm.reload(realm.met, MET, imports=[stream])
    assert realm.met.imports() == [fake_core.IMPORT_DOWN]
    assert "offers it as datagrams (udp), and protocol is tcp here" in realm.service().reason
    verdict = explain(realm.met.node, DNS)
    assert "protocol is tcp here" in verdict.verdict
    assert verdict.ways == ()
    assert {kind for kind, _ in sockets_of(realm.met)} == {socket.SOCK_STREAM}
    await until(lambda: [line["cause"] for line in realm.met.lines("import.unavailable")] == ["transport"])
    await realm.reload(realm.met, MET, imports=[realm.entry])
    await until(lambda: is_live(realm.met))
    assert realm.service().protocol == "udp"


async def test_another_protocol_at_the_exporter_takes_the_import_down(realm: Realm) -> None:
    stream = {key: value for key, value in realm.export.items() if key != "protocol"}
    await realm.reload(realm.kent, KENT, exports=[stream])
    await until(lambda: realm.met.imports() == [fake_core.IMPORT_DOWN])
    assert "as a stream (tcp)" in realm.service().reason


async def test_a_session_of_an_older_version_is_no_route_until_it_is_renewed(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A far edge that was upgraded in its place has sessions of before, whose ends did not list the feature."""
    realm = Realm(nodes)
    with monkeypatch.context() as older:
        older.setattr(handshake, "SESSION_FEATURES", (handshake.SESSION_CLASS,))
        await realm.start({"renewal_interval_s": 2})
        await until(lambda: [line["cause"] for line in realm.met.lines("import.unavailable")] == ["no-datagrams"], 15)
        assert realm.met.imports() == [fake_core.IMPORT_DOWN]
        assert "carries no datagrams" in realm.service().reason
    await until(lambda: is_live(realm.met), 15)


async def test_a_stream_goes_over_a_session_that_carries_no_datagrams(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "SESSION_FEATURES", (handshake.SESSION_CLASS,))
    realm = Realm(nodes)
    realm.export.pop("protocol")
    realm.entry.pop("protocol")
    await realm.start()
    await until(lambda: is_live(realm.met))
    # Nor does that far edge say that it acknowledges sooner.
    assert [session.ack_bytes for session in realm.met.core.session_table.values()] == [262_144]


async def test_a_port_that_another_program_has_is_an_error_and_changes_nothing(realm: Realm) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        realm.nodes.write(MET, "met-1", imports=[{**realm.entry, "listen": taken}], **realm.common)
        answer = await Reloader(realm.met.node, Log("debug", realm.met.sink), lambda text: None).reload()
    assert not answer.ok
    assert f"{taken}, for {DNS}: nothing can listen there" in answer.reason
    assert {port for _, port in sockets_of(realm.met)} == {realm.port}


async def test_the_same_port_of_tcp_is_another_one(realm: Realm) -> None:
    stream = {"service": f"dns-tcp@{KENT}", "listen": realm.entry["listen"]}
    await realm.reload(realm.met, MET, imports=[realm.entry, stream])
    assert len(realm.met.core.listeners) == 2


async def test_a_hand_over_says_of_what_kind_a_listener_is(realm: Realm) -> None:
    (record,) = realm.met.edge.services.imports_handover()
    assert (record.protocol, record.is_open) == ("udp", True)
    services = realm.met.edge.services
    services.imports = []
    services.expect([record])
    (expected,) = services.imports
    assert expected.settings.listen.transport is Transport.DATAGRAM
    (session,) = realm.met.edge.sessions
    assert handshake.DATAGRAMS in session.to_handover().features
    assert type(session).restored(session.to_handover()).carries_datagrams


async def test_as_many_workers_read_as_each_session_has_flows(realm: Realm) -> None:
    """The Met has two workers, and so a flow for each; a socket that is there stays where it is."""
    (before,) = realm.met.core.listeners.values()
    first = before[0]
    await until(lambda: len(before) == 2)
    assert before[0] == first
    assert sockets_of(realm.met) == 2 * [(socket.SOCK_DGRAM, realm.port)]
    assert realm.met.core.datagram_workers == [0, 1]
    (record,) = realm.met.edge.services.imports_handover()
    assert record.workers == 2


async def test_a_drain_begins_no_association_and_waits_for_none(realm: Realm, monkeypatch: pytest.MonkeyPatch) -> None:
    (number,) = realm.met.core.listeners
    realm.met.node.drain_begin(1_000)
    await until(lambda: realm.met.imports() == [fake_core.IMPORT_DOWN])
    # What is open goes on by the socket that it came by.
    assert {port for _, port in sockets_of(realm.met)} == {realm.port}
    realm.met.core.streams_open = 2
    assert realm.met.edge.is_busy()
    monkeypatch.setattr(realm.met.core, "services", lambda: {"imports": {number: 2}, "exports": {}})
    assert not realm.met.edge.is_busy()
    await realm.met.node.drain_undo()
    await until(lambda: is_live(realm.met))


async def test_a_start_without_the_port_ends_with_a_sentence(nodes: Nodes) -> None:
    realm = Realm(nodes)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", realm.port))
        with pytest.raises(RunError, match="nothing can listen there"):
            await realm.start()
