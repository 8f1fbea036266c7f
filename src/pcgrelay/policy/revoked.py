"""Lists of revoked keys, as far as it takes to see whether one holds all of another (pure).

OpenSSH reads either a KRL (its PROTOCOL.krl) or a text of public keys, one a line. Signatures are verified by
ssh-keygen with the file as it is; here only the entries are told apart.
"""

from __future__ import annotations

import base64
import hashlib

MAGIC = b"SSHKRL\n\0"
_VERSION = 1
_KEYS, _SHA1, _SHA256 = 2, 3, 5  # sections that are lists of keys, or of their fingerprints
_HEAD_BYTES = 8 + 4 + 3 * 8  # magic, version of the format, then number, date and flags


class Unreadable(ValueError):
    """It is no list that is understood here."""


def entries(content: bytes) -> frozenset[tuple[int, bytes]]:
    """Return the entries of a list: the kind of each, and what it names. Unreadable: it is none."""
    if content.startswith(MAGIC):
        return frozenset(_of_krl(content))
    lines = (line.strip() for line in content.splitlines())
    return frozenset((0, line) for line in lines if line and not line.startswith(b"#"))


def holds_all(new: bytes, old: bytes) -> bool:
    """Return whether a list revokes whatever the other one did. One that is not understood does not."""
    try:
        return entries(old) <= entries(new)
    except Unreadable:
        return False


def fingerprints(content: bytes) -> frozenset[str]:
    """Return the keys that a list revokes, as ssh-keygen prints their fingerprints, as far as it names them so.

    A list may name a key by SHA-1 alone: only ssh-keygen, which has the key, knows whose that is.
    """
    try:
        found = entries(content) if content else frozenset()
    except Unreadable:
        return frozenset()
    keys = {hashlib.sha256(data).digest() for kind, data in found if kind == _KEYS}
    keys |= {data for kind, data in found if kind == _SHA256}
    return frozenset("SHA256:" + base64.b64encode(each).decode().rstrip("=") for each in keys)


def _of_krl(content: bytes) -> set[tuple[int, bytes]]:
    if len(content) < _HEAD_BYTES or int.from_bytes(content[8:12]) != _VERSION:
        raise Unreadable("another version")
    place = _HEAD_BYTES
    for _ in ("reserved", "comment"):
        _, place = _string(content, place)
    found = set()
    while place < len(content):
        kind = content[place]
        data, place = _string(content, place + 1)
        if kind not in (_KEYS, _SHA1, _SHA256):
            # Certificates are numbers and ranges of numbers: equal, or not known to be.
            found.add((kind, data))
            continue
        inner = 0
        while inner < len(data):
            key, inner = _string(data, inner)
            found.add((kind, key))
    return found


def _string(data: bytes, place: int) -> tuple[bytes, int]:
    """Return a string with its length before it, and the place behind it."""
    begin = place + 4
    end = begin + int.from_bytes(data[place:begin])
    if begin > len(data) or end > len(data):
        raise Unreadable("it is cut off")
    return data[begin:end], end
