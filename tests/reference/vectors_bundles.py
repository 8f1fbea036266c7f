"""Vectors of the realm's bundle (docs/protocol.md, 9.10, kind 2): what is taken, and contents that no receiver takes.

The keys are Ed25519, whose signatures and so whose certificates are the same each time.
"""

from __future__ import annotations

import hashlib
import struct
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

Json = dict[str, Any]
REALM = "police.example"
URI = f"spiffe://{REALM}/realm/bundle"
BEGIN, END = datetime(2030, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
NOW = int(datetime(2031, 6, 1, tzinfo=UTC).timestamp())
DAY = 86_400
BEFORE = b"pcgrelay realm bundle v1\0"


def bundles() -> Json:
    return {
        "description": "Section 9.10, kind 2. 'anchor' is the receiver's only trust anchor (DER). At the time 'now' "
        "the receiver, of the realm that is named, has the epoch 'held' in force (0: it has none) and is brought "
        "'bundle' by a neighbour; 'taken' is whether it takes it. Of those that it takes 'content' is what they say.",
        "realm": REALM,
        "name": hashlib.sha256(URI.encode()).hexdigest(),
        "anchor": _anchor().public_bytes(Encoding.DER).hex(),
        "now": NOW,
        "cases": [
            _case("says nothing", taken=True),
            _case("says all", taken=True, members=["*.police.example", "hub.example"], relays=["hub.example"],
                  clearances=[["hub.example", 2], ["kent.police.example", 3]], minimum="0.1.0"),
            _case("everybody", taken=True, members=["*"]),
            _case("more fields than are known", taken=True, more=["x", 1]),
            _case("newer by as much as it may be", taken=True, held=7, epoch=7 + (1 << 20)),
            _case("newer by more", held=7, epoch=8 + (1 << 20)),
            _case("the first, by as much as it may be", taken=True, epoch=1 << 20),
            _case("the first, by more", epoch=(1 << 20) + 1),
            _case("an equal epoch", held=7, epoch=7),
            _case("an older epoch", held=7, epoch=6),
            _case("epoch 0", epoch=0),
            _case("an epoch of 2^53", held=(1 << 53) - 2, epoch=1 << 53),
            _case("the greatest epoch", taken=True, held=(1 << 53) - 2, epoch=(1 << 53) - 1),
            _case("another kind", kind="pcgrelay-bundle-2"),
            _case("another realm", realm="army.example"),
            _case("its time is over", not_after=NOW - 1),
            _case("in its last second", taken=True, not_after=NOW),
            _case("its time has not begun", not_before=NOW + 1),
            _case("in its first second", taken=True, not_before=NOW),
            _case("begins when it ends", not_before=NOW, not_after=NOW),
            _case("no member", members=[]),
            _case("a member twice", members=["hub.example", "hub.example"]),
            _case("a member in capitals", members=["Hub.example"]),
            _case("no relay", relays=[]),
            _case("no clearance", clearances=[]),
            _case("a clearance of no marking", clearances=[["hub.example", 4]]),
            _case("a clearance of a pattern", clearances=[["*.example", 1]]),
            _case("a clearance twice", clearances=[["hub.example", 1], ["hub.example", 2]]),
            _case("seventeen lists", lists=[b"x"] * 17),
            _case("a version of words", minimum="new"),
            _case("a version of five numbers", minimum="1.2.3.4.5"),
            _case("signed without the words before it", before=b""),
            _case("signed by the key of a node", uri=f"spiffe://{REALM}/org/hub.example/node/relay-1"),
            _case("signed for another realm", uri="spiffe://army.example/realm/bundle"),
            _case("signed by another key than that of the certificate", signer="other"),
            _case("signed by a CA", is_ca=True),
            _case("issued by a stranger", issuer="stranger"),
        ],
    }  # fmt: skip


def _case(name: str, *, taken: bool = False, held: int = 0, **changed: Any) -> Json:
    made = {
        "kind": "pcgrelay-bundle-1",
        "realm": REALM,
        "epoch": held + 1,
        "not_before": NOW - DAY,
        "not_after": NOW + DAY,
        "members": None,
        "relays": None,
        "clearances": None,
        "lists": [],
        "minimum": "",
    }
    content = {key: changed.pop(key, value) for key, value in made.items()}
    more = changed.pop("more", [])
    signer = _key(changed.pop("signer", "signer"))
    before = changed.pop("before", BEFORE)
    body = _packed([*content.values(), *more])
    leaf = _leaf(**changed).public_bytes(Encoding.DER)
    case = {"name": name, "held": held, "bundle": _packed([body, signer.sign(before + body), [leaf]]).hex()}
    case["taken"] = taken
    if taken:
        case["content"] = content
    return case


def _key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def _anchor(name: str = "anchor") -> x509.Certificate:
    key, subject = _key(name), _name(name)
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 1, BEGIN, END)
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(key, None)


def _leaf(*, uri: str = URI, is_ca: bool = False, issuer: str = "anchor") -> x509.Certificate:
    key = _key("signer").public_key()
    builder = x509.CertificateBuilder(_name(issuer), x509.Name([]), key, 2, BEGIN, END)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)])
    builder = builder.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    return builder.add_extension(names, critical=True).sign(_key(issuer), None)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


# --- the shortest form of msgpack ------------------------------------------------------------------------------------


def _packed(value: object) -> bytes:
    if value is None:
        return b"\xc0"
    if isinstance(value, int):
        return _number(value)
    if isinstance(value, str):
        data = value.encode()
        return _head(len(data), (0xA0, 31), (0xD9, 0xDA, 0xDB)) + data
    if isinstance(value, bytes):
        return _head(len(value), None, (0xC4, 0xC5, 0xC6)) + value
    assert isinstance(value, list | tuple)
    head = bytes([0x90 | len(value)]) if len(value) < 16 else b"\xdc" + struct.pack(">H", len(value))
    return head + b"".join(map(_packed, value))


def _number(value: int) -> bytes:
    if value < 0x80:
        return bytes([value])
    for head, form, most in ((0xCC, ">B", 0xFF), (0xCD, ">H", 0xFFFF), (0xCE, ">I", 0xFFFF_FFFF)):
        if value <= most:
            return bytes([head]) + struct.pack(form, value)
    return b"\xcf" + struct.pack(">Q", value)


def _head(size: int, short: tuple[int, int] | None, heads: tuple[int, int, int]) -> bytes:
    if short is not None and size <= short[1]:
        return bytes([short[0] | size])
    form, head = next(
        (form, head)
        for form, head, most in zip((">B", ">H", ">I"), heads, (0xFF, 0xFFFF, 0xFFFF_FFFF), strict=True)
        if size <= most
    )
    return bytes([head]) + struct.pack(form, size)
