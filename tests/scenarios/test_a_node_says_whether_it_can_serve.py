"""A node that loses one of two ways serves on and says what needs attention; one that loses both says that it fails."""

from __future__ import annotations

import http.client
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pairs import Pair, paired
from stage import PCGRELAY, Node, until


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with paired(tmp_path) as made:
        yield made


def readiness(node: Node) -> tuple[int, str]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(node.admin))
        sock.sendall(b"GET /readyz HTTP/1.1\r\nHost: node\r\n\r\n")
        response = http.client.HTTPResponse(sock)
        response.begin()
        return response.status, response.read().decode()


def status(node: Node) -> tuple[int, str]:
    told = subprocess.run([PCGRELAY, "status", "-c", node.config], capture_output=True, text=True, check=False)
    assert told.stderr == ""
    return told.returncode, told.stdout


def test_a_node_says_whether_it_can_serve(pair: Pair) -> None:
    edges = (pair.met, pair.kent)
    for edge in edges:
        until(lambda edge=edge: status(edge)[0] == 0, 10, f"{edge} is ready")
        assert readiness(edge) == (200, "ok\n")
    lost = pair.used()
    lost.kill()
    for edge in edges:
        until(lambda edge=edge: status(edge)[0] == 4, 10, f"{edge} is degraded")
        code, text = readiness(edge)
        assert (code, text.splitlines()[0]) == (200, "degraded")
        told = status(edge)[1]
        assert ", degraded, up for" in told
        assert f"! The link to {lost.dotted} over internet is " in told
        assert edge.metrics()["ready"] == edge.metrics()["degraded"] == 1
    next(relay for relay in pair.relays if relay is not lost).kill()
    for edge in edges:
        until(lambda edge=edge: status(edge)[0] == 3, 10, f"{edge} fails")
        code, text = readiness(edge)
        assert (code, text.splitlines()[0]) == (503, "failing")
        assert edge.metrics()["ready"] == edge.metrics()["degraded"] == 0
    for relay in pair.relays:
        relay.start()
    for edge in edges:
        until(lambda edge=edge: status(edge)[0] == 0, 30, f"{edge} is ready again")
