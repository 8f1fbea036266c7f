"""Vectors of frames (section 4), records (section 7) and refusals (section 10)."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.reference.ends import End, Given
from tests.reference.frames import FlowFrame, Half, Header, Type, body_associated, body_encode, header_seal
from tests.reference.keys import Epoch, Suite
from tests.reference.records import (
    Record,
    Transport,
    record_accept,
    record_credit,
    record_data,
    record_datagram,
    record_fin,
    record_open,
    record_pad,
    record_reset,
    records_decode,
    records_encode,
)
from tests.reference.refusals import Reason, Refused
from tests.reference.vectors_keys import Json, secret, suite_name

GIVEN = Given(secret("link"), secret("link binding"), secret("session"), secret("session binding"))
RECORDS: list[tuple[str, Record]] = [
    ("OPEN", record_open(1, "custody", 262_144, marking=2, priority=1)),
    ("OPEN of datagrams", record_open(5, "dns", 0, transport=Transport.DATAGRAM)),
    ("OPEN, longest name", record_open(3, "s" * 63, 0, marking=3, priority=2)),
    ("ACCEPT", record_accept(1, 16_384)),
    ("DATA", record_data(1, b"hello")),
    ("FIN", record_fin(1, 5)),
    ("RESET", record_reset(1, 5, 7)),
    ("RESET, no rule", record_reset(0xFFFFFFFE, 8)),
    ("CREDIT", record_credit(1, 1 << 40)),
    ("DATAGRAM", record_datagram(1, 9, b"datagram")),
    ("DATAGRAM, empty", record_datagram(1, 10, b"")),
    ("PAD", record_pad(11)),
    ("PAD, empty", record_pad(0)),
]


def _bodies() -> dict[Type, bytes]:
    confirm: dict[str, int | bytes] = {"version": 1, "index": 2, "binding": secret("link binding")}
    return {
        Type.CONFIRM: body_encode(Type.CONFIRM, number=3, **confirm),
        Type.PING: body_encode(Type.PING, token=0x0102030405060708),
        Type.PONG: body_encode(Type.PONG, token=0x0102030405060708),
        Type.REKEY: body_encode(Type.REKEY, next_epoch=2, mix_id=1),
        Type.DRAIN: body_encode(Type.DRAIN, milliseconds=30_000),
        Type.CLOSE: body_encode(Type.CLOSE, code=1),
        Type.PADDING: bytes(5),
        Type.LOST: body_encode(Type.LOST, flow=0x11223344, code=6),
        Type.FLOW_CONFIRM: body_encode(Type.FLOW_CONFIRM, version=1, index=2, binding=secret("session binding")),
        Type.BUNDLE: records_encode([record for name, record in RECORDS if not name.startswith("DATAGRAM")]),
        Type.FLOW_REKEY: body_encode(Type.FLOW_REKEY, next_epoch=258, mix_id=0),
        Type.ACK: body_encode(Type.ACK, next_number=1 << 40),
        Type.RESUME: body_encode(Type.RESUME, resume_id=4, next_number=17),
        Type.FLOW_CLOSE: body_encode(Type.FLOW_CLOSE, code=2),
        Type.FLOW_PADDING: b"",
        Type.DATAGRAMS: records_encode([record for name, record in RECORDS if name.startswith("DATAGRAM")]),
    }


def frames() -> Json:
    cases = [_frame(suite, kind, body, d) for suite in Suite for kind, body in _bodies().items() for d in (0, 1)]
    return {
        "description": "Section 4. Each frame type as it stands on the wire, for given epoch secrets S[d][e]. The lane "
        "is in lane_epoch, the flow in flow_epoch (257: its header says 1). hop_number is the counter of the header, "
        "and of the body of a lane frame. 'associated' is that of the body; that of the header is the body's tag.",
        "cases": cases,
    }


def _frame(suite: Suite, kind: Type, body: bytes, direction: int) -> Json:
    lane = Epoch(suite, secret(f"lane epoch {direction}"), 1)
    flow = Epoch(suite, secret(f"flow epoch {direction}"), 257)
    hop_number, label, number, index = 0x0102 + kind, 0xA1B2C3D4, 0x010203040506, 2
    epoch, counter = (lane, hop_number) if kind.is_lane else (flow, number)
    tag, sealed = Half(direction, index).seal(epoch, kind, counter, body)
    header = Header(len(body), kind) if kind.is_lane else FlowFrame(kind, 257, number, tag, sealed).header(label)
    return {
        "suite": suite_name(suite),
        "type": kind.name,
        "direction": direction,
        "index": index,
        "lane_epoch": lane.number,
        "lane_epoch_secret": lane.secret.hex(),
        "flow_epoch": flow.number,
        "flow_epoch_secret": flow.secret.hex(),
        "hop_number": hop_number,
        "flow": header.flow,
        "number": header.number,
        "header": header.encode().hex(),
        "associated": body_associated(direction, kind, epoch.number, index, counter).hex(),
        "body": body.hex(),
        "wire": (header_seal(lane, hop_number, header, tag) + sealed).hex(),
    }


def records() -> Json:
    accepted = [
        {
            "what": name,
            "in": "DATAGRAMS" if record.kind.name == "DATAGRAM" else "BUNDLE",
            "stream": record.stream,
            "kind": record.kind.name,
            "fields": record.fields,
            "data": record.data.hex(),
            "wire": record.encode().hex(),
        }
        for name, record in RECORDS
    ]
    refused = [
        {
            "what": what,
            "in": "DATAGRAMS" if datagrams else "BUNDLE",
            "wire": body.hex(),
            "reason": _reason_of(body, datagrams),
        }
        for what, datagrams, body in _malformed()
    ]
    return {
        "description": "Section 7. 'accepted': one record each, with its fields. 'refused': whole bodies of a BUNDLE "
        "or of DATAGRAMS, of which no record may be taken.",
        "accepted": accepted,
        "refused": refused,
    }


def _reason_of(body: bytes, datagrams: bool) -> str:
    try:
        records_decode(body, datagrams=datagrams)
    except Refused as refused:
        return refused.reason.name
    raise AssertionError("this body should have been refused")


def _malformed() -> list[tuple[str, bool, bytes]]:
    good = record_open(1, "custody", 65_536).encode()
    data, datagram = record_data(1, b"ab").encode(), record_datagram(1, 0, b"x").encode()

    def raw(kind: int, data: bytes, stream: int = 1) -> bytes:
        return stream.to_bytes(4, "big") + bytes([kind]) + len(data).to_bytes(3, "big") + data

    sizes = {1: (0, 12), 2: (7, 9), 3: (0,), 4: (7, 9), 5: (3, 5), 6: (7, 9)}
    wrong_length = [
        (f"kind {kind:#04x} of {size}", False, raw(kind, bytes(size))) for kind in sizes for size in sizes[kind]
    ]
    return [
        *wrong_length,
        ("a rest of 1", False, data + b"\0"),
        ("a rest of 7", False, data + bytes(7)),
        ("past the end by 1", False, data[:-1]),
        ("length of 2^24 - 1", False, data[:5] + b"\xff\xff\xff" + data[8:]),
        ("kind 0x00", False, raw(0, b"")),
        ("kind 0x09", False, raw(9, b"x")),
        ("kind 0xff", False, raw(0xFF, b"x")),
        ("DATA of stream 0", False, raw(3, b"x", 0)),
        ("PAD of stream 1", False, raw(8, b"", 1)),
        ("DATAGRAM in a BUNDLE", False, datagram),
        ("DATA in DATAGRAMS", True, data),
        ("PAD in DATAGRAMS", True, record_pad(1).encode()),
        ("DATAGRAM of 7", True, raw(7, bytes(7))),
        ("marking 0", False, good[:16] + b"\x00" + good[17:]),
        ("marking 4", False, good[:16] + b"\x04" + good[17:]),
        ("priority 3", False, good[:17] + b"\x03" + good[18:]),
        ("transport 2", False, good[:18] + b"\x02" + good[19:]),
        ("transport 255", False, good[:18] + b"\xff" + good[19:]),
        ("n too small", False, good[:19] + b"\x06" + good[20:]),
        ("n too great", False, good[:19] + b"\x08" + good[20:]),
        ("n of 64", False, raw(1, good[8:19] + b"\x40" + b"s" * 64)),
        ("good, then malformed", False, data + raw(4, bytes(7))),
    ]


@dataclass(frozen=True)
class Bad:
    """One refusal: what the initiator sends, after the lane and flow are up unless said otherwise."""

    what: str
    reason: Reason
    closes: str
    send: Callable[[End], None]
    confirmed: bool = True
    flow_confirmed: bool = True
    damage: int | None = None  # the place of one flipped bit in the last frame


def _lane_frame(kind: Type, **fields: int | bytes) -> Callable[[End], None]:
    return lambda end: end.lane.send(kind, body_encode(kind, **fields))


def _header(header: Header, body: bytes | None = None) -> Callable[[End], None]:
    """A frame with this header over a body sealed as the header says, as far as that can be."""

    def send(end: End) -> None:
        clear = bytes(min(header.length, 64)) if body is None else body
        kind = Type(header.type) if header.type in set(Type) else Type.PADDING
        tag, sealed = end.lane.tx_half.seal(end.lane.tx, kind, end.lane.tx_count, clear)
        end.lane.send_header(header, tag, sealed)

    return send


def _numbered(kind: Type, body: bytes, **changes: int) -> Callable[[End], None]:
    def send(end: End) -> None:
        tag, sealed = end.flow.tx_half.seal(end.flow.tx, kind, end.flow.next_number, body)
        frame = FlowFrame(kind, end.flow.tx.number, end.flow.next_number, tag, sealed)
        end.lane.send_flow(end.label_out, replace(frame, **changes))  # type: ignore[arg-type]

    return send


def _volatile(kind: Type, body: bytes, **changes: int) -> Callable[[End], None]:
    def send(end: End) -> None:
        tag, sealed = end.flow.tx_half.seal(end.flow.tx_control, kind, end.flow.next_volatile, body)
        frame = FlowFrame(kind, end.flow.tx_control.number, end.flow.next_volatile, tag, sealed)
        end.lane.send_flow(end.label_out, replace(frame, **changes))  # type: ignore[arg-type]

    return send


def _datagrams(body: bytes) -> Callable[[End], None]:
    """Whether or not this side may send any yet."""

    return lambda end: end.lane.send_flow(end.label_out, end.flow.datagrams_frame(body))


def _to_label(label: int) -> Callable[[End], None]:
    def send(end: End) -> None:
        end.flow.send_ack()
        end.lane.send_flow(label, end.flow.out.pop())

    return send


def _confirm(**changes: int | bytes) -> Callable[[End], None]:
    fields: dict[str, int | bytes] = {"version": 1, "index": 0, "number": 0, "binding": GIVEN.link_binding}
    return _lane_frame(Type.CONFIRM, **(fields | changes))


def _flow_confirm(**changes: int | bytes) -> Callable[[End], None]:
    fields: dict[str, int | bytes] = {"version": 1, "index": 0, "number": 0, "binding": GIVEN.session_binding}
    return _numbered(Type.FLOW_CONFIRM, body_encode(Type.FLOW_CONFIRM, **(fields | changes)))


def _bads() -> list[Bad]:
    r, ping = Reason, _lane_frame(Type.PING, token=1)
    ack, bundle = body_encode(Type.ACK, next_number=0), record_data(1, b"x").encode()
    wrong = secret("another binding")
    sizes = {Type.PING: 8, Type.PONG: 8, Type.REKEY: 12, Type.DRAIN: 4, Type.CLOSE: 4, Type.LOST: 8, Type.CONFIRM: 40}
    sizes |= {Type.FLOW_CONFIRM: 40, Type.FLOW_REKEY: 12, Type.ACK: 8, Type.RESUME: 16, Type.FLOW_CLOSE: 4}
    return [
        Bad("header bit", r.BAD_TAG, "lane", ping, damage=0),
        Bad("header's tag", r.BAD_TAG, "lane", ping, damage=16),
        Bad("body's tag", r.BAD_TAG, "lane", ping, damage=32),
        Bad("body bit of a lane frame", r.BAD_TAG, "lane", ping, damage=48),
        Bad("length of 65,537", r.BAD_LENGTH, "lane", _header(Header(65_537, Type.PADDING))),
        Bad("length of 2^24 - 1", r.BAD_LENGTH, "lane", _header(Header(0xFFFFFF, Type.PADDING))),
        *[Bad(f"type {kind:#04x}", r.BAD_TYPE, "lane", _header(Header(8, kind)))
          for kind in (0x00, 0x09, 0x40, 0x44, 0x80, 0x86, 0xFF)],
        Bad("flags 0x01", r.BAD_FLAGS, "lane", _header(Header(8, Type.PING, flags=0x01))),
        Bad("flags 0x80", r.BAD_FLAGS, "lane", _header(Header(8, Type.PING, flags=0x80))),
        *[Bad(f"{kind.name} of {size}", r.BAD_LENGTH, "lane", _header(Header(size, kind, 0 if kind.is_lane else 1)))
          for kind, good in sizes.items() for size in (good - 1, good + 1)],
        Bad("BUNDLE of 7", r.BAD_LENGTH, "lane", _header(Header(7, Type.BUNDLE, flow=1))),
        Bad("DATAGRAMS of 0", r.BAD_LENGTH, "lane", _header(Header(0, Type.DATAGRAMS, flow=1))),
        Bad("lane frame with a flow", r.BAD_FIELD, "lane", _header(Header(8, Type.PING, flow=1))),
        Bad("lane frame with an epoch", r.BAD_FIELD, "lane", _header(Header(8, Type.PING, epoch=1))),
        Bad("lane frame with a number", r.BAD_FIELD, "lane", _header(Header(8, Type.PING, number=1))),
        Bad("flow frame with label 0", r.BAD_FIELD, "lane", _header(Header(8, Type.ACK))),
        Bad("reserved field of CLOSE", r.BAD_FIELD, "lane", _lane_frame(Type.CLOSE, zero=1)),
        Bad("reserved field of LOST", r.BAD_FIELD, "lane", _lane_frame(Type.LOST, flow=1, zero=1)),
        Bad("PING first", r.NOT_CONFIRMED, "lane", ping, confirmed=False),
        Bad("CLOSE first", r.NOT_CONFIRMED, "lane", _lane_frame(Type.CLOSE), confirmed=False),
        Bad("flow frame first", r.NOT_CONFIRMED, "lane", _flow_confirm(), confirmed=False),
        Bad("CONFIRM of version 2", r.BAD_CONFIRM, "lane", _confirm(version=2), confirmed=False),
        Bad("CONFIRM of index 1", r.BAD_CONFIRM, "lane", _confirm(index=1), confirmed=False),
        Bad("CONFIRM of number 1", r.BAD_CONFIRM, "lane", _confirm(number=1), confirmed=False),
        Bad("CONFIRM of another binding", r.BAD_CONFIRM, "lane", _confirm(binding=wrong), confirmed=False),
        Bad("second CONFIRM", r.BAD_CONFIRM, "lane", _confirm()),
        Bad("REKEY to the same epoch", r.BAD_EPOCH, "lane", _lane_frame(Type.REKEY, next_epoch=0)),
        Bad("REKEY two ahead", r.BAD_EPOCH, "lane", _lane_frame(Type.REKEY, next_epoch=2)),
        Bad("REKEY with an unknown mix", r.UNKNOWN_MIX, "lane", _lane_frame(Type.REKEY, next_epoch=1, mix_id=9)),
        Bad("unknown label", r.UNKNOWN_FLOW, "nothing", _to_label(0x3333)),
        Bad("BUNDLE first", r.NOT_CONFIRMED, "session", _numbered(Type.BUNDLE, bundle), flow_confirmed=False),
        Bad("DATAGRAMS first", r.NOT_CONFIRMED, "session", _datagrams(record_datagram(1, 0, b"x").encode()),
            flow_confirmed=False),
        Bad("body bit of DATAGRAMS", r.BAD_TAG, "session", _datagrams(record_datagram(1, 0, b"x").encode()), damage=48),
        Bad("DATA in DATAGRAMS", r.BAD_RECORD, "session", _datagrams(bundle)),
        Bad("FLOW_CONFIRM of version 2", r.BAD_CONFIRM, "session", _flow_confirm(version=2), flow_confirmed=False),
        Bad("FLOW_CONFIRM of index 1", r.BAD_CONFIRM, "session", _flow_confirm(index=1), flow_confirmed=False),
        Bad("FLOW_CONFIRM of a number", r.BAD_CONFIRM, "session", _flow_confirm(number=1), flow_confirmed=False),
        Bad("FLOW_CONFIRM of another binding", r.BAD_CONFIRM, "session", _flow_confirm(binding=wrong),
            flow_confirmed=False),
        Bad("second FLOW_CONFIRM", r.BAD_CONFIRM, "session", _flow_confirm()),
        Bad("body bit of a flow frame", r.BAD_TAG, "session", _numbered(Type.BUNDLE, bundle), damage=48),
        Bad("body bit of ACK", r.BAD_TAG, "session", _volatile(Type.ACK, ack), damage=48),
        Bad("type changed by a relay", r.BAD_TAG, "session",
            _numbered(Type.BUNDLE, body_encode(Type.FLOW_REKEY, next_epoch=1), type=Type.FLOW_REKEY)),
        Bad("volatile number changed by a relay", r.BAD_TAG, "session", _volatile(Type.ACK, ack, number=77)),
        Bad("epoch 1 too early", r.BAD_EPOCH, "session", _numbered(Type.BUNDLE, bundle, epoch=1)),
        Bad("volatile of epoch 1 too early", r.BAD_EPOCH, "session", _volatile(Type.ACK, ack, epoch=1)),
        Bad("FLOW_REKEY two ahead", r.BAD_EPOCH, "session",
            _numbered(Type.FLOW_REKEY, body_encode(Type.FLOW_REKEY, next_epoch=2))),
        Bad("FLOW_REKEY with an unknown mix", r.UNKNOWN_MIX, "session",
            _numbered(Type.FLOW_REKEY, body_encode(Type.FLOW_REKEY, next_epoch=1, mix_id=9))),
        Bad("ACK above what was sent", r.BAD_NUMBER, "session",
            _volatile(Type.ACK, body_encode(Type.ACK, next_number=2))),
        Bad("RESUME above what was sent", r.BAD_NUMBER, "session",
            _volatile(Type.RESUME, body_encode(Type.RESUME, resume_id=1, next_number=2))),
        Bad("reserved field of RESUME", r.BAD_FIELD, "session",
            _volatile(Type.RESUME, body_encode(Type.RESUME, resume_id=1, zero=1))),
        Bad("reserved field of FLOW_CLOSE", r.BAD_FIELD, "session",
            _volatile(Type.FLOW_CLOSE, body_encode(Type.FLOW_CLOSE, zero=1))),
        Bad("malformed record", r.BAD_RECORD, "session", _numbered(Type.BUNDLE, bytes(8) + b"\1")),
        Bad("DATA of a stream never opened", r.BAD_STREAM, "session", _numbered(Type.BUNDLE, bundle)),
        Bad("OPEN of the responder's parity", r.BAD_STREAM, "session",
            _numbered(Type.BUNDLE, record_open(2, "s", 0).encode())),
        Bad("OPEN twice", r.BAD_STREAM, "session", _numbered(Type.BUNDLE, record_open(1, "s", 0).encode() * 2)),
        Bad("CREDIT lowered", r.BAD_CREDIT, "session",
            _numbered(Type.BUNDLE, record_open(1, "s", 9).encode() + record_credit(1, 8).encode())),
        Bad("limit of 2^31 + 1", r.BAD_CREDIT, "session",
            _numbered(Type.BUNDLE, record_open(1, "s", (1 << 31) + 1).encode())),
        Bad("DATA past 16,384", r.CREDIT_EXCEEDED, "session",
            _numbered(Type.BUNDLE, record_open(1, "s", 0).encode() + record_data(1, bytes(16_385)).encode())),
        Bad("FIN too far", r.BAD_FINAL, "session",
            _numbered(Type.BUNDLE, record_open(1, "s", 0).encode() + record_fin(1, 1).encode())),
        Bad("DATA after FIN", r.BAD_STATE, "session",
            _numbered(Type.BUNDLE, record_open(1, "s", 0).encode() + record_fin(1, 0).encode() + bundle)),
    ]  # fmt: skip


def refusals() -> Json:
    return {
        "description": "Section 10. The receiver is an edge, acceptor of the lane (number 0, index 0) and responder of "
        "the session. 'wires' are what the peer sends, one frame each, all good but the last. 'closes' says what ends: "
        "the lane, the session (its lane stays up), or nothing. No mix is known. The receiver sends CONFIRM, and "
        "FLOW_CONFIRM when it has opened the peer's; it opens and accepts no stream.",
        **given_fields(GIVEN),
        "cases": [_refusal(bad) for bad in _bads()],
    }


def given_fields(given: Given) -> Json:
    return {
        "suite": suite_name(given.suite),
        "link_secret": given.link_secret.hex(),
        "link_binding": given.link_binding.hex(),
        "session_secret": given.session_secret.hex(),
        "session_binding": given.session_binding.hex(),
        "index": given.index,
        "initiator_label": given.initiator_label,
        "responder_label": given.responder_label,
    }


def _refusal(bad: Bad) -> Json:
    sender, receiver = End(GIVEN, True), End(GIVEN, False)
    wires: list[bytes] = []
    receiver.lane.confirm()
    if bad.confirmed:
        sender.lane.confirm()
        wires += sender.take_out()
    if bad.confirmed and bad.flow_confirmed:
        sender.flow.start()
        wires += sender.take_out()
    for wire in wires:
        receiver.receive(wire)
    bad.send(sender)
    last = b"".join(sender.take_out())
    if bad.damage is not None:
        last = last[: bad.damage] + bytes([last[bad.damage] ^ 0x01]) + last[bad.damage + 1 :]
    reason = _refused(receiver, last)
    closed = {"lane": receiver.lane.reason, "session": receiver.flow.reason}
    assert reason is bad.reason, (bad.what, reason)
    assert [name for name, why in closed.items() if why] == ([] if bad.closes == "nothing" else [bad.closes]), bad.what
    return {
        "what": bad.what,
        "wires": [wire.hex() for wire in [*wires, last]],
        "reason": reason.name,
        "closes": bad.closes,
    }


def _refused(receiver: End, wire: bytes) -> Reason:
    try:
        receiver.receive(wire)
    except Refused as refused:
        return refused.reason
    raise AssertionError("this should have been refused")
