"""Packets of UDP lanes: a frame behind token and hop number, and what a receiver makes of one (4.5 and 5.6)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from tests.reference.frames import PREFIX_SIZE, Half, Header, Type, body_associated, length_fits
from tests.reference.keys import Epoch, Purpose, Suite, direction_secret, u32, u64
from tests.reference.refusals import Refused

HEAD_SIZE = 12
BODY_LEAST, BODY_MOST = 8, 1_200
WINDOW = 1_024
PACKETS_MOST = 1 << 24
PROBE, REPORT = 0x09, 0x0A
REPORT_SIZE = 16


def epoch_of(lane_secret: bytes, direction: int, suite: int) -> Epoch:
    """The only epoch of a direction of a UDP lane."""
    return Epoch(Suite(suite), direction_secret(lane_secret, direction))


def packet_seal(epoch: Epoch, token: int, number: int, header: Header, body_tag: bytes, sealed: bytes) -> bytes:
    """A packet with a body that is sealed already."""
    tag, head = epoch.seal(Purpose.HOP_HEADER, number, body_tag + sealed, header.encode())
    return u32(token) + u64(number) + head + tag + body_tag + sealed


def own_packet(epoch: Epoch, token: int, number: int, half: Half, kind: int, body: bytes) -> bytes:
    """A packet with a PROBE or REPORT."""
    associated = body_associated(half.direction, kind, 0, half.index, number)
    body_tag, sealed = epoch.seal(Purpose.HOP_BODY, number, associated, body)
    return packet_seal(epoch, token, number, Header(len(body), kind), body_tag, sealed)


def probe(token: int, length: int) -> bytes:
    return u64(token) + bytes(length - 8)


def report(token: int, taken: int) -> bytes:
    return struct.pack(">QQ", token, taken)


@dataclass
class Receiver:
    """One direction of a UDP lane, as its receiver has it: what it makes of each packet, in the order of the page."""

    epoch: Epoch
    half: Half
    token: int
    next: int = 0
    numbers: set[int] = field(default_factory=set)

    def take(self, packet: bytes) -> tuple[str, bytes]:
        """The word for what became of it, and the body of a frame of the UDP lane itself."""
        if not HEAD_SIZE + PREFIX_SIZE + BODY_LEAST <= len(packet) <= HEAD_SIZE + PREFIX_SIZE + BODY_MOST:
            return "length", b""
        token, number = struct.unpack(">IQ", packet[:HEAD_SIZE])
        if token != self.token:
            return "token", b""
        if number >= PACKETS_MOST:
            return "tag", b""
        if number < self.next - WINDOW:
            return "late", b""
        if number in self.numbers:
            return "replayed", b""
        head, tag, rest = packet[12:28], packet[28:44], packet[44:]
        try:
            clear = self.epoch.open(Purpose.HOP_HEADER, number, rest, tag, head)
        except Refused:
            return "tag", b""
        self.numbers.add(number)
        self.next = max(self.next, number + 1)
        return self._frame(clear, number, rest[:16], rest[16:])

    def _frame(self, clear: bytes, number: int, body_tag: bytes, sealed: bytes) -> tuple[str, bytes]:
        length, kind, flow = int.from_bytes(clear[:3], "big"), clear[3], clear[4:8]
        if length != len(sealed) or clear[9] != 0:
            return "malformed", b""
        if kind == Type.DATAGRAMS:
            return ("datagrams", b"") if any(flow) and length_fits(Type.DATAGRAMS, length) else ("malformed", b"")
        if kind not in (PROBE, REPORT) or any(flow) or clear[8] or any(clear[10:16]):
            return "malformed", b""
        if kind == REPORT and length != REPORT_SIZE:
            return "malformed", b""
        associated = body_associated(self.half.direction, kind, 0, self.half.index, number)
        try:
            body = self.epoch.open(Purpose.HOP_BODY, number, associated, body_tag, sealed)
        except Refused:
            return "malformed", b""
        return ("probe" if kind == PROBE else "report"), body
