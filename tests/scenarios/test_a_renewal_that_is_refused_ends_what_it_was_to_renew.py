"""A renewal judges again: who shows a certificate that is on the list loses the link, or the session."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.scenarios.kit.echo_witness import Echo, ending, received
from tests.scenarios.kit.nodes import HUB, KENT, Node, Stage
from tests.scenarios.kit.reload_setup import Scene, reload
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

INTERVAL_S = 2
SLACK_S = 10  # of a busy machine; by itself nothing would end for half a minute
SELDOM: dict[str, object] = {"members": ["*"]}
SOON: dict[str, object] = {**SELDOM, "renewal_interval_s": INTERVAL_S, "renewal_age_s": 60}
WAIT_MS = 2_500


@dataclass
class Withdrawn:
    """A realm, and an old certificate of one of its nodes that is on the list."""

    realm: Scene
    certificate: Path
    key: Path

    def begin(self, judges: Node, **policies: dict[str, object]) -> socket.socket:
        """Start all, with one node alone that has the list; answer a connection that is in use."""
        realm = self.realm
        for node in realm.nodes:
            realm.change(node, policy=policies.get(node.name.partition("-")[0], SELDOM), crl=node is judges)
        realm.stage.start()
        realm.stage.await_well()
        sock = socket.create_connection(realm.door, 10)
        sock.sendall(b"hello")
        assert received(sock, 5) == b"hello"
        return sock

    def show(self, node: Node) -> float:
        """From now on the node shows its old certificate; answer when that began."""
        folder = self.realm.stage.folder / node.dotted
        os.replace(self.key, folder / self.key.name)
        os.replace(self.certificate, folder / self.certificate.name)
        assert reload(node).changes == ("certificate renewed", "private key renewed")
        return time.monotonic()


Make = Callable[[str, str], Withdrawn]


@pytest.fixture
def withdrawn(tmp_path: Path) -> Iterator[Make]:
    """Makes such a realm, for the node that is named."""
    with Stage(tmp_path) as stage:

        def made(organisation: str, name: str) -> Withdrawn:
            # Withdrawn before the one is issued with which all begins: nobody has to load a list.
            old = stage.pki.issue(organisation, name, into="old")
            stage.pki.authority.revoke(organisation, name)
            stage.pki.unnumber()  # one that travels would be in force everywhere
            return Withdrawn(Scene(stage, 1), old.certificate, old.key)

        yield made


def test_an_exporter_loses_its_session(withdrawn: Make, figure: Callable[[str], None]) -> None:
    scene = withdrawn(KENT, "kent-1")
    realm = scene.realm
    with Echo(realm.target), scene.begin(realm.met, met=SOON) as sock:
        began = scene.show(realm.kent)
        assert ending(sock) == (b"", "reset")
        took = time.monotonic() - began
        assert took < INTERVAL_S + SLACK_S
        down = realm.met.await_log("session.down")
        assert (down["code"], down["reason"]) == ("refused", "revoked")
        # The far edge is told, and its relay, which has no list, goes on with it.
        assert realm.kent.await_log("session.down")["code"] == "refused"
        assert not realm.kent.log("link.down")
    until(lambda: realm.met.service("echo").state != "ready")
    figure(f"the session had ended {took:.1f} s after the certificate was shown, renewals every {INTERVAL_S} s")


@pytest.mark.tier_all
def test_an_exporter_loses_its_link(withdrawn: Make, figure: Callable[[str], None]) -> None:
    scene = withdrawn(KENT, "kent-1")
    realm = scene.realm
    (relay,) = realm.relays
    with Echo(realm.target), scene.begin(relay, kent=SOON, met={**SELDOM, "path_wait_ms": WAIT_MS}) as sock:
        began = scene.show(realm.kent)
        realm.kent.await_log("link.down", INTERVAL_S + SLACK_S, reason="peer_refused")
        took = time.monotonic() - began
        # The other edge has lost its way, and knows no more.
        realm.met.await_log("session.stalled")
        lost = time.monotonic()
        assert ending(sock) == (b"", "reset")
        assert WAIT_MS / 1000 - 1 < time.monotonic() - lost < WAIT_MS / 1000 + SLACK_S
        # Who is refused by all its neighbours does not wait for path_wait_ms, half a minute here.
        realm.kent.await_log("session.down", 10.0, code="refused", reason="shut_out")
        down = realm.met.await_log("session.down")
        assert (down["code"], down["reason"]) == ("timeout", "no_path")
    until(lambda: realm.met.service("echo").state != "ready")
    figure(f"the link had ended {took:.1f} s after the certificate was shown, renewals every {INTERVAL_S} s")


@pytest.mark.tier_all
def test_a_relay_loses_its_link(withdrawn: Make, figure: Callable[[str], None]) -> None:
    scene = withdrawn(HUB, "relay-1")
    realm = scene.realm
    (relay,) = realm.relays
    with Echo(realm.target), scene.begin(realm.met, met=SOON):
        began = scene.show(relay)
        realm.met.await_log("link.down", INTERVAL_S + SLACK_S, reason="revoked")
        took = time.monotonic() - began
        relay.await_log("link.down", peer=realm.met.dotted)
        # Another relay could still lead it.
        realm.met.await_log("session.stalled")
    until(lambda: realm.met.service("echo").state != "ready")
    figure(f"the link had ended {took:.1f} s after the certificate was shown, renewals every {INTERVAL_S} s")
