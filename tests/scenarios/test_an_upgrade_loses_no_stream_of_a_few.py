"""`pcgrelay upgrade`: another process takes the place of a running node, and its applications notice nothing."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.scenarios.kit.echo_witness import ending, received
from tests.scenarios.kit.nodes import HOST, KENT, MET, Node
from tests.scenarios.kit.reload_setup import Scene, applications, command, is_open, scene
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

WHICH = ["met", "relay", pytest.param("kent", marks=pytest.mark.tier_all)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("realm")) as made:
        yield made


@pytest.fixture
def realm(shared: Scene) -> Iterator[Scene]:
    with shared.restored():
        yield shared


def chosen(realm: Scene, which: str) -> Node:
    return realm.relays[0] if which == "relay" else getattr(realm, which)


@pytest.mark.parametrize("which", WHICH)
def test_a_quiet_stream_goes_on_in_the_new_process(realm: Scene, which: str) -> None:
    node, edges = chosen(realm, which), (realm.met, realm.kent)
    since = {each: each.moment() for each in edges}
    opened = {each: each.status().streams.opened_total for each in edges}
    with socket.create_connection(realm.door, 10) as sock:
        sock.settimeout(10)
        sock.sendall(b"before")
        assert received(sock, 6) == b"before"
        old = node.pid
        done = node.upgrade()
        assert (done.returncode, done.stdout) == (0, f"The new process {node.pid} has taken over.\n"), done.stderr
        assert node.pid != old
        sock.sendall(b"after!")
        assert received(sock, 6) == b"after!"
        realm.stage.await_well()
        sock.sendall(b"later.")
        assert received(sock, 6) == b"later."
    for each in edges:
        # It is one stream, from its beginning to its end.
        end = each.await_log("stream.end", after=since[each], sent_bytes=18)
        assert (end["sent_bytes"], end["received_bytes"], end["code"]) == (18, 18, "done")
        assert (end["from_organisation"], end["to_organisation"]) == (MET, KENT)
        assert end["service"] == f"echo@{KENT}"
        assert end["suite"] == "AES-256-GCM"
        assert len(each.log("stream.end", since[each], sent_bytes=18)) == 1
        assert not each.log("session.down", since[each])
        status = each.status()
        assert (status.streams.active, status.streams.opened_total) == (0, opened[each] + 1)


@pytest.mark.tier_all
@pytest.mark.parametrize("which", ["met", "relay"])
def test_one_upgrade_may_follow_on_the_other(realm: Scene, which: str) -> None:
    node = chosen(realm, which)
    with applications(realm.door, 2):
        for _ in range(3):
            assert node.upgrade().returncode == 0
        realm.stage.await_well()


def test_what_the_new_configuration_says_holds_from_then_on(realm: Scene) -> None:
    other = (HOST, free_port())
    with socket.create_connection(realm.door, 10) as sock:
        sock.settimeout(10)
        sock.sendall(b"before")
        assert received(sock, 6) == b"before"
        realm.change(realm.met, imports=[realm.entry("echo", other)])
        assert realm.met.upgrade().returncode == 0
        sock.sendall(b"after!")
        assert received(sock, 6) == b"after!"
        until(lambda: not is_open(realm.door))
        with socket.create_connection(other, 10) as fresh:
            fresh.settimeout(10)
            fresh.sendall(b"new")
            assert received(fresh, 3) == b"new"
        realm.change(realm.kent, exports=[realm.export("echo", allow=[])])
        assert realm.kent.upgrade().returncode == 0
        assert ending(sock) == (b"", "reset")


def test_commands_go_to_the_new_process(realm: Scene) -> None:
    node = realm.met
    # It says once that it is ready, and its successor once more.
    node.stop()
    node.start()
    uptime = node.status().node.uptime_s
    assert node.upgrade().returncode == 0
    assert node.status().node.uptime_s > uptime
    assert command("reload", "-c", node.config).returncode == 0
    realm.stage.await_well()
    assert command("status", "-c", node.config).returncode == 0
    since = node.moment()
    os.kill(node.pid, signal.SIGHUP)
    node.await_log("config.reloaded", after=since)
    assert node.output.count("is ready") == 1
    assert node.stop() == 0
    assert node.output.count("is ready") == 2
    assert node.log("node.stopped")
    assert not node.admin.exists()


@pytest.mark.parametrize("which", WHICH)
def test_applications_that_talk_notice_nothing(realm: Scene, which: str, figure: Callable[[str], None]) -> None:
    node = chosen(realm, which)
    with applications(realm.door, 4) as witnesses:
        for _ in range(2):
            assert node.upgrade().returncode == 0
            realm.stage.await_well()
    worst = max(witness.worst_s for witness in witnesses)
    figure(f"{which}: the slowest exchange during two upgrades took {worst * 1000:.0f} ms")
