"""Secrets of renewals, and of the epochs that they lead to, are forgotten: a search through all memory."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pcgrelay._core.face import core as native
from pcgrelay.demo.memory import searched
from tests.reference.keys import Epoch, LinkSecrets, Suite, direction_secret, flow_secret, mix_of
from tests.support.cores import CoreRealm
from tests.support.own_memory import digests_found
from tests.support.renewed import renew_link, renew_session, secret, until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def realm() -> Iterator[CoreRealm]:
    made = CoreRealm()
    yield made
    made.close()


def test_secrets_of_renewals_are_forgotten(realm: CoreRealm) -> None:
    a, b = realm.edge(), realm.edge()
    link = realm.link(a, b)
    session = realm.session(a, b, [], link)
    held = bytearray(hashlib.sha256(b"a control value").digest())
    assert are_there(["a control value"]) == [True]
    for number in (1, 2, 3, 4):
        renew_link(link, number, a, b)
        renew_session(session, number, a, b)
        until(lambda number=number: a.core.sessions()[session]["mix"] == number, a, b)
    # The newest and the one before are kept, by both cores here; older ones are gone.
    renewed = [f"{what} renewal {number}" for number in (1, 2, 3, 4) for what in (f"link {link}", f"session {session}")]
    assert are_there(renewed) == [False] * 4 + [True] * 4, renewed
    for node in (a, b):
        node.core.session_close(session, 0)
        node.core.link_close(link, 0)
        node.wait_kind(native.EVENT_LANE_DOWN)
    assert are_there(renewed) == [False] * 8, renewed
    del held


def are_there(secrets: list[str]) -> list[bool]:
    """Whether each secret is in memory, besides the needle itself."""
    return [count > 1 for count in digests_found(*(what.encode() for what in secrets))]


def secrets_of(root: bytes, number: int, mixes: list[bytes]) -> list[bytes]:
    """The secrets of both directions of a lane or flow in epoch 0, and after a step with each renewal."""
    found = []
    for direction in (0, 1):
        epoch = Epoch(Suite.AES_256_GCM, direction_secret(root, direction))
        found.append([epoch.secret])
        for mix in mixes:
            epoch = epoch.next(mix_of(mix, direction, number))
            found[-1].append(epoch.secret)
    return [secret for step in zip(*found, strict=True) for secret in step]


def test_keys_of_steps_are_forgotten() -> None:
    # In a process of its own, whose Python never had the secrets of an epoch in its hands.
    command = [sys.executable, "-m", "tests.support.renewed"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"renewed\n"
        lane = LinkSecrets(bytes(secret("link 1"))).lane_secret(0)
        flow = flow_secret(bytes(secret("session 2")), 0)
        wanted = [
            *secrets_of(lane, 0, [bytes(secret(f"link 1 renewal {number}")) for number in (1, 2)]),
            *secrets_of(flow, 0, [bytes(secret(f"session 2 renewal {number}")) for number in (1, 2)]),
        ]
        counts = searched(process.pid, wanted).found
        process.communicate(b"\n", 10)
    # Of each direction the secret of the last of three epochs, once at either end, and no other.
    assert counts == (0, 0, 0, 0, 2, 2) * 2
