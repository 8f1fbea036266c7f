"""Vectors of WITNESS (docs/protocol.md, 9.12): the messages, and what a witness answers to requests in turn."""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from tests.reference import notes, trees

Json = dict[str, Any]
ORIGIN = "pcgrelay.police.example/kent.police.example/kent-1"
OTHER = "pcgrelay.police.example/met.police.example/met-1"
SEED = hashlib.sha256(b"log").digest()
LEAVES = [trees.leaf(b'{"n":%d,"event":"x"}' % number) for number in range(20)]
FORKED = [*LEAVES[:5], *(trees.leaf(b'{"n":%d,"event":"y"}' % number) for number in range(5, 20))]


def _secret() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(SEED)


def _key(name: str, kind: int) -> notes.Key:
    if kind == 6:
        return notes.Key(name, kind, MLDSA44PrivateKey.from_seed_bytes(SEED).public_key().public_bytes_raw())
    return notes.Key(name, kind, _secret().public_key().public_bytes_raw())


KEYS = (_key(ORIGIN, 1), _key(ORIGIN, 6), _key("kent.police.example/kent-1", 4))


def witness() -> Json:
    steps = [
        _step("the first head", LEAVES, 0, 7, "cosigned"),
        _step("the same again", LEAVES, 7, 7, "cosigned"),
        _step("a longer one", LEAVES, 7, 13, "cosigned"),
        _step("from a size that the witness does not know", LEAVES, 7, 20, "size"),
        _step("from the one that it knows", LEAVES, 13, 20, "cosigned"),
        _step("an older head", LEAVES, 13, 13, "conflict"),
        _step("another tree of the same size", FORKED, 20, 20, "conflict"),
        _step("of another log", LEAVES, 20, 20, "refused", origin=OTHER),
        _step("a signature that does not hold", LEAVES, 20, 20, "refused", breaks=True),
        _step("an old size beyond the new", LEAVES, 20, 13, "refused", proof=[], old=21),
    ]
    forked = [
        _step("the first head", LEAVES, 0, 7, "cosigned"),
        _step("a tree that does not continue it", FORKED, 7, 13, "conflict"),
    ]
    return {
        "description": "Section 9.12. 'wire' is a WITNESS with its length: a request without keys. 'statement' is what "
        "a certificate signs, behind its prefix, for the three vkeys. Each list of steps is of one witness, which "
        "begins with nothing: the body of a request, and what it answers; 'known' is the size that it knows "
        "afterwards.",
        "origin": ORIGIN,
        "vkeys": [key.text for key in KEYS],
        "statement": "".join(f"{line}\n" for line in (ORIGIN, *(key.text for key in KEYS))),
        "wire": _wire(1, bytes.fromhex(steps[0]["body"])).hex(),
        "steps": _numbered(steps),
        "forked": _numbered(forked),
    }


def _numbered(steps: list[Json]) -> list[Json]:
    known = 0
    for step in steps:
        if step["answer"] == "cosigned":
            known = step.pop("size")
        step.pop("size", None)
        step["known"] = known
    return steps


def _step(
    name: str,
    leaves: list[bytes],
    before: int,
    size: int,
    answer: str,
    *,
    origin: str = ORIGIN,
    breaks: bool = False,
    proof: list[bytes] | None = None,
    old: int | None = None,
) -> Json:
    if proof is None:
        proof = trees.consistency(before, leaves[:size])
    text = notes.checkpoint(origin, size, trees.root(leaves[:size]))
    line = notes.line(_key(origin, 1), _secret(), text + "x" if breaks else text)
    lines = [f"old {before if old is None else old}", *(base64.b64encode(each).decode() for each in proof)]
    body = "\n".join(lines) + "\n\n" + text + "\n" + line
    return {"name": name, "body": body.encode().hex(), "answer": answer, "size": size}


def _wire(kind: int, body: bytes) -> bytes:
    head = b"\xc4" + bytes([len(body)]) if len(body) < 256 else b"\xc5" + struct.pack(">H", len(body))
    message = b"\x94\x11" + bytes([kind]) + head + body + b"\x90"
    return struct.pack(">I", len(message)) + message
