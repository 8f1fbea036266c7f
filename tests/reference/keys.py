"""The key schedule (protocol, section 3), the exporter context (2.5) and the lane preamble (4.1).

Secrets go one way: exported secret, lane or flow secret, direction, epoch, then key and IV of a purpose.
"""

import hashlib
import hmac
from dataclasses import dataclass
from enum import IntEnum

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from tests.reference.refusals import Reason, Refused

VERSION = 1
EXPORTER_LABEL = b"EXPERIMENTAL-pcgrelay-v1"
TAG_SIZE = 16
NO_MIX = bytes(32)
PREAMBLE_SIZE = 48
MAGIC = b"PCGR"


class Suite(IntEnum):
    AES_256_GCM = 1
    AES_128_GCM = 2
    CHACHA20_POLY1305 = 3

    @property
    def key_size(self) -> int:
        return 16 if self is Suite.AES_128_GCM else 32

    def aead(self, key: bytes) -> AESGCM | ChaCha20Poly1305:
        return ChaCha20Poly1305(key) if self is Suite.CHACHA20_POLY1305 else AESGCM(key)


class Purpose(IntEnum):
    HOP_HEADER = 1
    HOP_BODY = 2
    FLOW_DATA = 3
    FLOW_CONTROL = 4
    FLOW_DATAGRAM = 5


class Use(IntEnum):
    """What a TLS handshake was made for: `purpose` of HELLO and of the exporter context."""

    LINK = 1
    SESSION = 2
    LINK_RENEWAL = 3
    SESSION_RENEWAL = 4


class Role(IntEnum):
    EDGE = 1
    RELAY = 2


def u8(value: int) -> bytes:
    return value.to_bytes(1, "big")


def u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def u48(value: int) -> bytes:
    return value.to_bytes(6, "big")


def u64(value: int) -> bytes:
    return value.to_bytes(8, "big")


def extract(salt: bytes, ikm: bytes) -> bytes:
    """HKDF-Extract of RFC 5869 with SHA-256."""
    return hmac.digest(salt, ikm, "sha256")


def hkdf_expand(secret: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand of RFC 5869 with SHA-256."""
    out, block, count = b"", b"", 0
    while len(out) < length:
        count += 1
        block = hmac.digest(secret, block + info + u8(count), "sha256")
        out += block
    return out[:length]


def expand(secret: bytes, label: str, context: bytes, length: int) -> bytes:
    """Expand(secret, label, context, length) of section 3."""
    name = b"pcg1 " + label.encode()
    return hkdf_expand(secret, u16(length) + u8(len(name)) + name + u8(len(context)) + context, length)


@dataclass(frozen=True)
class LinkSecrets:
    """What a link's exported secret becomes, up to the number n of a lane."""

    link_secret: bytes

    @property
    def proof_key(self) -> bytes:
        return expand(self.link_secret, "lane proof", b"", 32)

    def lane_root(self, number: int) -> bytes:
        root = expand(self.link_secret, "lane root", b"", 32)
        for _ in range(number):
            root = expand(root, "lane next", b"", 32)
        return root

    def lane_secret(self, number: int) -> bytes:
        return expand(self.lane_root(number), "lane", u32(number), 32)


def flow_secret(session_secret: bytes, index: int) -> bytes:
    return expand(session_secret, "flow", u16(index), 32)


def direction_secret(secret: bytes, direction: int) -> bytes:
    """S[d][0] of a lane or flow. Direction 0 comes from the TLS client."""
    return expand(secret, "direction", u8(direction), 32)


def mix_of(renewal_secret: bytes, direction: int, number: int) -> bytes:
    """The mix that a renewal gives to one direction of a lane (by its number) or flow (by its index)."""
    return expand(renewal_secret, "mix", u8(direction) + u32(number), 32)


def nonce(iv: bytes, counter: int) -> bytes:
    return bytes(a ^ b for a, b in zip(iv, u32(0) + u64(counter), strict=True))


@dataclass(frozen=True)
class Epoch:
    """The keys of one epoch of one direction."""

    suite: Suite
    secret: bytes
    number: int = 0

    def key(self, purpose: Purpose) -> bytes:
        return expand(self.secret, "key", u8(purpose), self.suite.key_size)

    def iv(self, purpose: Purpose) -> bytes:
        return expand(self.secret, "iv", u8(purpose), 12)

    def next(self, mix: bytes = NO_MIX) -> "Epoch":
        step = expand(self.secret, "rekey", u32(self.number + 1), 32)
        return Epoch(self.suite, extract(mix, step), self.number + 1)

    def seal(self, purpose: Purpose, counter: int, associated: bytes, clear: bytes) -> tuple[bytes, bytes]:
        """Return the tag and the sealed bytes."""
        sealed = self.suite.aead(self.key(purpose)).encrypt(nonce(self.iv(purpose), counter), clear, associated)
        return sealed[-TAG_SIZE:], sealed[:-TAG_SIZE]

    def open(self, purpose: Purpose, counter: int, associated: bytes, tag: bytes, sealed: bytes) -> bytes:
        aead = self.suite.aead(self.key(purpose))
        try:
            return aead.decrypt(nonce(self.iv(purpose), counter), sealed + tag, associated)
        except InvalidTag:
            raise Refused(Reason.BAD_TAG, purpose.name) from None


@dataclass(frozen=True)
class KeyLimits:
    """The limits of section 6.5, soft and hard."""

    frames: tuple[int, int] = (1 << 22, 1 << 24)
    bytes: tuple[int, int] = (1 << 36, 1 << 38)
    age: tuple[float, float] = (120.0, 180.0)


@dataclass
class KeyUse:
    """How much a sender has sealed under its present epoch."""

    limits: KeyLimits
    frames: int = 0
    bytes: int = 0
    first_at: float | None = None

    def must_step(self, now: float) -> bool:
        return self._passes(0, now)

    def spend(self, size: int, now: float, *, at_any_age: bool = False) -> None:
        if self._passes(1, self.first_at or 0.0 if at_any_age else now):
            raise Refused(Reason.KEY_LIMIT)
        self.frames += 1
        self.bytes += size
        if self.first_at is None:
            self.first_at = now

    def pause(self, since: float, now: float) -> None:
        """Leave out of the age what a flow spent in RESUMING. It may have begun within that."""
        if self.first_at is not None:
            self.first_at += now - max(self.first_at, since)

    def _passes(self, which: int, now: float) -> bool:
        age = 0.0 if self.first_at is None else now - self.first_at
        limits = self.limits
        return self.frames >= limits.frames[which] or self.bytes >= limits.bytes[which] or age >= limits.age[which]


@dataclass(frozen=True)
class ExporterContext:
    """The tagged fields under which both ends take their secret from TLS."""

    use: Use
    client_role: Role
    server_role: Role
    suite: Suite
    generation: int
    client_identity: str
    server_identity: str
    client_leaf: bytes
    server_leaf: bytes
    transcript: bytes

    def encode(self) -> bytes:
        hashed = [self.client_identity.encode(), self.server_identity.encode()]
        hashed += [self.client_leaf, self.server_leaf, self.transcript]
        values = [u16(VERSION), u8(self.use), u8(self.client_role) + u8(self.server_role), u8(self.suite)]
        values += [u32(self.generation), *(hashlib.sha256(value).digest() for value in hashed)]
        return b"".join(u8(tag) + u8(len(value)) + value for tag, value in enumerate(values, start=1))

    def binding(self) -> bytes:
        return hashlib.sha256(self.encode()).digest()


@dataclass(frozen=True)
class Preamble:
    """The 48 clear bytes that open a lane."""

    index: int
    number: int
    link_id: bytes

    def encode(self, proof_key: bytes) -> bytes:
        clear = MAGIC + u16(VERSION) + u16(self.index) + u32(self.number) + u32(0) + self.link_id
        return clear + hmac.digest(proof_key, clear, "sha256")[:16]


def preamble_decode(data: bytes, links: dict[bytes, bytes]) -> Preamble:
    """Read a preamble, given the proof key of each known link. Whether its number is free is asked elsewhere."""
    clear, proof = data[:32], data[32:]
    link_id = clear[16:]
    if len(data) != PREAMBLE_SIZE or clear[:6] != MAGIC + u16(VERSION) or link_id not in links:
        raise Refused(Reason.BAD_PREAMBLE)
    if not hmac.compare_digest(proof, hmac.digest(links[link_id], clear, "sha256")[:16]) or any(clear[12:16]):
        raise Refused(Reason.BAD_PREAMBLE)
    return Preamble(int.from_bytes(clear[6:8], "big"), int.from_bytes(clear[8:12], "big"), link_id)
