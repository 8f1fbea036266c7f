"""The exporter's context, held to the vectors of the reference, and the secret that leaves no copy."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pcgrelay.identity.exporter import CONTEXT_BYTES, EXPORTER_LABEL, KeyContext, Purpose, wipe_secret
from pcgrelay.model import Role, Suite
from tests.support.handshake_sides import EDGE_ID, HUB, KENT, RELAY_ID, credentials_of, met, side, terms_of
from tests.support.pki import RealmPki

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "exporter.json").read_text())
CONTEXT = KeyContext(
    Purpose.LINK, Role.EDGE, Role.RELAY, Suite.AES_256_GCM, 0, "spiffe://a", "spiffe://b", b"leaf a", b"leaf b", b"said"
)


@pytest.mark.parametrize("case", VECTORS["cases"])
def test_vectors(case: dict[str, object]) -> None:
    context = KeyContext(
        purpose=Purpose(case["purpose"]),
        client_role=Role(case["client_role"]),
        server_role=Role(case["server_role"]),
        suite=Suite.from_title(str(case["suite"])),
        generation=int(str(case["generation"])),
        client_uri=str(case["client_identity"]),
        server_uri=str(case["server_identity"]),
        client_leaf=bytes.fromhex(str(case["client_leaf"])),
        server_leaf=bytes.fromhex(str(case["server_leaf"])),
        transcript=bytes.fromhex(str(case["transcript"])),
    )
    assert context.encoded().hex() == case["context"]
    assert context.binding().hex() == case["binding"]
    assert EXPORTER_LABEL.decode() == VECTORS["label"]


def test_length() -> None:
    assert len(CONTEXT.encoded()) == CONTEXT_BYTES


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("purpose", Purpose.SESSION),
        ("client_role", Role.RELAY),
        ("server_role", Role.EDGE),
        ("suite", Suite.AES_128_GCM),
        ("generation", 1),
        ("client_uri", "spiffe://c"),
        ("server_uri", "spiffe://c"),
        ("client_leaf", b"another leaf"),
        ("server_leaf", b"another leaf"),
        ("transcript", b"said otherwise"),
    ],
)
def test_every_field_counts(field: str, value: object) -> None:
    assert dataclasses.replace(CONTEXT, **{field: value}).binding() != CONTEXT.binding()


def test_fields_cannot_be_mistaken_for_each_other() -> None:
    swapped = dataclasses.replace(CONTEXT, client_leaf=CONTEXT.server_leaf, server_leaf=CONTEXT.client_leaf)
    assert swapped.binding() != CONTEXT.binding()


SEARCH = """
import re, sys
needle = bytes(byte ^ 0x5A for byte in bytes.fromhex(sys.argv[2]))
count = 0
with open(f"/proc/{sys.argv[1]}/maps") as maps, open(f"/proc/{sys.argv[1]}/mem", "rb", 0) as memory:
    for start, end in re.findall(r"^([0-9a-f]+)-([0-9a-f]+) rw", maps.read(), re.M):
        try:
            memory.seek(int(start, 16))
            count += memory.read(int(end, 16) - int(start, 16)).count(needle)
        except (OSError, ValueError, OverflowError):
            pass
print(count)
"""


def copies(masked: bytes) -> int:
    """How often what is masked is in the writable memory of this process; another one looks, or it found itself."""
    command = [sys.executable, "-c", SEARCH, str(os.getpid()), masked.hex()]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return int(found.stdout)


def test_a_wiped_secret_is_nowhere_in_memory(tmp_path: Path) -> None:
    realm = RealmPki(tmp_path)
    edge, relay = credentials_of(realm.issue(KENT, "kent-1")), credentials_of(realm.issue(HUB, "relay-1"))
    mine, theirs = met(
        side(edge, terms_of(EDGE_ID, edge), client=True),
        side(relay, terms_of(RELAY_ID, relay, Role.RELAY), client=False),
    )
    assert mine.established
    assert theirs.established
    # A mask, so that this process holds what is looked for nowhere but where it should not be.
    masked = bytes(byte ^ 0x5A for byte in mine.established.secret)
    assert copies(masked) >= 2
    for outcome in (mine, theirs):
        assert outcome.established
        wipe_secret(outcome.established.secret)
        assert not any(outcome.established.secret)
    assert copies(masked) == 0
