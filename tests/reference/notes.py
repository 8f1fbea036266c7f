"""Signed notes, checkpoints and cosignatures, from C2SP signed-note, tlog-checkpoint and tlog-cosignature alone."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from tests.reference.trees import Hash


@dataclass(frozen=True)
class Key:
    """A public key: its name, the byte of its type, and its bytes."""

    name: str
    kind: int
    public: bytes

    @property
    def number(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    @property
    def text(self) -> str:
        return f"{self.name}+{self.number.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"


def checkpoint(origin: str, size: int, root: Hash, *extensions: str) -> str:
    return "\n".join([origin, str(size), base64.b64encode(root).decode(), *extensions]) + "\n"


def statement(key: Key, text: str, time: int) -> bytes:
    """What a signature of the key's type is over."""
    if key.kind == 0x01:
        return text.encode()
    if key.kind == 0x04:
        return b"cosignature/v1\n" + b"time " + str(time).encode() + b"\n" + text.encode()
    origin, size, root = text.split("\n")[:3]
    return (
        b"subtree/v1\n\x00"
        + bytes([len(key.name.encode())])
        + key.name.encode()
        + time.to_bytes(8, "big")
        + bytes([len(origin.encode())])
        + origin.encode()
        + (0).to_bytes(8, "big")
        + int(size).to_bytes(8, "big")
        + base64.b64decode(root)
    )


def line(key: Key, secret: Ed25519PrivateKey, text: str, time: int = 0) -> str:
    """A signature line of type 0x01 or 0x04."""
    stamp = b"" if key.kind == 0x01 else time.to_bytes(8, "big")
    signature = secret.sign(statement(key, text, time))
    return f"— {key.name} {base64.b64encode(key.number + stamp + signature).decode()}\n"


def parsed(data: bytes) -> tuple[str, list[tuple[str, bytes]]] | None:
    """The text of a note, and the name and the bytes of each signature; nothing: it is none."""
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if any(ord(each) < 0x20 and each != "\n" for each in whole):
        return None
    at = whole.rfind("\n\n")
    if at < 0 or not whole.endswith("\n"):
        return None
    signatures = []
    for each in whole[at + 2 :].split("\n")[:-1]:
        words = each.split(" ")
        if len(words) != 3 or words[0] != "—" or not words[1] or "+" in words[1]:
            return None
        if any(character.isspace() for character in words[1]):
            return None
        try:
            value = base64.b64decode(words[2], validate=True)
        except ValueError:
            return None
        if base64.b64encode(value).decode() != words[2] or len(value) < 5:
            return None
        signatures.append((words[1], value))
    return (whole[: at + 1], signatures) if signatures else None


def holds(key: Key, text: str, value: bytes) -> bool:
    """Whether the bytes of a signature line, with the number of the key, are a signature of the text."""
    if value[:4] != key.number:
        return False
    time = 0 if key.kind == 0x01 else int.from_bytes(value[4:12], "big")
    signature = value[4:] if key.kind == 0x01 else value[12:]
    public = MLDSA44PublicKey if key.kind == 0x06 else Ed25519PublicKey
    try:
        public.from_public_bytes(key.public).verify(signature, statement(key, text, time))
    except InvalidSignature:
        return False
    return True
