"""The pure parts of the core as Python sees them, for tests and benches only: keys, frames, records, credit, states.

Each class or function here is one of the core's, with bytes in and bytes out. Nothing is decided here.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from pcgrelay._core.crypto.aead cimport aead_load, aead_open, aead_seal, aead_start, aead_wipe
from pcgrelay._core.frame.credit cimport (
    ReceiveCredit as CoreReceiveCredit, SendCredit as CoreSendCredit, credit_consume, credit_grant, credit_is_due,
    credit_left, credit_raise, credit_receive, credit_wish,
)
from pcgrelay._core.crypto.epoch cimport (
    Epoch as CoreEpoch, Limits, epoch_confirm, epoch_datagrams, epoch_must_rekey, epoch_spares, epoch_spend,
    epoch_start, epoch_step, epoch_wipe, key_expand, key_expand_number, key_proof,
)
from pcgrelay._core.crypto.replay cimport Replay as CoreReplay, replay_check, replay_take
from pcgrelay._core.frame.frame cimport (
    Frame as CoreFrame, Scope, body_open as core_body_open, body_seal as core_body_seal, frame_open as core_frame_open,
    frame_pack, frame_seal as core_frame_seal, frame_unpack,
)
from pcgrelay._core.crypto.lane_keys cimport (
    LinkKeys as CoreLinkKeys, lane_keys_check, lane_keys_dial, lane_keys_start, lane_keys_use, lane_keys_wipe,
)
from pcgrelay._core.edge.proxy_header cimport PROXY_MOST, ProxyFamily, proxy_header as core_proxy_header
from pcgrelay._core.frame.record cimport (
    Record as CoreRecord, record_check as core_record_check, record_datagram as core_record_datagram,
    record_head as core_record_head, record_number as core_record_number, record_open as core_record_open,
    record_read as core_record_read, record_reset as core_record_reset,
)
from pcgrelay._core.base.result cimport RESULT_OK, Result
from pcgrelay._core.stream.meter cimport meter_bucket as core_meter_bucket
from pcgrelay._core.stream.stream cimport (
    STREAM_EVENTS, STREAM_FORGET, Stream as CoreStream, StreamEvent, stream_restore, stream_step as step,
)
from pcgrelay._core.base.wire cimport WIRE_PREFIX

from collections import namedtuple

# By number; docs/protocol.md section 10, then what is no refusal of a peer.
REASONS = dict(enumerate(
    "OK BAD_TAG BAD_LENGTH BAD_TYPE BAD_FLAGS BAD_FIELD NOT_CONFIRMED BAD_CONFIRM BAD_EPOCH BAD_NUMBER BAD_RECORD "
    "BAD_STREAM BAD_STATE CREDIT_EXCEEDED BAD_CREDIT BAD_FINAL UNKNOWN_FLOW GLITCHES KEY_LIMIT TOO_MANY_RESUMES "
    "SILENT PEER_CLOSED SOCKET CONFIRM_TIMEOUT BUDGET UNKNOWN_MIX LOST_PATH LOCAL_CLOSE REPLACED STREAM_IDS "
    "BAD_PREAMBLE MIX_OVERDUE UNANSWERED_OPENS".split()
)) | dict(enumerate("MORE LATE DUPLICATE GAP NO_MEMORY CRYPTO NONCE STALE REPLAYED".split(), 100))
STATES = tuple("IDLE OPENING OPENING_FIN ANSWERING ANSWERING_FIN OPEN HALF_LOCAL HALF_REMOTE CLOSED".split())
EVENTS = (
    "tx OPEN", "rx OPEN", "tx ACCEPT", "rx ACCEPT", "tx DATA", "rx DATA", "tx FIN", "rx FIN", "RESET",
)
FORGET = STREAM_FORGET
Header = namedtuple("Header", "length type flow epoch number")
Record = namedtuple("Record", "stream kind data value code rule marking priority service transport")

if aead_load() != RESULT_OK:
    raise ImportError("libcrypto has no AEAD that this core needs")


class Refusal(Exception):
    """The core refused; `reason` is the name and `number` the value of its answer."""

    def __init__(self, number: int) -> None:
        super().__init__(REASONS[number])
        self.number = number
        self.reason = REASONS[number]


cdef int check(Result answer) except -1:
    if answer != RESULT_OK:
        raise Refusal(<int>answer)
    return 0


cdef const uint8_t* exactly(bytes data, Py_ssize_t n) except NULL:
    if len(data) != n:
        raise ValueError(f"{n} bytes are wanted, not {len(data)}")
    return <const uint8_t*>data


cdef uint8_t* inside(bytearray data) except NULL:
    return <uint8_t*><char*>data


# -- keys -------------------------------------------------------------------------------------------------------------

def expand(secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    cdef uint8_t out[32]
    cdef const uint8_t* at = <const uint8_t*>context
    cdef uint32_t n = len(context)
    check(key_expand(exactly(secret, 32), <const char*>label, at, n, out, length))
    return out[:length]


def expand_number(secret: bytes, label: bytes, number: int, width: int) -> bytes:
    cdef uint8_t out[32]
    check(key_expand_number(exactly(secret, 32), <const char*>label, number, width, out))
    return out[:32]


def proof(key: bytes, data: bytes) -> bytes:
    cdef uint8_t out[16]
    check(key_proof(exactly(key, 32), <const uint8_t*>data, <uint32_t>len(data), out))
    return out[:16]


cdef class Key:
    """One AEAD key in one direction."""

    def __init__(self, suite: int, key: bytes, iv: bytes, *, sealing: bool) -> None:
        aead_wipe(self.at)
        check(aead_start(self.at, suite, <const uint8_t*>key, exactly(iv, 12), sealing))

    def __cinit__(self, *args, **kwargs):
        self.at = &self.own

    def __dealloc__(self):
        aead_wipe(&self.own)

    @property
    def floor(self) -> int:
        return self.at.floor

    @property
    def is_there(self) -> bool:
        return self.at.ctx != NULL

    def seal(self, counter: int, associated: bytes, clear: bytes) -> tuple[bytes, bytes]:
        cdef bytearray data = bytearray(clear)
        cdef uint8_t tag[16]
        check(aead_seal(self.at, counter, <const uint8_t*>associated, <uint32_t>len(associated), inside(data),
                        <uint32_t>len(data), tag))
        return tag[:16], bytes(data)

    def open(self, counter: int, associated: bytes, tag: bytes, sealed: bytes) -> bytes:
        cdef bytearray data = bytearray(sealed)
        check(aead_open(self.at, counter, <const uint8_t*>associated, <uint32_t>len(associated), inside(data),
                        <uint32_t>len(data), exactly(tag, 16)))
        return bytes(data)

    def wipe(self) -> None:
        aead_wipe(self.at)


cdef class Epoch:
    """One direction of a lane (purpose 1) or of a flow (purpose 3), with the keys of its epoch."""

    cdef CoreEpoch epoch

    def __init__(self, secret: bytes, *, direction: int, suite: int, purpose: int, sealing: bool) -> None:
        epoch_wipe(&self.epoch)
        check(epoch_start(&self.epoch, exactly(secret, 32), direction, suite, purpose, sealing))

    def __dealloc__(self):
        epoch_wipe(&self.epoch)

    @property
    def secret(self) -> bytes:
        return self.epoch.secret[:32]

    @property
    def number(self) -> int:
        return self.epoch.number

    @property
    def side_number(self) -> int:
        return self.epoch.control_number

    @property
    def main(self) -> Key:
        return key_in(self, &self.epoch.data)

    @property
    def side(self) -> Key:
        return key_in(self, &self.epoch.control)

    @property
    def other(self) -> Key:
        return key_in(self, &self.epoch.control_alt)

    def datagrams(self, epoch: int, floor: int = 0) -> Key | None:
        """The datagram key of an epoch; None: it is not held."""
        cdef Aead* key = epoch_datagrams(&self.epoch, epoch, floor)
        return None if key == NULL else key_in(self, key)

    def datagrams_from(self, epoch: int) -> None:
        self.epoch.datagrams_from = epoch

    def spares(self, now_us: int) -> bool:
        return epoch_spares(&self.epoch, now_us)

    def step(self, mix: bytes | None = None) -> None:
        cdef const uint8_t* salt = NULL
        if mix is not None:
            salt = exactly(mix, 32)
        check(epoch_step(&self.epoch, salt))

    def settle(self) -> None:
        epoch_confirm(&self.epoch)

    def spend(self, size: int, now_us: int, *, ageless: bool = False) -> None:
        check(epoch_spend(&self.epoch, size, now_us, ageless))

    def spent(self, frames: int, octets: int) -> None:
        """Pretend that so much was sealed: nobody waits for 2^24 frames."""
        self.epoch.frames = frames
        self.epoch.bytes = octets

    def must_rekey(self, frames: int, octets: int, age_us: int, now_us: int) -> bool:
        cdef Limits limits
        limits.frames = frames
        limits.bytes = octets
        limits.us = age_us
        return epoch_must_rekey(&self.epoch, &limits, now_us)

    def wipe(self) -> None:
        epoch_wipe(&self.epoch)


cdef Key key_in(Epoch owner, Aead* at):
    cdef Key key = Key.__new__(Key)
    key.at = at
    key.owner = owner
    return key


cdef class Replay:
    """Numbers of frames that come in any order: each is taken once."""

    cdef CoreReplay replay

    def check(self, number: int) -> None:
        check(replay_check(&self.replay, number))

    def take(self, number: int) -> None:
        """Only what `check` allows."""
        check(replay_check(&self.replay, number))
        replay_take(&self.replay, number)


cdef class LinkKeys:
    """The secrets of a link's lanes, of the dialler or of the acceptor."""

    cdef CoreLinkKeys keys

    def __init__(self, secret: bytes, link_id: bytes, lanes: int) -> None:
        check(lane_keys_start(&self.keys, exactly(secret, 32), exactly(link_id, 16), lanes))

    def __dealloc__(self):
        lane_keys_wipe(&self.keys)

    @property
    def proof_key(self) -> bytes:
        return self.keys.proof_key[:32]

    def dial(self, index: int) -> tuple[int, bytes]:
        cdef uint8_t preamble[48]
        cdef uint32_t number = 0
        check(lane_keys_dial(&self.keys, index, &number, preamble))
        return number, preamble[:48]

    def check(self, preamble: bytes) -> tuple[int, int]:
        cdef unsigned short index = 0
        cdef uint32_t number = 0
        check(lane_keys_check(&self.keys, exactly(preamble, 48), &index, &number))
        return index, number

    def take(self, number: int) -> bytes:
        cdef uint8_t secret[32]
        check(lane_keys_use(&self.keys, number, secret))
        return secret[:32]

    def memory(self) -> bytes:
        """All that it holds, to be searched for what it should have forgotten."""
        return (<const char*>&self.keys)[:sizeof(CoreLinkKeys)]


# -- frames -----------------------------------------------------------------------------------------------------------

def header_pack(length: int, kind: int, flow: int, epoch: int, number: int) -> bytes:
    cdef uint8_t out[16]
    cdef CoreFrame frame
    frame.length = length
    frame.type = kind
    frame.flow = flow
    frame.epoch = epoch
    frame.number = number
    frame_pack(&frame, out)
    return out[:16]


def header_unpack(clear: bytes) -> Header:
    cdef CoreFrame frame
    check(frame_unpack(exactly(clear, 16), &frame))
    return Header(frame.length, frame.type, frame.flow, frame.epoch, frame.number)


def frame_seal(key: Key, hop_number: int, wire: bytes) -> bytes:
    """Seal the header that lies in clear in front of wire."""
    cdef bytearray data = whole_prefix(wire)
    check(core_frame_seal(key.at, hop_number, inside(data)))
    return bytes(data)


def frame_open(key: Key, hop_number: int, wire: bytes) -> tuple[Header, bytes]:
    """Open the header; answer it, and wire with the header in clear."""
    cdef bytearray data = whole_prefix(wire)
    cdef CoreFrame frame
    check(core_frame_open(key.at, hop_number, inside(data), &frame))
    return Header(frame.length, frame.type, frame.flow, frame.epoch, frame.number), bytes(data)


def body_seal(key: Key, direction: int, index: int, epoch: int, kind: int, counter: int, wire: bytes) -> bytes:
    """Seal what lies behind the prefix, and put its tag into the prefix."""
    cdef bytearray data = whole_prefix(wire)
    cdef Scope scope = Scope(direction=direction, index=index, epoch=epoch)
    check(core_body_seal(key.at, &scope, kind, counter, inside(data), <uint32_t>(len(data) - WIRE_PREFIX)))
    return bytes(data)


def body_open(key: Key, direction: int, index: int, epoch: int, kind: int, counter: int, wire: bytes) -> bytes:
    """Open what lies behind the prefix and answer it."""
    cdef bytearray data = whole_prefix(wire)
    cdef Scope scope = Scope(direction=direction, index=index, epoch=epoch)
    check(core_body_open(key.at, &scope, kind, counter, inside(data), <uint32_t>(len(data) - WIRE_PREFIX)))
    return bytes(data[WIRE_PREFIX:])


cdef bytearray whole_prefix(bytes wire):
    if len(wire) < WIRE_PREFIX:
        raise ValueError("a frame has a prefix of 48 bytes")
    return bytearray(wire)


# -- records ----------------------------------------------------------------------------------------------------------

def record_read(body: bytes) -> tuple[Record, int]:
    """The first record of body, and how far it reaches. The bytes lie in a block of just their size."""
    cdef CoreRecord record
    cdef uint32_t used = 0
    check(core_record_read(<const uint8_t*>body, <uint32_t>len(body), &record, &used))
    data = (<const char*>record.data)[:record.length]
    service = b"" if record.service == NULL else (<const char*>record.service)[:record.service_length]
    return Record(record.stream, record.kind, data, record.value, record.code, record.rule, record.marking,
                  record.priority, service, record.transport), used


def record_check(body: bytes, *, datagrams: bool = False) -> None:
    """Refused unless all records of the body are good."""
    check(core_record_check(<const uint8_t*>body, <uint32_t>len(body), datagrams))


def record_head(stream: int, kind: int, length: int) -> bytes:
    cdef uint8_t out[8]
    core_record_head(out, stream, kind, length)
    return out[:8]


def record_open(stream: int, limit: int, marking: int, priority: int, service: bytes, transport: int = 0) -> bytes:
    cdef uint8_t out[83]
    if not 1 <= len(service) <= 63:
        raise ValueError("a service has 1 to 63 bytes")
    n = core_record_open(out, stream, limit, marking, priority, transport, <const uint8_t*>service,
                         <uint32_t>len(service))
    return (<const char*>out)[:n]


def record_datagram(stream: int, number: int, length: int) -> bytes:
    """What comes before the bytes of a datagram."""
    cdef uint8_t out[16]
    n = core_record_datagram(out, stream, number, length)
    return (<const char*>out)[:n]


def record_number(stream: int, kind: int, value: int) -> bytes:
    cdef uint8_t out[16]
    n = core_record_number(out, stream, kind, value)
    return (<const char*>out)[:n]


def record_reset(stream: int, code: int, rule: int) -> bytes:
    cdef uint8_t out[12]
    n = core_record_reset(out, stream, code, rule)
    return (<const char*>out)[:n]


# -- streams and credit -----------------------------------------------------------------------------------------------

def stream_step(state: int, event: int) -> int | None:
    """The state that follows, or None if the table does not allow the event."""
    cdef CoreStream stream
    if not 0 <= state <= 255 or not stream_restore(&stream, <uint8_t>state) or not 0 <= event < STREAM_EVENTS:
        raise ValueError("no such state or event")
    return stream.state if step(&stream, <StreamEvent><int>event) else None


cdef class SendCredit:
    """What may still be sent."""

    cdef CoreSendCredit credit

    def __init__(self, limit: int) -> None:
        self.credit.sent = 0
        self.credit.limit = limit

    @property
    def left(self) -> int:
        return credit_left(&self.credit)

    def spend(self, n: int) -> None:
        if n > credit_left(&self.credit):
            raise ValueError("a sender looks at what is left first")
        self.credit.sent += n

    def raise_to(self, limit: int) -> None:
        check(credit_raise(&self.credit, limit))


cdef class ReceiveCredit:
    """What was granted, what came and what the application took."""

    cdef CoreReceiveCredit credit

    @property
    def limit(self) -> int:
        return self.credit.limit

    @property
    def window(self) -> int:
        return self.credit.window

    @property
    def is_due(self) -> bool:
        return credit_is_due(&self.credit)

    def receive(self, n: int) -> None:
        check(credit_receive(&self.credit, n))

    def consume(self, n: int) -> None:
        credit_consume(&self.credit, n)

    def wish(self, now_us: int, round_trip_us: int) -> int:
        return credit_wish(&self.credit, now_us, round_trip_us)

    def grant(self, window: int, now_us: int) -> int:
        return credit_grant(&self.credit, window, now_us)


def meter_bucket(value: int) -> int:
    return core_meter_bucket(value)


# source, destination: socket addresses, as the system lays them out.
def proxy_header(family: int, bytes source, bytes destination, bytes caller, id_head: int, flow: int,
                 stream: int) -> bytes:
    cdef uint8_t out[PROXY_MOST]
    cdef uint32_t length
    assert len(source) == len(destination) == 28
    length = core_proxy_header(out, <ProxyFamily><int>family, source, destination, caller, <uint32_t>len(caller),
                               id_head, <uint16_t><int>flow, stream)
    return out[:length]
