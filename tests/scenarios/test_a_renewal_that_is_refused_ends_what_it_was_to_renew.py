"""A renewal judges anew: who shows a certificate that is on the list loses the link, or the session."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from changes import Scene, reload
from stage import HUB, KENT, Node, Stage, until
from witness import Echo, ending, received

INTERVAL_S = 2
SOON = {"members": ["*"], "renewal_interval_s": INTERVAL_S, "renewal_age_s": 60}


@pytest.mark.parametrize("which", ["exporter", "relay"])
def test_a_certificate_that_is_on_the_list(tmp_path: Path, which: str, figure: Callable[[str], None]) -> None:
    with Stage(tmp_path) as stage:
        organisation, name = (KENT, "kent-1") if which == "exporter" else (HUB, "relay-1")
        # An old certificate is withdrawn before the one is issued with which all begins: nobody has to load a list.
        old = stage.pki.issue(organisation, name, into="old")
        stage.pki.authority.revoke(organisation, name)
        realm = Scene(stage, 1)
        node = realm.kent if which == "exporter" else realm.relays[0]
        for each in realm.nodes:
            # The one that shows it has no list itself, or it would not take it.
            realm.change(each, policy=SOON, crl=each is not node)
        stage.start()
        stage.await_well()
        with Echo(realm.target), socket.create_connection(realm.door, 10) as sock:
            sock.sendall(b"hello")
            assert received(sock, 5) == b"hello"
            _put(stage, node, old.certificate, old.key)
            assert reload(node).changes == ("certificate renewed", "private key renewed")
            began = time.monotonic()
            if which == "exporter":
                # Its relay says no to it, and its own end of the session is told the same by the far edge.
                node.await_log("link.down", INTERVAL_S + 3, reason="peer_refused")
            else:
                realm.met.await_log("link.down", INTERVAL_S + 3, reason="revoked")
                node.await_log("link.down", 1.0, peer=realm.met.dotted)
            took = time.monotonic() - began
            if which == "exporter":
                assert ending(sock) == (b"", "reset")
            else:
                # Another relay could still lead it.
                realm.met.await_log("session.stalled", 1.0)
        until(lambda: realm.met.service("echo").state != "ready")
    figure(f"{which}: the link had ended {took:.1f} s after the certificate was shown, renewals every {INTERVAL_S} s")


def _put(stage: Stage, node: Node, certificate: Path, key: Path) -> None:
    folder = stage.folder / node.dotted
    os.replace(key, folder / key.name)
    os.replace(certificate, folder / certificate.name)
