"""An edge that all its neighbours refuse resets its applications at once; one that has lost its way only waits."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.kit.echo_witness import ending, received
from tests.scenarios.kit.nodes import MET
from tests.scenarios.kit.reload_setup import Scene, reload, scene
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test


def talking(scene: Scene) -> socket.socket:
    sock = socket.create_connection(scene.door, 10)
    sock.sendall(b"hello")
    assert received(sock, 5) == b"hello"
    return sock


def test_its_applications_are_reset_when_the_last_neighbour_refuses_it(
    tmp_path: Path, figure: Callable[[str], None]
) -> None:
    with scene(tmp_path, relays=2, lists_travel=False) as realm, talking(realm) as sock:
        realm.stage.pki.authority.revoke(MET, "met-1")
        realm.stage.pki.unnumber()
        used = realm.relay_used()
        other = next(relay for relay in realm.relays if relay is not used)
        assert reload(used).ok
        realm.met.await_log("link.down", peer=used.dotted, reason="goodbye_refused")
        # One neighbour has no list yet: the stream goes on over it.
        realm.met.await_log("session.resumed")
        sock.sendall(b"again")
        assert received(sock, 5) == b"again"
        began = time.monotonic()
        assert reload(other).ok
        assert ending(sock) == (b"", "reset")
        took = time.monotonic() - began
        down = realm.met.await_log("session.down")
        assert (down["code"], down["reason"]) == ("refused", "shut_out")
    # Beside path_wait_ms, half a minute, it is at once; the dialler comes with its next attempt.
    assert took < 15
    figure(f"reset {took * 1000:.0f} ms after the last relay has loaded the list")


@pytest.mark.tier_all
def test_the_responder_of_a_session_does_not_wait_either(tmp_path: Path) -> None:
    with scene(tmp_path) as realm, talking(realm):
        (relay,) = realm.relays
        realm.stage.pki.authority.revoke(realm.kent.organisation, realm.kent.name)
        assert reload(relay).ok
        realm.kent.await_log("session.down", 10.0, code="refused", reason="shut_out")
        realm.kent.await_log("stream.end", direction="export")


@pytest.mark.tier_all
def test_an_outage_is_waited_for_as_long_as_the_configuration_says(tmp_path: Path) -> None:
    with scene(tmp_path) as realm:
        (relay,) = realm.relays
        for node in (realm.met, realm.kent):
            realm.change(node, policy={"path_wait_ms": 2_500})
            assert reload(node).changes == ("policy.path_wait_ms changed",)
        with talking(realm) as sock:
            relay.kill()
            began = time.monotonic()
            assert ending(sock) == (b"", "reset")
            took = time.monotonic() - began
            assert 2.0 < took < 15.0
            down = realm.met.await_log("session.down")
            assert (down["code"], down["reason"]) == ("timeout", "no_path")
        until(lambda: not realm.met.status().sessions)
