"""Nodes of an earlier commit serve beside nodes of this code, whichever of them is which: for a day of a roll-out.

Nobody is upgraded here (that is another scenario): each node starts as the version that it is, and stays it.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.scenarios.kit.cut_over import Client, Moving, await_phase, moving
from tests.scenarios.kit.earlier import ROOT, built, runs
from tests.scenarios.kit.echo_witness import Echo, received
from tests.scenarios.kit.nodes import Address, Stage
from tests.scenarios.kit.reload_setup import Scene, applications, reload
from tests.support.waiting import until

pytestmark = [pytest.mark.tier_upgrade, pytest.mark.timeout(240)]

OLD = {
    "the relay": {"relay-1"},
    "the edge that offers": {"kent-1"},
    "the edge that uses": {"met-1"},
    "both edges": {"kent-1", "met-1"},
}
BULK = bytes(range(256)) * 4096
ROUNDS = 20


@pytest.fixture(scope="module")
def earlier(request: pytest.FixtureRequest) -> Path:
    return built(request.config)


def age(scene: Scene, names: set[str], earlier: Path) -> None:
    """Have these nodes be of the earlier version."""
    for node in scene.nodes:
        if node.name in names:
            node.environment = {"PYTHONPATH": str(earlier / "src")}


def assert_ages(scene: Scene, names: set[str], earlier: Path) -> None:
    for node in scene.nodes:
        assert runs(node, earlier if node.name in names else ROOT)


def whole(door: Address) -> None:
    """A stream carries a MiB there and back, and each direction ends when its sender has said all."""
    with socket.create_connection(door, 20) as sock:
        sock.settimeout(20)
        sent = 0
        while sent < len(BULK):
            sock.sendall(BULK[sent : sent + 65_536])
            assert received(sock, 65_536) == BULK[sent : sent + 65_536]
            sent += 65_536
        sock.sendall(b"last")
        sock.shutdown(socket.SHUT_WR)
        assert received(sock, 4) == b"last"
        assert sock.recv(1) == b""


@pytest.mark.parametrize("old", OLD)
def test_streams_are_whole_and_end(tmp_path: Path, earlier: Path, old: str) -> None:
    with Stage(tmp_path) as stage:
        scene = Scene(stage, 1)
        age(scene, OLD[old], earlier)
        stage.start()
        stage.await_well()
        assert_ages(scene, OLD[old], earlier)
        with Echo(scene.target):
            with applications(scene.door, 4):
                for _ in range(ROUNDS):
                    whole(scene.door)
                for node in scene.nodes:
                    assert reload(node).ok
            until(lambda: not any(node.status().streams.active for node in (scene.kent, scene.met)), 20, "all ended")
        for node in scene.nodes:
            for event in ("link.down", "link.refused", "session.down"):
                assert not node.log(event), node.log(event)


@pytest.mark.parametrize("old", ["the relay", "the edge that offers"])
def test_a_service_is_moved_over_an_earlier_version(tmp_path: Path, earlier: Path, old: str) -> None:
    def before(made: Moving) -> None:
        age(made.scene, OLD[old], earlier)

    with moving(tmp_path, before=before) as made, Client(made.door) as client:
        assert_ages(made.scene, OLD[old], earlier)
        made.start()
        await_phase(made, "arrived", 60)
        until(lambda: client.answers[b"new "] > ROUNDS, 20, "all are on the gateway")
    assert client.faults == []
