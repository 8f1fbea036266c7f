"""Renewed certificates are taken at the next handshake; one that is revoked or expired ends what stands on it."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pcgrelay.ca import Authority
from tests.scenarios.kit.echo_witness import ending, received
from tests.scenarios.kit.nodes import KENT, MET
from tests.scenarios.kit.reload_setup import Scene, applications, reload, scene
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

ROTATIONS = 20
WITHIN_S = 3.0  # measured: 0.1; without the list nothing ends


@pytest.fixture
def realm(tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path) as made:
        yield made


def talking(scene: Scene) -> socket.socket:
    sock = socket.create_connection(scene.door, 10)
    sock.sendall(b"hello")
    assert received(sock, 5) == b"hello"
    return sock


def test_twenty_rotations_under_traffic(realm: Scene, figure: Callable[[str], None]) -> None:
    with applications(realm.door, 3) as witnesses:
        for number in range(ROTATIONS):
            node = realm.nodes[number % len(realm.nodes)]
            realm.renew(node)
            assert reload(node).changes == ("certificate renewed", "private key renewed")
            time.sleep(0.05)
        rounds = sum(witness.rounds for witness in witnesses)
    for node in realm.nodes:
        assert not node.log("link.down")
        assert not node.log("session.down")
        assert not node.log("catalogue.refused")
    figure(f"{ROTATIONS} rotations, 0 errors in {rounds} exchanges")


def test_the_renewed_certificate_is_shown_at_the_next_handshake(realm: Scene) -> None:
    (relay,) = realm.relays
    # All that the Met has so far is revoked, so were the old certificate shown, the list would keep it out.
    realm.stage.pki.authority.revoke(MET, "met-1")
    realm.renew(realm.met)
    assert reload(realm.met).ok
    assert reload(relay).ok
    relay.await_log("link.down", peer=realm.met.dotted, reason="revoked")
    realm.stage.await_well()
    talking(realm).close()


def test_two_anchors_hold_during_a_roll_over(realm: Scene) -> None:
    successor = Authority.create(realm.stage.folder / "ca-2", realm.stage.pki.name)
    bundle = realm.stage.folder / "bundle.pem"
    lists = realm.stage.folder / "bundle.crl"
    first = realm.stage.pki.authority
    bundle.write_bytes(first.certificate_path.read_bytes() + successor.certificate_path.read_bytes())
    lists.write_bytes(first.crl_path.read_bytes() + successor.crl_path.read_bytes())
    with applications(realm.door, 2):
        # First everybody trusts both, then everybody moves, then the old one is trusted no more.
        for node in realm.nodes:
            realm.change(node, identity={"trust": str(bundle), "crl": str(lists)})
            assert "trusted certificates changed" in reload(node).changes
        for node in realm.nodes:
            folder = realm.stage.folder / node.dotted
            fresh = realm.stage.folder / f"second-{node.dotted}"
            successor.issue(node.organisation, node.name, fresh)
            os.replace(fresh / f"{node.name}.key", folder / f"{node.name}.key")
            os.replace(fresh / f"{node.name}.pem", folder / f"{node.name}.pem")
            assert reload(node).ok
    # Links that were made with the old anchor are made again with the new one.
    for node in realm.nodes:
        realm.change(node, identity={"trust": str(successor.certificate_path), "crl": str(successor.crl_path)})
        assert reload(node).ok
    realm.stage.await_well()
    until(lambda: realm.met.service("echo").routes[0].state in {"ready", "settling"})
    talking(realm).close()


def test_a_revoked_edge_is_cut_off_at_its_neighbour(realm: Scene, figure: Callable[[str], None]) -> None:
    (relay,) = realm.relays
    with talking(realm):
        realm.stage.pki.authority.revoke(MET, "met-1")
        began = time.monotonic()
        assert reload(relay).changes == ("revocation list renewed",)
        relay.await_log("link.down", peer=realm.met.dotted, reason="revoked")
        realm.met.await_log("link.down", peer=relay.dotted)
        took = time.monotonic() - began
        # The far edge gets the list too: it ends the session, and the application's server learns of it.
        began = time.monotonic()
        assert reload(realm.kent).ok
        realm.kent.await_log("session.down", peer=realm.met.dotted, reason="revoked")
        realm.kent.await_log("stream.end", direction="export")
        far = time.monotonic() - began
    assert took < WITHIN_S
    assert far < WITHIN_S
    figure(f"link down {took * 1000:.0f} ms, session and stream {far * 1000:.0f} ms after the list was loaded")
    realm.met.await_log("link.failed", 15.0)
    until(lambda: relay.status().refusals.get("revoked", 0) >= 1)


@pytest.mark.tier_all
def test_a_revoked_exporter_loses_its_sessions_end_to_end(realm: Scene, figure: Callable[[str], None]) -> None:
    with talking(realm) as sock:
        realm.stage.pki.authority.revoke(KENT, "kent-1")
        began = time.monotonic()
        # Only the importing edge has the list in its file; the relay between is told by it.
        assert reload(realm.met).ok
        assert ending(sock) == (b"", "reset")
        took = time.monotonic() - began
    assert took < WITHIN_S
    figure(f"the stream ended {took * 1000:.0f} ms after the list was loaded")
    realm.met.await_log("session.down", peer=realm.kent.dotted, reason="revoked")
    until(lambda: realm.met.service("echo").state == "down")
    until(lambda: realm.met.status().refusals.get("revoked", 0) >= 1)


@pytest.mark.tier_all
def test_an_expired_certificate_ends_its_link(tmp_path: Path, figure: Callable[[str], None]) -> None:
    with scene(tmp_path) as realm:
        (relay,) = realm.relays
        now = datetime.now(UTC).replace(microsecond=0)
        # On a busy machine a start takes seconds.
        end = now + timedelta(seconds=12)
        folder, fresh = realm.stage.folder / realm.met.dotted, realm.stage.folder / "short"
        realm.stage.pki.authority.issue(MET, "met-1", fresh, not_before=now - timedelta(hours=1), not_after=end)
        realm.met.stop()
        for kind in ("key", "pem"):
            shutil.copy(fresh / f"met-1.{kind}", folder / f"met-1.{kind}")
        realm.met.start()
        realm.stage.await_well(realm.met)
        with talking(realm):
            relay.await_log("link.down", 30.0, peer=realm.met.dotted, reason="expired")
            late = datetime.now(UTC) - end
            assert timedelta(0) < late < timedelta(seconds=10)
            realm.kent.await_log("session.down", peer=realm.met.dotted, reason="expired")
            # The expired edge itself has no way left to be told; the other one has closed the stream.
            realm.kent.await_log("stream.end", direction="export")
        figure(f"the link ended {late.total_seconds():.1f} s after the certificate")
