"""Vectors of the audit log: the tree and its proofs (RFC 6962), notes and what their signatures are over (C2SP)."""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from tests.reference import notes, trees

Json = dict[str, Any]
ORIGIN = "pcgrelay.police.example/kent.police.example/kent-1"
WITNESS = "hub.example/relay-1"
SIZES = [1, 2, 3, 4, 5, 7, 8, 13, 64, 65]
TIME = 1_793_664_000


def tree() -> Json:
    records = [f'{{"n":{number},"ts":"2026-11-03T02:14:07.113Z","event":"test"}}'.encode() for number in range(65)]
    leaves = [trees.leaf(record) for record in records]
    return {
        "description": "The tree of an audit log (docs/audit.md). 'records' are its lines without their ends. A proof "
        "of inclusion begins with the leaf's sibling; one of consistency is as RFC 6962, section 2.1.2, has it.",
        "records": [record.decode() for record in records],
        "roots": [{"size": size, "root": trees.root(leaves[:size]).hex()} for size in [0, *SIZES]],
        "inclusion": [
            {"index": index, "size": size, "proof": [each.hex() for each in trees.inclusion(index, leaves[:size])]}
            for size in SIZES
            for index in sorted({0, size // 2, size - 1})
        ],
        "consistency": [
            {"old": old, "new": new, "proof": [each.hex() for each in trees.consistency(old, leaves[:new])]}
            for new in SIZES
            for old in [0, *SIZES]
            if old <= new
        ],
    }


def note() -> Json:
    root = trees.root([trees.leaf(b"one"), trees.leaf(b"two")])
    log, witness = _ed25519("log"), _ed25519("witness")
    keys = {
        "log": notes.Key(ORIGIN, 0x01, log.public_key().public_bytes_raw()),
        "log_ml_dsa_44": notes.Key(ORIGIN, 0x06, _ml_dsa("log").public_key().public_bytes_raw()),
        "witness": notes.Key(WITNESS, 0x04, witness.public_key().public_bytes_raw()),
    }
    text = notes.checkpoint(ORIGIN, 2, root)
    return {
        "description": "A checkpoint of an audit log with the signatures that are the same each time (types 0x01 and "
        "0x04), the verifier keys of all three types, and for each the bytes that its signature is over. The seed of a "
        "private key is SHA-256 of 'pcgrelay vectors: NAME'.",
        "seeds": {"log": _seed("log").hex(), "witness": _seed("witness").hex()},
        "keys": {name: key.text for name, key in keys.items()},
        "time": TIME,
        "text": text,
        "statements": {name: notes.statement(key, text, TIME).hex() for name, key in keys.items()},
        "note": text + "\n" + notes.line(keys["log"], log, text) + notes.line(keys["witness"], witness, text, TIME),
    }


def _seed(name: str) -> bytes:
    return hashlib.sha256(f"pcgrelay vectors: {name}".encode()).digest()


def _ed25519(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(_seed(name))


def _ml_dsa(name: str) -> MLDSA44PrivateKey:
    return MLDSA44PrivateKey.from_seed_bytes(_seed(name))
