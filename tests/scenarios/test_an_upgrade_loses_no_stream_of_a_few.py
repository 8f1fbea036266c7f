"""`pcgrelay upgrade`: another process takes the place of a running node, and its applications notice nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from changes import Scene, applications, scene
from stage import Node, until
from witness import received

WHICH = ["met", "relay", "kent"]


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path) as made:
        yield made


def chosen(realm: Scene, which: str) -> Node:
    return realm.relays[0] if which == "relay" else getattr(realm, which)


@pytest.mark.parametrize("which", WHICH)
def test_a_quiet_stream_goes_on_in_the_new_process(realm: Scene, which: str) -> None:
    node = chosen(realm, which)
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
    for each in (realm.met, realm.kent):
        until(lambda each=each: each.status().streams.active == 0)


@pytest.mark.parametrize("which", WHICH)
def test_applications_that_talk_notice_nothing(realm: Scene, which: str, figure: Callable[[str], None]) -> None:
    node = chosen(realm, which)
    with applications(realm.door, 4) as witnesses:
        for _ in range(3):
            assert node.upgrade().returncode == 0
            realm.stage.await_well()
    worst = max(witness.worst_s for witness in witnesses)
    figure(f"{which}: the slowest exchange during three upgrades took {worst * 1000:.0f} ms")
