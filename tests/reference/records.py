"""Records: what the body of a bundle is made of (protocol, section 7)."""

from dataclasses import dataclass, field
from enum import IntEnum

from tests.reference.keys import u8, u16, u32, u64
from tests.reference.refusals import Reason, Refused

RECORD_SIZE = 8
NO_RULE = 0xFFFF


class Kind(IntEnum):
    OPEN = 0x01
    ACCEPT = 0x02
    DATA = 0x03
    FIN = 0x04
    RESET = 0x05
    CREDIT = 0x06
    DATAGRAM = 0x07
    PAD = 0x08


class Transport(IntEnum):
    """What a stream carries, by its OPEN."""

    STREAM = 0
    DATAGRAM = 1


FIXED = {Kind.ACCEPT: 8, Kind.FIN: 8, Kind.RESET: 4, Kind.CREDIT: 8}
LEAST = {Kind.OPEN: 13, Kind.DATA: 1, Kind.DATAGRAM: 8, Kind.PAD: 0}


@dataclass(frozen=True)
class Record:
    """One record. `fields` is what its data say, by the names of section 7; it follows from the data."""

    stream: int
    kind: Kind
    data: bytes
    fields: dict[str, int | str] = field(default_factory=dict, compare=False)

    def encode(self) -> bytes:
        return u32(self.stream) + u8(self.kind) + len(self.data).to_bytes(3, "big") + self.data

    def number(self, name: str) -> int:
        value = self.fields[name]
        assert isinstance(value, int)
        return value


def record_open(
    stream: int, service: str, limit: int, marking: int = 1, priority: int = 0, transport: Transport = Transport.STREAM
) -> Record:
    name = service.encode()
    classes = u8(marking) + u8(priority) + u8(transport)
    return make(stream, Kind.OPEN, u64(limit) + classes + u8(len(name)) + name)


def record_accept(stream: int, limit: int) -> Record:
    return make(stream, Kind.ACCEPT, u64(limit))


def record_data(stream: int, data: bytes) -> Record:
    return make(stream, Kind.DATA, data)


def record_fin(stream: int, final_offset: int) -> Record:
    return make(stream, Kind.FIN, u64(final_offset))


def record_reset(stream: int, code: int, rule: int = NO_RULE) -> Record:
    return make(stream, Kind.RESET, u16(code) + u16(rule))


def record_credit(stream: int, limit: int) -> Record:
    return make(stream, Kind.CREDIT, u64(limit))


def record_datagram(stream: int, number: int, datagram: bytes) -> Record:
    return make(stream, Kind.DATAGRAM, u64(number) + datagram)


def record_pad(length: int) -> Record:
    return make(0, Kind.PAD, bytes(length))


def make(stream: int, kind: Kind, data: bytes) -> Record:
    """A record with its fields read. Refuses what a receiver would refuse."""
    return Record(stream, kind, data, _fields(kind, data))


def records_encode(records: list[Record]) -> bytes:
    return b"".join(record.encode() for record in records)


def records_decode(body: bytes, *, datagrams: bool = False) -> list[Record]:
    """All records of a body, or none: of BUNDLE, or of DATAGRAMS."""
    records: list[Record] = []
    at = 0
    while at < len(body):
        if len(body) - at < RECORD_SIZE:
            raise Refused(Reason.BAD_RECORD, f"a rest of {len(body) - at} bytes")
        stream, code = int.from_bytes(body[at : at + 4], "big"), body[at + 4]
        length = int.from_bytes(body[at + 5 : at + 8], "big")
        at += RECORD_SIZE
        if length > len(body) - at:
            raise Refused(Reason.BAD_RECORD, "passes the end of the body")
        if code not in set(Kind) or (code == Kind.DATAGRAM) != datagrams:
            raise Refused(Reason.BAD_RECORD, f"kind {code:#04x} here")
        if (code == Kind.PAD) != (stream == 0):
            raise Refused(Reason.BAD_RECORD, "stream 0 is for PAD")
        records.append(make(stream, Kind(code), body[at : at + length]))
        at += length
    return records


def _fields(kind: Kind, data: bytes) -> dict[str, int | str]:
    if kind in FIXED and len(data) != FIXED[kind]:
        raise Refused(Reason.BAD_RECORD, f"{kind.name} of {len(data)}")
    if kind in LEAST and len(data) < LEAST[kind]:
        raise Refused(Reason.BAD_RECORD, f"{kind.name} of {len(data)}")
    first = int.from_bytes(data[:8], "big")
    match kind:
        case Kind.OPEN:
            return _open_fields(first, data)
        case Kind.ACCEPT | Kind.CREDIT:
            return {"limit": first}
        case Kind.FIN:
            return {"final_offset": first}
        case Kind.RESET:
            return {"code": first >> 16, "rule": first & 0xFFFF}
        case Kind.DATAGRAM:
            return {"number": first}
        case _:
            return {}


def _open_fields(limit: int, data: bytes) -> dict[str, int | str]:
    marking, priority, transport, size = data[8:12]
    name = data[12:]
    if not 1 <= marking <= 3 or priority > 2 or transport > 1 or size != len(name) or not 1 <= size <= 63:
        raise Refused(Reason.BAD_RECORD, "OPEN")
    # The bytes of the name are judged later, by the list of services; latin-1 keeps each as it came.
    fields: dict[str, int | str] = {"limit": limit, "marking": marking, "priority": priority, "transport": transport}
    return fields | {"service": name.decode("latin-1")}
