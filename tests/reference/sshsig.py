"""Signatures of OpenSSH over files, from PROTOCOL.sshsig alone, for Ed25519 keys."""

from __future__ import annotations

import base64
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

MAGIC = b"SSHSIG"
BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
KIND = b"ssh-ed25519"
HASHES = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}


def string(data: bytes) -> bytes:
    """A string of RFC 4251."""
    return len(data).to_bytes(4, "big") + data


def key_blob(public: bytes) -> bytes:
    return string(KIND) + string(public)


def statement(text: bytes, namespace: bytes, hash_name: bytes, reserved: bytes = b"") -> bytes:
    """What the signature is over."""
    digest = HASHES[hash_name](text).digest()
    return MAGIC + string(namespace) + string(reserved) + string(hash_name) + string(digest)


def blob(public: bytes, namespace: bytes, hash_name: bytes, signature: bytes, reserved: bytes = b"") -> bytes:
    signed = string(KIND) + string(signature)
    parts = (key_blob(public), namespace, reserved, hash_name, signed)
    return MAGIC + (1).to_bytes(4, "big") + b"".join(map(string, parts))


def armour(data: bytes) -> bytes:
    text = base64.b64encode(data).decode()
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    return "\n".join([BEGIN, *lines, END, ""]).encode()


def sign(secret: Ed25519PrivateKey, text: bytes, namespace: str, hash_name: bytes = b"sha512") -> bytes:
    public = secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    signature = secret.sign(statement(text, namespace.encode(), hash_name))
    return armour(blob(public, namespace.encode(), hash_name, signature))


def strings(data: bytes) -> list[bytes]:
    """Split strings that follow one another. ValueError: they do not end where the data ends."""
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        if len(data) < 4 + size:
            raise ValueError("cut short")
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found


def is_good(public: bytes, text: bytes, armoured: bytes, namespace: str) -> bool:
    """Whether it is a signature of that key over the text, for that purpose."""
    try:
        begin, *middle, end = armoured.decode("ascii").splitlines()
        data = base64.b64decode("".join(middle), validate=True)
        if (begin, end, data[:6], data[6:10]) != (BEGIN, END, MAGIC, (1).to_bytes(4, "big")):
            return False
        key, purpose, _, hash_name, signed = strings(data[10:])
        kind, signature = strings(signed)
        if key != key_blob(public) or purpose != namespace.encode() or kind != KIND or hash_name not in HASHES:
            return False
        # "Reserved" is not used by version 1: whatever stands there, the empty string was signed.
        Ed25519PublicKey.from_public_bytes(public).verify(signature, statement(text, purpose, hash_name))
    except (ValueError, InvalidSignature):
        return False
    return True
