"""Frames: the header, the body's associated data, fixed bodies, seal and open (protocol, section 4)."""

import struct
from dataclasses import dataclass
from enum import IntEnum

from tests.reference.keys import TAG_SIZE, VERSION, Epoch, Purpose, u8, u16, u32, u48
from tests.reference.refusals import Reason, Refused

HEADER_SIZE = 16
PREFIX_SIZE = HEADER_SIZE + 2 * TAG_SIZE
BODY_LIMIT = 65_536


class Type(IntEnum):
    CONFIRM = 0x01
    PING = 0x02
    PONG = 0x03
    REKEY = 0x04
    DRAIN = 0x05
    CLOSE = 0x06
    PADDING = 0x07
    LOST = 0x08
    FLOW_CONFIRM = 0x41
    BUNDLE = 0x42
    FLOW_REKEY = 0x43
    ACK = 0x81
    RESUME = 0x82
    FLOW_CLOSE = 0x83
    FLOW_PADDING = 0x84
    DATAGRAMS = 0x85

    @property
    def is_lane(self) -> bool:
        return self < 0x40

    @property
    def is_volatile(self) -> bool:
        return self >= 0x80

    @property
    def purpose(self) -> Purpose:
        """The purpose of the key that seals the body."""
        if self.is_lane:
            return Purpose.HOP_BODY
        if self is Type.DATAGRAMS:
            return Purpose.FLOW_DATAGRAM
        return Purpose.FLOW_CONTROL if self.is_volatile else Purpose.FLOW_DATA


# The bodies of a fixed form. A field named "zero" is reserved.
BODIES: dict[Type, tuple[str, tuple[str, ...]]] = {
    Type.CONFIRM: (">HHI32s", ("version", "index", "number", "binding")),
    Type.PING: (">Q", ("token",)),
    Type.PONG: (">Q", ("token",)),
    Type.REKEY: (">IQ", ("next_epoch", "mix_id")),
    Type.DRAIN: (">I", ("milliseconds",)),
    Type.CLOSE: (">HH", ("code", "zero")),
    Type.LOST: (">IHH", ("flow", "code", "zero")),
    Type.FLOW_CONFIRM: (">HHI32s", ("version", "index", "number", "binding")),
    Type.FLOW_REKEY: (">IQ", ("next_epoch", "mix_id")),
    Type.ACK: (">Q", ("next_number",)),
    Type.RESUME: (">IIQ", ("resume_id", "zero", "next_number")),
    Type.FLOW_CLOSE: (">HH", ("code", "zero")),
}
# The least length of a body of free length.
LEAST: dict[Type, int] = {Type.PADDING: 0, Type.FLOW_PADDING: 0, Type.BUNDLE: 8, Type.DATAGRAMS: 8}


def body_encode(kind: Type, **fields: int | bytes) -> bytes:
    """The body of a fixed form. Reserved fields are 0 unless a test says otherwise."""
    form, names = BODIES[kind]
    return struct.pack(form, *(fields.get(name, 0) for name in names))


def body_decode(kind: Type, body: bytes) -> dict[str, int | bytes]:
    form, names = BODIES[kind]
    fields: dict[str, int | bytes] = dict(zip(names, struct.unpack(form, body), strict=True))
    if fields.pop("zero", 0):
        raise Refused(Reason.BAD_FIELD, "a reserved field of the body")
    return fields


@dataclass(frozen=True)
class Header:
    length: int
    type: int
    flow: int = 0
    epoch: int = 0
    flags: int = 0
    number: int = 0

    def encode(self) -> bytes:
        head = self.length.to_bytes(3, "big") + u8(self.type) + u32(self.flow)
        return head + u8(self.epoch) + u8(self.flags) + u48(self.number)

    @property
    def kind(self) -> Type:
        return Type(self.type)


def header_decode(clear: bytes) -> Header:
    """Read an opened header in the order of section 4.4."""
    length, flow, number = (int.from_bytes(part, "big") for part in (clear[:3], clear[4:8], clear[10:]))
    kind, epoch, flags = clear[3], clear[8], clear[9]
    header = Header(length, kind, flow, epoch, flags, number)
    if length > BODY_LIMIT:
        raise Refused(Reason.BAD_LENGTH, f"{length}")
    if kind not in set(Type):
        raise Refused(Reason.BAD_TYPE, f"{kind:#04x}")
    if header.flags:
        raise Refused(Reason.BAD_FLAGS, f"{header.flags:#04x}")
    if not length_fits(header.kind, length):
        raise Refused(Reason.BAD_LENGTH, f"{header.kind.name} of {length}")
    if header.kind.is_lane and (header.flow or header.epoch or header.number):
        raise Refused(Reason.BAD_FIELD, "a flow field in a lane frame")
    if not header.kind.is_lane and not header.flow:
        raise Refused(Reason.BAD_FIELD, "label 0")
    return header


def length_fits(kind: Type, length: int) -> bool:
    if kind in LEAST:
        return LEAST[kind] <= length <= BODY_LIMIT
    return length == struct.calcsize(BODIES[kind][0])


def body_associated(direction: int, kind: int, epoch: int, index: int, counter: int) -> bytes:
    """The associated data of a body: 20 bytes."""
    return u16(VERSION) + u8(direction) + u8(kind) + u32(epoch) + u16(index) + u16(0) + counter.to_bytes(8, "big")


@dataclass(frozen=True)
class Half:
    """One direction of a lane or flow, as far as its bodies' associated data go."""

    direction: int
    index: int

    def seal(self, epoch: Epoch, kind: Type, counter: int, clear: bytes) -> tuple[bytes, bytes]:
        associated = body_associated(self.direction, kind, epoch.number, self.index, counter)
        return epoch.seal(kind.purpose, counter, associated, clear)

    def open(self, epoch: Epoch, kind: Type, counter: int, tag: bytes, sealed: bytes) -> bytes:
        associated = body_associated(self.direction, kind, epoch.number, self.index, counter)
        return epoch.open(kind.purpose, counter, associated, tag, sealed)


@dataclass(frozen=True)
class FlowFrame:
    """A sealed flow frame without a hop: what is retained, and what a relay passes on."""

    type: Type
    epoch: int
    number: int
    tag: bytes
    sealed: bytes

    @property
    def size(self) -> int:
        return PREFIX_SIZE + len(self.sealed)

    def header(self, label: int) -> Header:
        return Header(len(self.sealed), self.type, label, self.epoch & 0xFF, 0, self.number)


def header_seal(epoch: Epoch, hop_number: int, header: Header, body_tag: bytes) -> bytes:
    """The first 48 bytes of a frame."""
    tag, sealed = epoch.seal(Purpose.HOP_HEADER, hop_number, body_tag, header.encode())
    return sealed + tag + body_tag


def header_open(epoch: Epoch, hop_number: int, prefix: bytes) -> bytes:
    """The header's 16 bytes in clear."""
    sealed, tag, body_tag = prefix[:16], prefix[16:32], prefix[32:48]
    return epoch.open(Purpose.HOP_HEADER, hop_number, body_tag, tag, sealed)
