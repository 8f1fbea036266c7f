"""Control messages (docs/protocol.md, 9.1): u32 length, then a msgpack array of tag and fields.

All contents come from a neighbour, so every field has its limit here, and no message object exceeds one. Fields that a
newer node appends are ignored, and so is a short message with an unknown tag. Only known fields become objects; the
rest is skipped, so that its form costs nothing: building a map whose keys all have one hash would take seconds. The tag
is parsed by hand from the first bytes, and determines how long the message may be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta, Struct

from pcgrelay.errors import PcgrelayError
from pcgrelay.model import URI_LIMIT

MESSAGE_LIMIT_BYTES = 262_144
ORDINARY_LIMIT_BYTES = 32_768  # of all messages but ADVERT, OBJECT_PIECE, WITNESS and WANT
UNKNOWN_LIMIT_BYTES = 4_096
CARRY_LIMIT_BYTES = 16_384
PIECE_LIMIT_BYTES = 65_536  # of an object, in one OBJECT_PIECE
PIECE_MESSAGE_LIMIT_BYTES = 66_560
WITNESS_LIMIT_BYTES = 16_384
WITNESS_BODY_LIMIT_BYTES = 12_288
WITNESS_KEYS_MOST = 12
WANT_LIMIT_BYTES = 131_072
NAME_LIMIT = 63 + 1 + 253  # service@organisation
RELAYS_MOST = 8
PREFIX_BYTES = 4

U8 = Annotated[int, Meta(ge=0, le=0xFF)]
U16 = Annotated[int, Meta(ge=0, le=0xFFFF)]
U32 = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
U64 = Annotated[int, Meta(ge=0)]  # msgpack has no more than 64 bits
Label = Annotated[int, Meta(ge=1, le=0xFFFF_FFFF)]
Lanes = Annotated[int, Meta(ge=0, le=64)]
Flows = Annotated[int, Meta(ge=1, le=64)]
Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
SessionId = Annotated[bytes, Meta(min_length=16, max_length=16)]
WitnessKey = Annotated[bytes, Meta(min_length=1, max_length=WITNESS_BODY_LIMIT_BYTES)]
Identity = Annotated[str, Meta(max_length=URI_LIMIT)]
Reason = Annotated[str, Meta(max_length=256)]
Route = Annotated[tuple[Identity, ...], Meta(max_length=RELAYS_MOST)]
WantedName = Annotated[str, Meta(max_length=NAME_LIMIT)]


class Code:
    """Why something ended, as it is sent to a peer (docs/protocol.md, 10)."""

    DONE: ClassVar = 0
    VIOLATION: ClassVar = 1
    LIMIT: ClassVar = 2
    BUSY: ClassVar = 3
    UNKNOWN: ClassVar = 4
    REFUSED: ClassVar = 5
    UNREACHABLE: ClassVar = 6
    TIMEOUT: ClassVar = 7
    ABORTED: ClassVar = 8
    DRAINING: ClassVar = 9
    EXPIRED: ClassVar = 10


CODE_NAMES = {value: name.lower() for name, value in vars(Code).items() if isinstance(value, int)}


def code_name(code: int) -> str:
    """Return the name of a code; an unknown one, of a newer node, is shown as its number."""
    return CODE_NAMES.get(code, str(code))


class Hello(Struct, tag=1, array_like=True, frozen=True):
    """First message of each side on a connection: identity and offers (docs/protocol.md, 9.2)."""

    versions: Annotated[tuple[U16, ...], Meta(max_length=16)]
    purpose: U8
    role: U8
    identity: Identity
    suites: Annotated[tuple[U8, ...], Meta(min_length=1, max_length=16)]
    lanes: Lanes
    flows: Lanes
    cap: U32
    link_id: Annotated[bytes, Meta(max_length=16)]
    generation: U32
    features: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=64)]
    nonce: Annotated[bytes, Meta(min_length=32, max_length=32)]
    # Of a session, set up or renewed: the values of its PATH_OPEN. An older node does not send them.
    session: Annotated[bytes, Meta(max_length=16)] = b""
    marking: U8 = 0
    priority: U8 = 0


class Beat(Struct, tag=2, array_like=True, frozen=True):
    """Probe of the control connection, or its answer with the same token (docs/protocol.md, 9.3)."""

    token: U64
    answer: bool


class Advert(Struct, tag=3, array_like=True, frozen=True):
    """An edge's signed catalogue entry, with the relays that forwarded it (docs/protocol.md, 9.4).

    chain: certificates in DER, leaf first; or one element of 32 bytes, the digest of a chain that was sent before.
    """

    entry: Annotated[bytes, Meta(max_length=160_000)]
    signature: Annotated[bytes, Meta(max_length=1_024)]
    chain: Annotated[tuple[Annotated[bytes, Meta(max_length=16_384)], ...], Meta(min_length=1, max_length=8)]
    path: Route


class Withdraw(Struct, tag=4, array_like=True, frozen=True):
    """The sender no longer reaches that edge (docs/protocol.md, 9.4)."""

    edge: Identity
    sequence: U64


class PathOpen(Struct, tag=5, array_like=True, frozen=True):
    """Request for a path to an edge (docs/protocol.md, 9.5)."""

    session: SessionId
    source: Identity
    destination: Identity
    marking: U8
    priority: U8
    flows: Flows
    cap: U32
    label: Label
    resume: bool
    via: Route


class PathAccept(Struct, tag=6, array_like=True, frozen=True):
    """A path was accepted (docs/protocol.md, 9.5)."""

    session: SessionId
    flows: Flows
    cap: U32
    label: Label
    opened: U32 = 0  # the label in the PATH_OPEN that is answered; 0: an older node does not send it


class PathRefuse(Struct, tag=7, array_like=True, frozen=True):
    """A path was refused: the code, and the node that refused (docs/protocol.md, 9.5)."""

    session: SessionId
    code: U16
    reason: Reason
    by: Identity
    opened: U32 = 0


class PathClose(Struct, tag=8, array_like=True, frozen=True):
    """A path ends (docs/protocol.md, 9.5)."""

    session: SessionId
    code: U16
    opened: U32 = 0


class Carry(Struct, tag=9, array_like=True, frozen=True):
    """TLS records of a session set-up or renewal (docs/protocol.md, 9.6 and 9.9)."""

    session: SessionId
    data: Annotated[bytes, Meta(max_length=CARRY_LIMIT_BYTES)]


class Drain(Struct, tag=10, array_like=True, frozen=True):
    """The sender drains and accepts no new paths (docs/protocol.md, 9.8)."""

    milliseconds: U32


class Renewed(Struct, tag=11, array_like=True, frozen=True):
    """The sender can use the secret of a renewal (docs/protocol.md, 9.9)."""

    mix: U64
    generation: U32


class Goodbye(Struct, tag=12, array_like=True, frozen=True):
    """Why the connection ends (docs/protocol.md, 9.8 and 10)."""

    code: U16
    reason: Reason


class Object(Struct, tag=13, array_like=True, frozen=True):
    """The sender has this version of an object (docs/protocol.md, 9.10)."""

    kind: U8
    name: Digest
    epoch: U64
    hash: Digest
    size: U32


class ObjectGet(Struct, tag=14, array_like=True, frozen=True):
    """Request for a piece of an object that the receiver has announced (docs/protocol.md, 9.10)."""

    hash: Digest
    offset: U32


class ObjectPiece(Struct, tag=15, array_like=True, frozen=True):
    """A piece of an object, as requested (docs/protocol.md, 9.10)."""

    hash: Digest
    offset: U32
    data: Annotated[bytes, Meta(min_length=1, max_length=PIECE_LIMIT_BYTES)]


class Twin(Struct, tag=16, array_like=True, frozen=True):
    """Two processes bear this identity (docs/protocol.md, 9.11)."""

    identity: Identity


class WitnessKind(IntEnum):
    """What a WITNESS says (docs/protocol.md, 9.12)."""

    REQUEST = 1
    COSIGNED = 2
    SIZE = 3
    REFUSED = 4
    CONFLICT = 5


class Witness(Struct, tag=17, array_like=True, frozen=True):
    """A request to sign the head of an audit log, or the answer (docs/protocol.md, 9.12)."""

    kind: Annotated[int, Meta(ge=1, le=5)]
    body: Annotated[bytes, Meta(max_length=WITNESS_BODY_LIMIT_BYTES)]
    keys: Annotated[tuple[WitnessKey, ...], Meta(max_length=WITNESS_KEYS_MOST)] = ()


class Want(Struct, tag=18, array_like=True, frozen=True):
    """Which entries an edge needs of a relay (docs/protocol.md, 9.13). With half of these bounds it is taken."""

    services: Annotated[tuple[WantedName, ...], Meta(max_length=8_192)]
    edges: Annotated[tuple[Identity, ...], Meta(max_length=2_048)] = ()


class AdvertGet(Struct, tag=19, array_like=True, frozen=True):
    """Request for the entry of an edge with its whole chain (docs/protocol.md, 9.4)."""

    edge: Identity


class DatagramLane(Struct, tag=20, array_like=True, frozen=True):
    """The offer of a UDP lane by the dialler of a link, or the acceptor's answer (docs/protocol.md, 9.14)."""

    index: U16
    number: U32
    token: U32  # 0 in an answer: there is no lane, and `code` says why
    port: U16
    code: U16 = 0


Message = (
    Hello
    | Beat
    | Advert
    | Withdraw
    | PathOpen
    | PathAccept
    | PathRefuse
    | PathClose
    | Carry
    | Drain
    | Renewed
    | Goodbye
    | Object
    | ObjectGet
    | ObjectPiece
    | Twin
    | Witness
    | Want
    | AdvertGet
    | DatagramLane
)

# msgspec does not raise its own error for text that is not UTF-8.
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_LIMITS = dict.fromkeys(range(1, 21), ORDINARY_LIMIT_BYTES) | {
    3: MESSAGE_LIMIT_BYTES,
    15: PIECE_MESSAGE_LIMIT_BYTES,
    17: WITNESS_LIMIT_BYTES,
    18: WANT_LIMIT_BYTES,
}
_HEAD_BYTES = 14  # the longest head of an array, and the longest number after it
_INTEGER_BYTES = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class MessageRefused(PcgrelayError):
    """Received bytes are not a message of this protocol, or a message that is too long for its kind."""

    def __init__(self, text: str, code: int = Code.VIOLATION) -> None:
        super().__init__(text)
        self.code = code


def encode_message(message: Message) -> bytes:
    """Encode a message with its length. MessageRefused: it is longer than the protocol allows."""
    if isinstance(message, Advert):
        return _adverts.encode(message)
    return _encode(message)


class _AdvertEncoder:
    """Encodes an ADVERT once, for a relay sends the same object to all of its neighbours, one after the other."""

    def __init__(self) -> None:
        self._last: tuple[Advert | None, bytes] = (None, b"")

    def encode(self, advert: Advert) -> bytes:
        last, body = self._last
        if advert is not last:
            body = _encode(advert)
            self._last = advert, body
        return body


_adverts = _AdvertEncoder()


def _encode(message: Message) -> bytes:
    body = _encoder.encode(message)
    if len(body) > MESSAGE_LIMIT_BYTES:
        raise MessageRefused(f"A message of {len(body)} bytes is longer than the protocol allows.")
    return len(body).to_bytes(PREFIX_BYTES, "big") + body


class MessageReader:
    """Splits a byte stream into messages. It buffers at most one unfinished message, whose length is limited."""

    def __init__(self) -> None:
        self._held = bytearray()
        self.unknown_total = 0
        self.on_unknown: Callable[[], None] = lambda: None  # called for each message of an unknown kind

    def feed(self, data: bytes) -> Iterator[tuple[Message, bytes]]:
        """Yield each complete message with its bytes. MessageRefused: the length or the content is invalid."""
        self._held += data
        while len(self._held) >= PREFIX_BYTES:
            length = int.from_bytes(self._held[:PREFIX_BYTES], "big")
            if length > MESSAGE_LIMIT_BYTES:
                raise MessageRefused(f"A message of {length} bytes is longer than the protocol allows.")
            if len(self._held) < PREFIX_BYTES + min(length, _HEAD_BYTES):
                return
            tag = read_tag(bytes(self._held[PREFIX_BYTES : PREFIX_BYTES + min(length, _HEAD_BYTES)]))
            if length > (limit := _LIMITS.get(tag, UNKNOWN_LIMIT_BYTES)):
                raise MessageRefused(f"A message of {length} bytes and kind {tag} may have {limit}.", Code.LIMIT)
            end = PREFIX_BYTES + length
            if len(self._held) < end:
                return
            whole = bytes(self._held[:end])
            del self._held[:end]
            if tag in _LIMITS:
                yield _decoded(whole[PREFIX_BYTES:]), whole
            else:
                self.unknown_total += 1
                self.on_unknown()


def _decoded(body: bytes) -> Message:
    try:
        return _decoder.decode(body)
    except _MALFORMED as error:
        raise MessageRefused(f"A control message breaks its form ({type(error).__name__}).") from None


def read_tag(head: bytes) -> int:
    """Return the tag of a message from its first bytes. MessageRefused: they are not an array that begins with one."""
    first = head[0] if head else 0
    start = {0xDC: 3, 0xDD: 5}.get(first, 1)
    if (0x91 <= first <= 0x9F or (start > 1 and any(head[1:start]))) and len(head) > start:
        kind = head[start]
        if kind < 0x80 or kind >= 0xE0:
            return kind - ((kind & 0x80) << 1)
        size = _INTEGER_BYTES.get(kind, 0)
        number = head[start + 1 : start + 1 + size]
        if size and len(number) == size:
            return int.from_bytes(number, "big", signed=kind >= 0xD0)
    raise MessageRefused("A control message is no array that begins with its kind.")
