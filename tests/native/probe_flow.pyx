"""One end of a flow as Python sees it, without session, lane or clock. For tests and benches only.

A sealed frame is shown as it lies in memory: the header in clear for label 1, 16 bytes of no meaning, the tag, and the
sealed body.
"""
cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from pcgrelay._core.base.buf cimport Buf, buf_data, buf_drop, buf_alloc
from pcgrelay._core.crypto.epoch cimport Limits
from pcgrelay._core.stream.flow cimport (
    Flow as CoreFlow, flow_ack, flow_agree, flow_bears_bulk, flow_break, flow_confirm, flow_has_room, flow_header,
    flow_late, flow_must_rekey, flow_open, flow_rekey, flow_resume, flow_seal, flow_start, flow_stop, flow_rx_ack,
    flow_rx_confirm, flow_rx_rekey, flow_rx_resume, flow_volatile,
)
from pcgrelay._core.stream.flow_datagrams cimport flow_open_datagrams, flow_seal_datagrams
from pcgrelay._core.frame.frame cimport Frame, frame_unpack
from pcgrelay._core.frame.pace cimport Pace as CorePace, pace_acknowledged, pace_forget, pace_limit, pace_round
from tests.native.probe cimport check, exactly
from tests.native.probe_store cimport Pool
from pcgrelay._core.crypto.renewal cimport Renewals, renewals_add, renewals_agree
from pcgrelay._core.base.result cimport RESULT_OK, Result
from pcgrelay._core.base.wire cimport FRAME_DATAGRAMS, WIRE_PREFIX

STATES = ("STARTING", "UP", "RESUMING", "CLOSED")


# What __dealloc__ needs must still be there.
@cython.no_gc_clear
cdef class Flow:
    """One end. Retained frames lie in `pool`."""

    cdef CoreFlow flow
    cdef Renewals renewals
    cdef Pool pool

    def __init__(self, pool: Pool, secret: bytes, *, index: int, suite: int, initiator: bool, binding: bytes,
                 cap: int) -> None:
        self.pool = pool
        check(flow_start(&self.flow, index, exactly(secret, 32), suite, initiator, exactly(binding, 32), cap))
        self.flow.renewals = &self.renewals

    def __dealloc__(self):
        if self.pool is not None:
            flow_stop(&self.flow, &self.pool.pool)

    def stop(self) -> None:
        flow_stop(&self.flow, &self.pool.pool)

    def memory(self) -> bytes:
        """All that it holds, to be searched for what it should have forgotten."""
        return (<const char*>&self.flow)[:sizeof(CoreFlow)]

    def renew(self, mix: int, secret: bytes, now_us: int) -> None:
        check(renewals_add(&self.renewals, mix, exactly(secret, 32), now_us))

    def agree(self, mix: int, now_us: int) -> None:
        renewals_agree(&self.renewals, mix)
        flow_agree(&self.flow, now_us)

    @property
    def state(self) -> str:
        return STATES[self.flow.state]

    @property
    def has_room(self) -> bool:
        return flow_has_room(&self.flow, 1)

    def bears_bulk(self, now_us: int, peer_ack_bytes: int) -> bool:
        self.flow.peer_ack_bytes = peer_ack_bytes
        return flow_bears_bulk(&self.flow, now_us)

    @property
    def retained_bytes(self) -> int:
        return self.flow.retained_bytes

    @property
    def retained_held(self) -> int:
        """Memory of the buffers in which the retained frames lie."""
        return self.flow.retained_held

    @property
    def next_number(self) -> int:
        return self.flow.tx_next

    @property
    def next_volatile(self) -> int:
        return self.flow.tx_control

    @property
    def next_datagrams(self) -> int:
        return self.flow.tx_datagrams

    @property
    def next_expected(self) -> int:
        return self.flow.rx_next

    @property
    def acknowledged(self) -> int:
        return self.flow.tx_acked

    @property
    def resume_id(self) -> int:
        return self.flow.resume_id

    @property
    def send_epoch(self) -> int:
        return self.flow.tx.number

    @property
    def receive_epoch(self) -> int:
        return self.flow.rx.number

    @property
    def ack_due_us(self) -> int:
        return self.flow.ack_due_us

    @property
    def round_trip_us(self) -> int:
        return self.flow.round_trip_us

    def spent(self, frames: int, octets: int) -> None:
        """Pretend that so much was sealed under the present epoch."""
        self.flow.tx.frames = frames
        self.flow.tx.bytes = octets

    def numbered_so_far(self, number: int) -> None:
        """Pretend that so many numbered frames were sent."""
        self.flow.tx_next = number

    def datagrams_so_far(self, number: int) -> None:
        """Pretend that so many DATAGRAMS were sent."""
        self.flow.tx_datagrams = number

    def retained(self) -> list[bytes]:
        cdef Buf* buf = self.flow.retained
        frames = []
        while buf != NULL:
            frames.append(shown(buf))
            buf = buf.next
        return frames

    # -- sending: each answers the frame ----------------------------------------------------------------------------

    def confirm(self, now_us: int) -> bytes:
        cdef Buf* buf = NULL
        check(flow_confirm(&self.flow, &self.pool.pool, now_us, &buf))
        return shown(buf)

    def seal(self, kind: int, body: bytes, now_us: int) -> bytes:
        cdef Buf* buf = self.frame(body)
        check(flow_seal(&self.flow, &self.pool.pool, kind, buf, <uint32_t>len(body), now_us))
        return shown(buf)

    def rekey(self, now_us: int) -> bytes:
        cdef Buf* buf = NULL
        check(flow_rekey(&self.flow, &self.pool.pool, now_us, &buf))
        return shown(buf)

    def must_rekey(self, frames: int, octets: int, age_us: int, now_us: int) -> bool:
        cdef Limits limits
        limits.frames = frames
        limits.bytes = octets
        limits.us = age_us
        return flow_must_rekey(&self.flow, &limits, now_us)

    def volatile(self, kind: int, body: bytes) -> bytes:
        cdef Buf* buf = NULL
        cdef Result answer = flow_volatile(&self.flow, &self.pool.pool, kind, <const uint8_t*>body,
                                           <uint32_t>len(body), &buf)
        return self.given(answer, buf)

    def datagrams(self, body: bytes, now_us: int) -> bytes:
        cdef Buf* buf = self.frame(body)
        cdef Result answer = flow_seal_datagrams(&self.flow, buf, <uint32_t>len(body), now_us)
        if answer != RESULT_OK:
            buf_drop(&self.pool.pool, buf)
            check(answer)
        return self.given(answer, buf)

    def ack(self) -> bytes:
        cdef Buf* buf = NULL
        cdef Result answer = flow_ack(&self.flow, &self.pool.pool, &buf)
        return self.given(answer, buf)

    def resume(self, now_us: int) -> bytes:
        cdef Buf* buf = NULL
        cdef Result answer = flow_resume(&self.flow, &self.pool.pool, now_us, &buf)
        return self.given(answer, buf)

    cdef Buf* frame(self, bytes body) except NULL:
        cdef Buf* buf = buf_alloc(&self.pool.pool, WIRE_PREFIX + len(body), False)
        if buf == NULL:
            raise MemoryError
        memcpy(buf_data(buf) + WIRE_PREFIX, <const char*>body, len(body))
        return buf

    cdef bytes given(self, Result answer, Buf* buf):
        wire = b"" if buf == NULL else shown(buf)
        buf_drop(&self.pool.pool, buf)
        check(answer)
        return wire

    # -- receiving --------------------------------------------------------------------------------------------------

    def open(self, wire: bytes, now_us: int) -> bytes:
        """Open a frame as shown above and answer its body in clear. Refusal DUPLICATE, GAP, STALE or REPLAYED: to be
        ignored."""
        cdef bytearray data = bytearray(wire)
        cdef uint8_t* at = <uint8_t*><char*>data
        cdef Frame frame
        if len(data) < WIRE_PREFIX:
            raise ValueError("a frame has a prefix of 48 bytes")
        check(frame_unpack(at, &frame))
        if len(data) != WIRE_PREFIX + frame.length:
            raise ValueError("not one whole frame")
        if frame.type == FRAME_DATAGRAMS:
            check(flow_open_datagrams(&self.flow, &frame, at, now_us))
        else:
            check(flow_open(&self.flow, &frame, at, now_us))
        return bytes(data[WIRE_PREFIX:])

    def take_confirm(self, body: bytes) -> None:
        check(flow_rx_confirm(&self.flow, exactly(body, 40)))

    def take_rekey(self, body: bytes, now_us: int = 0) -> None:
        check(flow_rx_rekey(&self.flow, exactly(body, 12), now_us))

    def take_ack(self, next_number: int, now_us: int) -> None:
        check(flow_rx_ack(&self.flow, &self.pool.pool, next_number, now_us))

    def rx_resume(self, body: bytes, now_us: int) -> tuple[bool, bool]:
        """Must RESUME be answered? Must all that is retained be sent again?"""
        cdef bint answer = False
        cdef bint again = False
        check(flow_rx_resume(&self.flow, &self.pool.pool, exactly(body, 16), now_us, &answer, &again))
        return answer, again

    def break_off(self, now_us: int) -> None:
        check(flow_break(&self.flow, now_us))

    def late(self, now_us: int) -> None:
        check(flow_late(&self.flow, now_us))


cdef bytes shown(Buf* buf):
    cdef uint8_t header[16]
    flow_header(buf, 1, header)
    return (<char*>header)[:16] + bytes(16) + (<char*>buf_data(buf))[32:buf.length]


cdef class Pace:
    """How much bulk may be under way, by what was acknowledged. ack_bytes, ack_us: how rarely the far edge does."""

    cdef CorePace pace
    cdef uint64_t ack_bytes
    cdef uint64_t ack_us

    def __init__(self, ack_bytes: int = 262_144, ack_us: int = 25_000) -> None:
        self.ack_bytes, self.ack_us = ack_bytes, ack_us

    def acknowledged(self, octets: int, now_us: int) -> None:
        pace_acknowledged(&self.pace, octets, now_us)

    def round(self, round_us: int, now_us: int) -> None:
        pace_round(&self.pace, round_us, now_us)

    def limit(self, now_us: int) -> int:
        return pace_limit(&self.pace, self.ack_bytes, self.ack_us, now_us)

    def forget(self) -> None:
        pace_forget(&self.pace)
