"""PROXY protocol, version 2: a target learns the calling node, its organisation and the id of the stream."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from proxyprotocol.v2 import ProxyProtocolV2

from pcgrelay.net.proxy_protocol import LOCAL_HEADER, SIGNATURE
from tests.scenarios.kit.nodes import HOST, KENT, MET, Address
from tests.scenarios.kit.real_programs import program, run, running
from tests.scenarios.kit.socket_steps import accepted, bind_listener, connect, read_exactly
from tests.scenarios.kit.two_edges import pair, unix_client, unix_server
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test
CALLER = f"spiffe://police.example/org/{MET}/node/met-1"


def service(target: str, **keys: object) -> dict[str, object]:
    return {"service": "told", "target": target, "proxy": "v2", **keys}


def entry(door: Address) -> dict[str, object]:
    return {"service": f"told@{KENT}", "listen": f"{door[0]}:{door[1]}"}


def header_of(sock: socket.socket) -> bytes:
    head = read_exactly(sock, 16)
    assert head[:12] == SIGNATURE
    return head + read_exactly(sock, struct.unpack("!H", head[14:])[0])


def tlvs(block: bytes) -> dict[int, bytes]:
    found = {}
    while block:
        kind, length = struct.unpack("!BH", block[:3])
        found[kind] = block[3 : 3 + length]
        block = block[3 + length :]
    return found


def test_the_header_stands_before_the_first_byte(tmp_path: Path) -> None:
    door, target = (HOST, free_port()), (HOST, free_port())
    exports = [service(f"{HOST}:{target[1]}")]
    with bind_listener(target) as server, pair(tmp_path, exports, [entry(door)]) as edges:
        with connect(door) as client:
            client.sendall(b"early")
            with accepted(server) as far:
                header = header_of(far)
                assert read_exactly(far, 5) == b"early"
                edge = far.getpeername()
        end = edges.exporter.await_log("stream.end", received_bytes=5)
        assert edges.importer.await_log("stream.end", sent_bytes=5)["id"] == end["id"]
        assert header[12:14] == bytes((0x21, 0x11))
        assert header[16:28] == socket.inet_aton(edge[0]) + socket.inet_aton(HOST) + struct.pack(
            "!HH", edge[1], target[1]
        )
        told = tlvs(header[28:])
        assert told == {0xE0: CALLER.encode(), 0xE1: MET.encode(), 5: end["id"].encode()}
        # Another reader of the same specification.
        result = ProxyProtocolV2().unpack(header)
        assert result.tlv.unique_id == end["id"].encode()
        assert (str(result.source[0]), result.source[1]) == edge


@pytest.mark.parametrize("kind", ["tcp", pytest.param("unix", marks=pytest.mark.tier_all)])
def test_haproxy_reads_it(tmp_path: Path, kind: str) -> None:
    door, target = (HOST, free_port()), (HOST, free_port())
    where = f"{HOST}:{target[1]}" if kind == "tcp" else f"unix:{tmp_path}/haproxy.sock"
    with haproxy(tmp_path, target), pair(tmp_path, [service(where)], [entry(door)]) as edges:
        # curl's connection ends with its answer.
        said = run("curl", "-sS", "--max-time", "10", f"http://{door[0]}:{door[1]}/")
        name, source = said.split()
        assert source == HOST
        assert edges.exporter.await_log("stream.end")["id"] == name


@contextmanager
def haproxy(folder: Path, address: Address) -> Iterator[None]:
    config = folder / "haproxy.cfg"
    config.write_text(
        f"""defaults
  mode http
  timeout client 10s
frontend told
  bind {address[0]}:{address[1]} accept-proxy
  bind unix@{folder}/haproxy.sock accept-proxy
  http-after-response set-header connection close
  http-request return status 200 content-type text/plain lf-string "%[fc_pp_unique_id] %[src]"
"""
    )
    with running([program("haproxy"), "-f", str(config)], folder / "haproxy.log", address):
        yield


def test_a_unix_target_is_told_with_those_of_loopback(tmp_path: Path) -> None:
    door, target = tmp_path / "door.sock", tmp_path / "target.sock"
    imports = [{"service": f"told@{KENT}", "listen": f"unix:{door}"}]
    with unix_server(target) as server, pair(tmp_path, [service(f"unix:{target}")], imports), unix_client(door):
        far, _ = server.accept()
        with far:
            far.settimeout(10.0)
            header = header_of(far)
    # haproxy refuses a header without addresses, so those of loopback stand for them.
    assert header[12:28] == bytes((0x21, 0x11)) + header[14:16] + 2 * socket.inet_aton(HOST) + bytes(4)
    assert tlvs(header[28:])[0xE0] == CALLER.encode()


def test_only_a_target_that_speaks_it_is_probed_with_it(tmp_path: Path) -> None:
    told, plain, doors = (HOST, free_port()), (HOST, free_port()), [(HOST, free_port()) for _ in range(2)]
    exports = [
        service(f"{HOST}:{told[1]}", probe="connect", probe_interval_ms=200),
        {"service": "plain", "target": f"{HOST}:{plain[1]}", "probe": "connect", "probe_interval_ms": 200},
    ]
    imports = [entry(doors[0]), {"service": f"plain@{KENT}", "listen": f"{HOST}:{doors[1][1]}"}]
    with bind_listener(told) as first, bind_listener(plain) as second, pair(tmp_path, exports, imports):
        with accepted(first) as probe:
            assert probe.recv(100) == LOCAL_HEADER
            assert probe.recv(1) == b""
        with accepted(second) as probe:
            assert probe.recv(1) == b""


def test_an_upgrade_keeps_the_name_of_the_caller(tmp_path: Path) -> None:
    door, target = (HOST, free_port()), (HOST, free_port())
    exports = [service(f"{HOST}:{target[1]}")]
    with bind_listener(target) as server, pair(tmp_path, exports, [entry(door)]) as edges:
        assert edges.exporter.upgrade().returncode == 0
        with connect(door), accepted(server) as far:
            told = tlvs(header_of(far)[28:])
        until(lambda: edges.exporter.log("stream.end"), 10, "the stream has ended")
        assert told[0xE0] == CALLER.encode()
        assert told[5].decode() == edges.exporter.log("stream.end")[0]["id"]
        assert edges.importer.await_log("stream.end")["id"] == told[5].decode()
