"""Whatever the bytes, a realm bundle is read as one that was signed so, or refused with a reason of the closed list.

Each input is tried as a whole bundle, and as a content that the realm's signer has signed. What is taken of the first
kind was signed by us; what is taken of the second narrows, and is read alike when it is signed again.
"""

import hashlib
import sys
from datetime import UTC, datetime

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from pcgrelay.identity.credentials import Credentials
from pcgrelay.realm.bundle import REASONS, SIGNED_BEFORE, Bundle, BundleRefused, Envelope, make_bundle, open_bundle
from pcgrelay.signing import sign
from tests.support.vectors import load, octets

VECTORS = load("bundles")
REALM, NOW = VECTORS["realm"], datetime.fromtimestamp(VECTORS["now"], UTC)
TRUST = (x509.load_der_x509_certificate(octets(VECTORS["anchor"])),)
KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"signer").digest())
CREDENTIALS = Credentials(chain=TRUST, key=KEY, trust=TRUST, crls=())
WHOLE = [octets(case["bundle"]) for case in VECTORS["cases"]]
ENVELOPES = [msgspec.msgpack.decode(data, type=Envelope) for data in WHOLE]
OURS = {each.content for each in ENVELOPES}
CHAIN = ENVELOPES[0].chain
SEEDS = [*WHOLE, *(each.content for each in ENVELOPES)]
WORDS = [
    b"\xc0", b"\x90", b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", b"\xd3",
    b"\xcf\x00\x20\x00\x00\x00\x00\x00\x00", b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", b"\xa1*", b"\xabhub.example",
    b"\xb0*.police.example", b"\xb1pcgrelay-bundle-1", b"\xc4\x00", b"\x91" * 3_000, b"\xa50.1.0", b"\xff",
]  # fmt: skip


def run(data: bytes) -> object:
    return whole_answer(data), content_answer(data)


def whole_answer(data: bytes) -> str:
    try:
        found = open_bundle(data, REALM, CREDENTIALS, NOW)
    except BundleRefused as refused:
        return reason_of(refused)
    assert found.content in OURS, "what nobody has signed was taken"
    return "taken"


def content_answer(data: bytes) -> str:
    envelope = Envelope(data, sign(KEY, SIGNED_BEFORE + data), CHAIN)
    try:
        found = open_bundle(msgspec.msgpack.encode(envelope), REALM, CREDENTIALS, NOW)
    except BundleRefused as refused:
        return reason_of(refused)
    assert_narrows(found)
    return f"{found.terms.members is None} {found.terms.relays is None} {len(found.lists)} {bool(found.minimum)}"


def assert_narrows(found: Bundle) -> None:
    assert found.realm == REALM
    assert found.terms.members != ()
    chain = [x509.load_der_x509_certificate(der) for der in CHAIN]
    again = make_bundle(
        REALM, found.epoch, found.span, found.terms, lists=found.lists, minimum=found.minimum, key=KEY, chain=chain
    )
    read = open_bundle(again, REALM, CREDENTIALS, NOW)
    assert (read.epoch, read.span, read.terms, read.lists, read.minimum) == (
        found.epoch,
        found.span,
        found.terms,
        found.lists,
        found.minimum,
    )
    assert chain[0].public_bytes(Encoding.DER) == CHAIN[0]


def reason_of(refused: BundleRefused) -> str:
    assert refused.reason in REASONS
    assert len(str(refused)) < 500, "a refusal is one sentence, whatever the input"
    return refused.reason


if __name__ == "__main__":
    from tests.fuzz.mutation import main

    sys.exit(main(SEEDS, WORDS, run))
