from libc.stdint cimport uint16_t, uint64_t, uint8_t

from pcgrelay._core.base.buf cimport pool_alloc, pool_free
from pcgrelay._core.base.tlv cimport (
    Tlv, tlv_bytes, tlv_descriptor, tlv_enter, tlv_fail, tlv_number, tlv_open, tlv_shut,
)
from pcgrelay._core.edge.streams cimport edge_hold, edge_linger, edge_lingers
from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.base.handle cimport HANDLE_DIAL, HANDLE_STREAM
from pcgrelay._core.handover.lanes cimport queue_read, queue_write
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.base.map cimport map_find, map_put
from pcgrelay._core.base.queue cimport queue_free
from pcgrelay._core.base.result cimport RESULT_BAD_FIELD, RESULT_NO_MEMORY, RESULT_OK
from pcgrelay._core.stream.stream cimport (
    BREAK_NONE, DIAL_NONE, DIAL_TRYING, FAR_CUT, FAR_ENDED, FAR_OPEN, IN_ENDED, IN_OPEN, LIFE_FINISHED, LIFE_LIVE,
    OUT_FIN_DUE, OUT_OPEN, OUT_SHUT, STREAM_IDLE, Dial, Stream, stream_restore,
)
from pcgrelay._core.base.timer cimport timer_set
from pcgrelay._core.base.wire cimport WIRE_SERVICE_MAX


cdef enum:
    TAG_SOCKET = 1
    TAG_ID = 2
    TAG_SESSION_NUMBER = 3
    TAG_NUMBER = 4
    TAG_STATE = 5
    TAG_SAY = 6
    TAG_TX_SENT = 7
    TAG_TX_LIMIT = 8
    TAG_RX_RECEIVED = 9
    TAG_RX_CONSUMED = 10
    TAG_RX_LIMIT = 11
    TAG_RX_GRANTED = 12
    TAG_RX_WINDOW = 13
    TAG_OPENED = 14
    TAG_PROGRESS = 15
    TAG_TIMER = 16
    TAG_RULE = 17
    TAG_CODE = 18
    TAG_SERVICE = 19
    TAG_SERVICE_LENGTH = 20
    TAG_TARGET = 21
    TAG_STREAM_CAUSE = 22
    TAG_STREAM_MARKING = 23
    TAG_OPENER = 24
    TAG_BULK = 25
    TAG_ENDED = 26
    TAG_CONNECTING = 27
    TAG_FIN_DUE = 28
    TAG_SHUT = 29
    TAG_FINISHED = 30
    TAG_REMOTE = 31
    TAG_OUT = 32
    TAG_BROKEN = 33
    TAG_CUT = 34
    TAG_DUE = 35
    TAG_DROPPED = 36
    TAG_BESIDE = 37             # with a TAG_SOCKET of its own


# The record has a field for each thing that is so; the stream has states, of which some exclude each other.
cdef void state_fields(Tlv* self, Stream* stream) noexcept nogil:
    cdef bint ended = stream.input == IN_ENDED
    cdef bint connecting = stream.dial != DIAL_NONE
    cdef bint fin_due = stream.output != OUT_OPEN
    cdef bint shut = stream.output == OUT_SHUT
    cdef bint finished = stream.life != LIFE_LIVE
    cdef bint remote = stream.far != FAR_OPEN
    cdef bint cut = stream.far == FAR_CUT
    tlv_number(self, TAG_ENDED, &ended, sizeof(ended))
    tlv_number(self, TAG_CONNECTING, &connecting, sizeof(connecting))
    tlv_number(self, TAG_FIN_DUE, &fin_due, sizeof(fin_due))
    tlv_number(self, TAG_SHUT, &shut, sizeof(shut))
    tlv_number(self, TAG_FINISHED, &finished, sizeof(finished))
    tlv_number(self, TAG_REMOTE, &remote, sizeof(remote))
    tlv_number(self, TAG_CUT, &cut, sizeof(cut))
    if not self.reading:
        return
    if (shut and not fin_due) or (cut and not remote):
        tlv_fail(self, RESULT_BAD_FIELD)
    stream.input = IN_ENDED if ended else IN_OPEN
    stream.dial = DIAL_TRYING if connecting else DIAL_NONE
    stream.output = OUT_SHUT if shut else OUT_FIN_DUE if fin_due else OUT_OPEN
    stream.life = LIFE_FINISHED if finished else LIFE_LIVE
    stream.far = FAR_CUT if cut else FAR_ENDED if remote else FAR_OPEN


cdef void stream_fields(Tlv* self, Stream* stream) noexcept nogil:
    cdef uint8_t state = stream.state
    tlv_descriptor(self, TAG_SOCKET, &stream.handle.fd)
    stream.handle.shared = stream.handle.fd >= 0
    tlv_number(self, TAG_ID, &stream.id, 4)
    tlv_number(self, TAG_SESSION_NUMBER, &stream.session, 4)
    tlv_number(self, TAG_NUMBER, &stream.number, 4)
    tlv_number(self, TAG_STATE, &state, 1)
    if not stream_restore(stream, state):
        tlv_fail(self, RESULT_BAD_FIELD)
    tlv_number(self, TAG_SAY, &stream.say, 1)
    tlv_number(self, TAG_TX_SENT, &stream.tx.sent, 8)
    tlv_number(self, TAG_TX_LIMIT, &stream.tx.limit, 8)
    tlv_number(self, TAG_RX_RECEIVED, &stream.rx.received, 8)
    tlv_number(self, TAG_RX_CONSUMED, &stream.rx.consumed, 8)
    tlv_number(self, TAG_RX_LIMIT, &stream.rx.limit, 8)
    tlv_number(self, TAG_RX_GRANTED, &stream.rx.granted_us, 8)
    tlv_number(self, TAG_RX_WINDOW, &stream.rx.window, 4)
    tlv_number(self, TAG_OPENED, &stream.opened_us, 8)
    tlv_number(self, TAG_PROGRESS, &stream.progress, 8)
    tlv_number(self, TAG_RULE, &stream.rule, 4)
    tlv_number(self, TAG_CODE, &stream.code, 4)
    tlv_number(self, TAG_SERVICE_LENGTH, &stream.service_length, 4)
    tlv_number(self, TAG_TARGET, &stream.target, 1)
    tlv_number(self, TAG_STREAM_CAUSE, &stream.cause, 1)
    tlv_number(self, TAG_STREAM_MARKING, &stream.marking, 1)
    tlv_number(self, TAG_OPENER, &stream.opener, sizeof(stream.opener))
    tlv_number(self, TAG_BULK, &stream.bulk, sizeof(stream.bulk))
    tlv_number(self, TAG_BROKEN, &stream.broken, 1)
    tlv_number(self, TAG_DUE, &stream.due_us, 8)
    state_fields(self, stream)
    tlv_number(self, TAG_DROPPED, &stream.dropped, 8)


cdef void dial_fields(Tlv* self, Dial* dial) noexcept nogil:
    tlv_descriptor(self, TAG_SOCKET, &dial.handle.fd)
    dial.handle.shared = True


cdef void dials_read(Tlv* self, Shard* shard, Stream* stream) noexcept nogil:
    cdef Tlv part
    cdef uint64_t at = 0
    cdef Dial* dial
    while tlv_enter(self, TAG_BESIDE, &at, &part):
        dial = <Dial*>pool_alloc(&shard.pool, sizeof(Dial))
        if dial == NULL:
            tlv_fail(self, RESULT_NO_MEMORY)
            return
        dial.handle.kind = HANDLE_DIAL
        dial.handle.fd = -1
        dial.stream = stream
        dial.next = stream.beside
        stream.beside = dial
        dial_fields(&part, dial)
        if part.result != RESULT_OK or dial.handle.fd < 0 or stream.dial == DIAL_NONE:
            tlv_fail(self, RESULT_BAD_FIELD)


cdef void dials_free(Shard* shard, Stream* stream) noexcept nogil:
    cdef Dial* dial = stream.beside
    while dial != NULL:
        stream.beside = dial.next
        pool_free(&shard.pool, dial, sizeof(Dial))
        dial = stream.beside


cdef void stream_write(Tlv* self, uint16_t tag, Stream* stream) noexcept nogil:
    cdef uint64_t mark = tlv_open(self, tag)
    cdef uint64_t due_us = 0 if stream.timer.next == NULL else stream.timer.due_us
    cdef Dial* dial = stream.beside
    cdef uint64_t inner
    stream_fields(self, stream)
    tlv_number(self, TAG_TIMER, &due_us, 8)
    tlv_bytes(self, TAG_SERVICE, stream.service, stream.service_length)
    queue_write(self, TAG_OUT, &stream.out)
    while dial != NULL:
        inner = tlv_open(self, TAG_BESIDE)
        dial_fields(self, dial)
        tlv_shut(self, inner)
        dial = dial.next
    tlv_shut(self, mark)


# Is it what a worker may have left? Else nothing here could let it go in order: what waits for a route has said nothing
# yet, and what is finished for its application has nothing of it any more.
cdef bint stream_is_sound(const Stream* stream, const Flow* flow, uint64_t due_us) noexcept nogil:
    if stream.service_length > WIRE_SERVICE_MAX:
        return False
    if flow == NULL:
        return stream.state == STREAM_IDLE and stream.say == 0 and stream.handle.fd >= 0 and stream.life == LIFE_LIVE \
            and stream.dial == DIAL_NONE
    if map_find(&flow.streams, stream.id) != NULL:
        return False
    return stream.life == LIFE_LIVE or (stream.out.count == 0 and stream.handle.fd < 0 and due_us == 0)


cdef void stream_read(Tlv* self, Shard* shard, Flow* flow) noexcept nogil:
    cdef uint64_t due_us = 0
    cdef Stream* stream = <Stream*>pool_alloc(&shard.pool, sizeof(Stream))
    if stream == NULL:
        tlv_fail(self, RESULT_NO_MEMORY)
        return
    stream.handle.kind = HANDLE_STREAM
    stream.timer.owner = stream
    stream.number = -1
    stream_fields(self, stream)
    tlv_number(self, TAG_TIMER, &due_us, 8)
    tlv_bytes(self, TAG_SERVICE, stream.service, WIRE_SERVICE_MAX)
    queue_read(self, TAG_OUT, shard, &stream.out)
    dials_read(self, shard, stream)
    if not stream_is_sound(stream, flow, due_us):
        tlv_fail(self, RESULT_BAD_FIELD)
    elif self.result == RESULT_OK and flow != NULL and not map_put(&flow.streams, stream.id, stream):
        tlv_fail(self, RESULT_NO_MEMORY)
    if self.result != RESULT_OK:
        queue_free(&stream.out, &shard.pool)
        dials_free(shard, stream)
        pool_free(&shard.pool, stream, sizeof(Stream))
        return
    if due_us != 0:
        timer_set(&shard.wheel, &stream.timer, due_us)
    # What can be read and written epoll says once more; what is to be said or written does not wait for it.
    stream.writable = stream.dial == DIAL_NONE and stream.broken == BREAK_NONE
    if flow == NULL:
        stream.next = shard.waiting
        shard.waiting = stream
        shard.waiting_count += 1
    else:
        stream.flow = flow
        edge_hold(stream)
        if edge_lingers(stream):
            # By the time that this process is told.
            edge_linger(shard, stream)
