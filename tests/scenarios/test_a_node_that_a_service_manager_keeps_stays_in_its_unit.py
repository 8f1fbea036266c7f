"""An upgrade from outside of the unit would leave a node that the service manager neither sees nor stops nor reloads.

Here the service manager is a socket that listens, and outside is another namespace of processes. A real one has a
scenario of its own.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.scenarios.kit.echo_witness import received
from tests.scenarios.kit.nodes import HOST, PCGRELAY, Node, Stage
from tests.scenarios.kit.reload_setup import Scene, applications, scene
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

OUTSIDE = ("unshare", "--pid", "--fork")
UPGRADE = ("upgrade",)
WAYS = (UPGRADE, ("run", "--take-over"))


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path) as made:
        yield made


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Node]:
    """One that has no neighbour, and does not run yet."""
    with Stage(tmp_path) as stage:
        yield stage.relay("relay-1", listens=[f"{HOST}:{free_port()}"])


class ServiceManager:
    """What a node tells, by the process that told it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._sock.bind(str(path))
        self.heard: list[tuple[int, str]] = []

    def listen(self) -> list[tuple[int, str]]:
        while True:
            try:
                data, ancillary, _, _ = self._sock.recvmsg(4_096, 64, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return self.heard
            self.heard.append((int.from_bytes(ancillary[0][2][:4], "little"), data.decode()))

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    with closing(ServiceManager(tmp_path / "notify")) as made:
        yield made


def outside(node: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*OUTSIDE, PCGRELAY, *arguments, "-c", node.config]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def refused(node: Node, *ways: tuple[str, ...]) -> None:
    pid, since = node.pid, node.moment()
    for arguments in ways:
        done = outside(node, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert "this node is kept by " in done.stderr
        assert "systemctl reload " in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert "this node is kept by " in node.await_log("handover.failed", after=since)["reason"]
    assert (node.pid, node.running) == (pid, True)


@pytest.mark.tier_all
def test_from_outside_it_is_refused_and_from_within_the_manager_is_told(realm: Scene, manager: ServiceManager) -> None:
    node = realm.met
    node.stop()
    node.environment["NOTIFY_SOCKET"] = str(manager.path)
    node.start()
    until(lambda: manager.listen() == [(node.pid, "READY=1")])
    realm.stage.await_well()
    with socket.create_connection(realm.door, 10) as sock, applications(realm.door, 2):
        sock.settimeout(10)
        refused(node, *WAYS)
        # Twice: what the first process knows of its manager is no word of the command's environment.
        for _ in range(2):
            old = node.pid
            manager.heard.clear()
            assert node.upgrade().returncode == 0
            wanted = {(old, f"MAINPID={node.pid}"), (node.pid, "READY=1")}
            until(lambda wanted=wanted: wanted <= set(manager.listen()), what="the manager is told")
            refused(node, UPGRADE)
        sock.sendall(b"after!")
        assert received(sock, 6) == b"after!"
    node.stop()
    until(lambda: (node.pid, "STOPPING=1") in manager.listen())


def test_one_that_was_executed_by_a_manager_knows_it_without_a_socket(relay: Node) -> None:
    relay.prefix = ("sh", "-c", 'SYSTEMD_EXEC_PID=$$ exec "$@"', "sh")
    relay.start()
    refused(relay, *WAYS)


@pytest.mark.parametrize(
    ("started", "asked", "milliseconds"),
    [((), (), 30_000), (("--drain", "7"), (), 7_000), (("--drain", "7"), ("--drain", "3"), 3_000)],
)
def test_it_drains_as_the_process_before(
    relay: Node, started: tuple[str, ...], asked: tuple[str, ...], milliseconds: int
) -> None:
    relay.start(*started)
    assert relay.upgrade(*asked).returncode == 0
    assert relay.upgrade().returncode == 0
    os.kill(relay.pid, signal.SIGTERM)
    assert relay.await_log("node.draining")["milliseconds"] == milliseconds
