"""`pcgrelay drain`: sessions move with their streams, nothing new comes, and the node says when it is empty."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scenarios.kit.echo_witness import received
from tests.scenarios.kit.reload_setup import Scene, applications, command, is_open, scene
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

# A move is a turn of the neighbours' control planes, on a machine that may be crowded.
UNDISTURBED_S = 1.0


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path, relays=2) as made:
        yield made


def test_a_drained_relay_loses_nothing_and_can_be_stopped(realm: Scene, figure: Callable[[str], None]) -> None:
    with applications(realm.door, 4) as witnesses:
        relay = realm.relay_used()
        began = time.monotonic()
        done = command("drain", "-c", relay.config, "--wait", "10")
        took = time.monotonic() - began
        assert (done.returncode, done.stdout) == (0, "The node is empty; it can be stopped.\n")
        assert relay.status().node.draining
        assert (relay.metrics()["draining"], relay.metrics()["ready"]) == (1, 0)
        # Who leads traffic to it goes by the first, who starts it again by the second.
        assert relay.asked("/readyz") == (503, "draining\n")
        assert relay.asked("/healthz") == (200, "ok\n")
        told = command("status", "-c", relay.config)
        assert told.returncode == 5
        assert ", draining, up for " in told.stdout
        assert realm.relay_used() is not relay
        assert not realm.met.log("session.down")
        assert relay.stop() == 0
        for witness in witnesses:
            witness.check()
        # It comes back, and takes new work.
        relay.start()
        realm.stage.await_well()
    worst = max(witness.worst_s for witness in witnesses)
    assert worst < UNDISTURBED_S
    figure(f"empty {took:.1f} s after the command; the slowest exchange took {worst * 1000:.0f} ms")


@pytest.mark.tier_all
def test_a_drain_that_is_undone_takes_new_work(realm: Scene) -> None:
    with applications(realm.door, 2):
        first = realm.relay_used()
        assert command("drain", "-c", first.config, "--wait", "10").returncode == 0
        done = command("drain", "-c", first.config, "--undo")
        assert (done.returncode, done.stdout) == (0, "The node takes new work again.\n")
        realm.stage.await_well()
        until(lambda: first.asked("/readyz") == (200, "ok\n"), 20)
        second = realm.relay_used()
        assert second is not first
        # Now the other way round: what was drained takes the traffic back.
        until(lambda: not any(link.state == "draining" for link in realm.met.status().links), 20)
        assert command("drain", "-c", second.config, "--wait", "10").returncode == 0
        assert realm.relay_used() is first


@pytest.mark.tier_all
def test_a_drained_edge_closes_its_doors_and_lets_streams_end(realm: Scene) -> None:
    with socket.create_connection(realm.door, 10) as sock:
        sock.sendall(b"hello")
        assert received(sock, 5) == b"hello"
        done = command("drain", "-c", realm.met.config, "--wait", "0.5", "--json")
        answer = json.loads(done.stdout)
        assert done.returncode == 1
        assert (answer["draining"], answer["empty"], answer["streams"]) == (True, False, 1)
        assert not is_open(realm.door)
        sock.sendall(b"still here")
        assert received(sock, 10) == b"still here"
    assert command("drain", "-c", realm.met.config, "--wait", "10").returncode == 0
    assert command("drain", "-c", realm.met.config, "--undo").returncode == 0
    until(lambda: is_open(realm.door), 10)
    realm.stage.await_well()
    with applications(realm.door, 1):
        pass


@pytest.mark.tier_all
def test_a_drained_exporter_takes_nothing_new_and_comes_back(realm: Scene) -> None:
    with socket.create_connection(realm.door, 10) as sock:
        sock.sendall(b"hello")
        assert received(sock, 5) == b"hello"
        assert command("drain", "-c", realm.kent.config, "--wait", "0").returncode == 1
        until(lambda: realm.met.service("echo").state != "ready", 20)
        sock.sendall(b"still here")
        assert received(sock, 10) == b"still here"
    assert command("drain", "-c", realm.kent.config, "--undo").returncode == 0
    realm.stage.await_well()
    with applications(realm.door, 1):
        pass


@pytest.mark.tier_all
def test_the_only_relay_comes_to_be_empty_too(tmp_path: Path) -> None:
    with scene(tmp_path) as realm:
        (relay,) = realm.relays
        with socket.create_connection(realm.door, 10) as sock:
            sock.sendall(b"hello")
            assert received(sock, 5) == b"hello"
            # There is no other way, so what runs goes on.
            assert command("drain", "-c", relay.config, "--wait", "2").returncode == 1
            sock.sendall(b"still here")
            assert received(sock, 10) == b"still here"
        assert command("drain", "-c", relay.config, "--wait", "10").returncode == 0
        assert command("drain", "-c", relay.config, "--undo").returncode == 0
        realm.stage.await_well()
        with applications(realm.door, 1):
            pass
