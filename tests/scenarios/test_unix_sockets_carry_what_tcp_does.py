"""Imports that listen on unix sockets, and targets that do: with the rights of files in place of addresses."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.scenarios.kit.nodes import HOST, KENT, Node
from tests.scenarios.kit.real_programs import postgresql, run
from tests.scenarios.kit.socket_steps import read_exactly
from tests.scenarios.kit.two_edges import Pair, await_streams, pair, unix_client, unix_server
from tests.support.ports import free_port

pytestmark = pytest.mark.tier_test
BULK = 3_000_000


def entry(service: str, path: Path, **keys: object) -> dict[str, object]:
    return {"service": f"{service}@{KENT}", "listen": f"unix:{path}", **keys}


def reloaded(node: Node) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pcgrelay.cli", "reload", "-c", str(node.config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_psql_over_a_unix_socket_import(tmp_path: Path) -> None:
    address = (HOST, free_port())
    # Where psql looks for the socket of the default port.
    door = tmp_path / ".s.PGSQL.5432"
    exports = [{"service": "sql", "target": f"{HOST}:{address[1]}"}]
    with postgresql(address) as user, pair(tmp_path, exports, [entry("sql", door)]):
        assert stat.S_IMODE(door.stat().st_mode) == 0o600
        psql = ["psql", "-X", "-q", "-h", str(tmp_path), "-p", "5432", "-U", user, "-d", "postgres"]
        assert run(*psql, "-Atc", "select 6 * 7") == "42\n"
        rows = run(*psql, "-Atc", "select n from generate_series(1, 200000) n")
        assert rows.splitlines()[-1] == "200000"


def test_both_ways_and_each_half_ends_by_itself(tmp_path: Path) -> None:
    door, target = tmp_path / "door.sock", tmp_path / "target.sock"
    exports = [{"service": "echo", "target": f"unix:{target}", "probe": "connect", "probe_interval_ms": 200}]
    with unix_server(target) as server, pair(tmp_path, exports, [entry("echo", door)]), unix_client(door) as client:
        far = accepted_stream(server)
        with far:
            data = os.urandom(BULK)
            sender = threading.Thread(target=send_all, args=(client, data))
            sender.start()
            assert read_to_end(far) == data
            sender.join()
            far.sendall(b"an answer after the end")
            far.shutdown(socket.SHUT_WR)
            assert read_to_end(client) == b"an answer after the end"


def send_all(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def accepted_stream(server: socket.socket) -> socket.socket:
    """The next connection that is no probe: a probe ends at once."""
    while True:
        sock, _ = server.accept()
        sock.settimeout(0.3)
        try:
            if sock.recv(1, socket.MSG_PEEK) == b"":
                sock.close()
                continue
        except TimeoutError:
            pass
        sock.settimeout(10.0)
        return sock


def read_to_end(sock: socket.socket) -> bytes:
    data = bytearray()
    while piece := sock.recv(1 << 20):
        data += piece
    return bytes(data)


def test_what_a_server_says_before_it_closes_at_once_arrives(tmp_path: Path) -> None:
    door, target = tmp_path / "door.sock", tmp_path / "target.sock"
    with (
        unix_server(target) as server,
        pair(tmp_path, [{"service": "echo", "target": f"unix:{target}"}], [entry("echo", door)]) as edges,
    ):
        for number in range(20):
            with unix_client(door) as client:
                far, _ = server.accept()
                far.sendall(b"good bye %d" % number)
                far.close()
                assert read_to_end(client) == b"good bye %d" % number
        await_streams(edges.exporter, 0)


def test_a_target_that_is_away_is_refused_and_one_that_is_crowded_is_waited_for(tmp_path: Path) -> None:
    door, target = tmp_path / "door.sock", tmp_path / "target.sock"
    exports = [{"service": "echo", "target": f"unix:{target}", "connect_timeout_ms": 5_000}]
    with pair(tmp_path, exports, [entry("echo", door)]) as edges:
        with unix_client(door) as client:
            # A unix socket knows no reset.
            assert client.recv(1) == b""
        edges.exporter.await_log("stream.refused", cause="target-refused")
        with unix_server(target, backlog=0) as server:
            clients = [unix_client(door) for _ in range(6)]
            for client in clients:
                client.sendall(b"here")
            served = [server.accept()[0] for _ in clients]
            for far in served:
                far.settimeout(10.0)
                assert read_exactly(far, 4) == b"here"
            for sock in [*clients, *served]:
                sock.close()


def test_a_reload_changes_rights_and_takes_the_socket_away(tmp_path: Path) -> None:
    door, target = tmp_path / "door.sock", tmp_path / "target.sock"
    exports = [{"service": "echo", "target": f"unix:{target}"}]
    with unix_server(target) as server, pair(tmp_path, exports, [entry("echo", door)]) as edges:
        client = unix_client(door)
        far = accepted_stream(server)
        edges.write_importer([entry("echo", door, mode="0660", group="root")])
        assert reloaded(edges.importer).returncode == 0
        assert stat.S_IMODE(door.stat().st_mode) == 0o660
        # The stream of before goes on, and a new one comes by the new socket.
        client.sendall(b"still")
        assert read_exactly(far, 5) == b"still"
        with unix_client(door) as fresh, accepted_stream(server) as beside:
            fresh.sendall(b"new")
            assert read_exactly(beside, 3) == b"new"
        edges.write_importer([entry("echo", tmp_path / "other.sock")])
        assert reloaded(edges.importer).returncode == 0
        assert not door.exists()
        assert (tmp_path / "other.sock").is_socket()
        # What is there and is no socket is refused, and nothing changes.
        (tmp_path / "file").write_text("")
        edges.write_importer([entry("echo", tmp_path / "file")])
        answer = reloaded(edges.importer)
        assert answer.returncode == 78
        assert "is no socket; move it away or choose another path" in answer.stderr
        assert (tmp_path / "other.sock").is_socket()
        assert not (tmp_path / "file.next").exists()
        client.sendall(b"on")
        assert read_exactly(far, 2) == b"on"
        client.close()
        far.close()
        edges.importer.stop()
        assert not (tmp_path / "other.sock").exists()


def test_a_socket_of_a_dead_process_is_replaced_and_one_that_answers_is_not(tmp_path: Path) -> None:
    door, target = tmp_path / "door.sock", tmp_path / "target.sock"
    exports = [{"service": "echo", "target": f"unix:{target}"}]
    with unix_server(target) as server, pair(tmp_path, exports, [entry("echo", door)]) as edges:
        edges.importer.kill()
        assert door.is_socket()
        edges.importer.start()
        edges.stage.await_well()
        with unix_client(door):
            accepted_stream(server).close()
        edges.importer.stop()
        with unix_server(door):
            command = [sys.executable, "-m", "pcgrelay.cli", "run", "-c", str(edges.importer.config)]
            refused = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert refused.returncode == 1
        assert "another program answers on this socket" in refused.stderr


def test_an_upgrade_hands_the_sockets_over(tmp_path: Path) -> None:
    door, target = tmp_path / "door.sock", tmp_path / "target.sock"
    exports = [{"service": "echo", "target": f"unix:{target}"}]
    with unix_server(target) as server, pair(tmp_path, exports, [entry("echo", door, mode="0660")]) as edges:
        assert isinstance(edges, Pair)
        client = unix_client(door)
        far = accepted_stream(server)
        file = door.stat().st_ino
        for node in (edges.importer, edges.exporter):
            assert node.upgrade().returncode == 0
        assert door.stat().st_ino == file
        client.sendall(b"through")
        assert read_exactly(far, 7) == b"through"
        with unix_client(door) as fresh, accepted_stream(server) as beside:
            beside.sendall(b"new")
            assert read_exactly(fresh, 3) == b"new"
        client.close()
        far.close()
        edges.importer.stop()
        assert not door.exists()
