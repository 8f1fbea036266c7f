from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memset

from pcgrelay._core.base.buf cimport pool_alloc, pool_free
from pcgrelay._core.base.tlv cimport (
    Tlv, tlv_bytes, tlv_descriptor, tlv_enter, tlv_fail, tlv_number, tlv_open, tlv_shut,
)
from pcgrelay._core.edge.limits cimport limits_grow_up
from pcgrelay._core.edge.lists cimport edge_direct_add, edge_dirty, edge_ready, edge_wait
from pcgrelay._core.edge.associations cimport association_begin
from pcgrelay._core.edge.setups cimport setup_begin, setup_drop
from pcgrelay._core.edge.streams cimport edge_hold, edge_linger, edge_lingers
from pcgrelay._core.stream.service_tables cimport TABLES_OUTLETS, DatagramTerms
from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.base.handle cimport HANDLE_DIAL, HANDLE_STREAM, Handle
from pcgrelay._core.handover.lanes cimport queue_read, queue_write
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.session.session cimport flow_session, session_count_export
from pcgrelay._core.base.map cimport map_find, map_put
from pcgrelay._core.base.ports cimport PortRing, ports_restore
from pcgrelay._core.base.queue cimport queue_free
from pcgrelay._core.base.result cimport RESULT_BAD_FIELD, RESULT_NO_MEMORY, RESULT_OK
from pcgrelay._core.stream.stream cimport (
    ASSOCIATION_CLIENT, ASSOCIATION_LOCAL, BREAK_LEFT, BREAK_NONE, DIAL_NONE, DIAL_TRYING, FAR_CUT, FAR_ENDED,
    FAR_OPEN, IN_ENDED, IN_OPEN, LIFE_FINISHED, LIFE_LIVE, OUT_FIN_DUE, OUT_OPEN, OUT_SHUT, SETUP_TRYING, SETUP_UP,
    STREAM_IDLE, Association, Dial, Setup, Stream, stream_free, stream_is_shadow, stream_new, stream_restore,
    stream_young_until,
)
from pcgrelay._core.base.stats cimport STATS_LISTENERS
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
    TAG_SETUP = 38
    TAG_UNANSWERED = 39
    TAG_OF_LISTENER = 40
    TAG_IDLE_BYTES = 41
    TAG_IDLE_SINCE = 42
    TAG_FIRST = 43
    TAG_RING = 44
    TAG_PORT = 45
    TAG_YOUNG = 46              # when keep-alive is to be set; 0: it is
    TAG_DATAGRAM = 47
    TAG_ASSOCIATION = 48

cdef enum:
    TAG_STARTED = 1
    TAG_ATTEMPT = 2
    TAG_UP = 3
    TAG_DEADLINE = 4
    TAG_FIRST_CODE = 5
    TAG_FIRST_CAUSE = 6
    TAG_FIRST_RULE = 7
    TAG_CLIENT = 8
    TAG_SETUP_STATE = 9
    TAG_OUTLET = 10
    TAG_TRIED = 11
    TAG_MOVED = 12
    TAG_SHADOW = 13
    TAG_STILL_BYTES = 14
    TAG_STILL = 15

# What waits for a flow is not among them: it may be lost.
cdef enum:
    TAG_CLIENT_ADDRESS = 1
    TAG_LOCAL_ADDRESS = 2
    TAG_LISTENER_SERIAL = 3
    TAG_WAIT = 4
    TAG_IDLE = 5
    TAG_SILENT = 6
    TAG_TRAFFIC = 7
    TAG_TX_DATAGRAMS = 8
    TAG_SENT_DATAGRAMS = 9
    TAG_RECEIVED_DATAGRAMS = 10
    TAG_DROPPED_DATAGRAMS = 11
    TAG_ANSWERED = 12
    TAG_OVERFLOWS = 13

# The halves of a direct stream, one of which may be gone.
cdef enum:
    TAG_OPENER_HALF = 1
    TAG_TARGET_HALF = 2


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


# Its local port, if it is one of a ring. shard: of who reads.
cdef void port_fields(Tlv* self, Shard* shard, Handle* handle) noexcept nogil:
    cdef uint32_t number = 0 if handle.ring == NULL else handle.ring.number
    cdef PortRing* ring
    if not self.reading and number == 0:
        return
    tlv_number(self, TAG_RING, &number, 4)
    tlv_number(self, TAG_PORT, &handle.port, 2)
    if not self.reading or number == 0 or self.result != RESULT_OK:
        return
    ring = <PortRing*>map_find(&shard.ports.by_number, number)
    if ring == NULL or handle.fd < 0 or not ports_restore(&shard.ports, &shard.pool, ring, handle.port, 0, True):
        tlv_fail(self, RESULT_BAD_FIELD)
        return
    handle.ring = ring


cdef void stream_fields(Tlv* self, Shard* shard, Stream* stream) noexcept nogil:
    cdef uint8_t state = stream.state
    cdef uint32_t length = stream.service_length
    tlv_descriptor(self, TAG_SOCKET, &stream.handle.fd)
    stream.handle.shared = stream.handle.fd >= 0
    port_fields(self, shard, &stream.handle)
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
    if not self.reading:
        # Else it was read first, as the record was made for it.
        tlv_number(self, TAG_SERVICE_LENGTH, &length, 4)
    tlv_number(self, TAG_TARGET, &stream.target, 1)
    tlv_number(self, TAG_STREAM_CAUSE, &stream.cause, 1)
    tlv_number(self, TAG_STREAM_MARKING, &stream.marking, 1)
    tlv_number(self, TAG_OPENER, &stream.opener, sizeof(stream.opener))
    tlv_number(self, TAG_BULK, &stream.bulk, sizeof(stream.bulk))
    tlv_number(self, TAG_BROKEN, &stream.broken, 1)
    tlv_number(self, TAG_DUE, &stream.due_us, 8)
    state_fields(self, stream)
    tlv_number(self, TAG_DROPPED, &stream.dropped, 8)
    tlv_number(self, TAG_UNANSWERED, &stream.unanswered, sizeof(stream.unanswered))
    tlv_number(self, TAG_OF_LISTENER, &stream.listener, sizeof(stream.listener))
    tlv_number(self, TAG_IDLE_BYTES, &stream.still_bytes, 8)
    tlv_number(self, TAG_IDLE_SINCE, &stream.still_us, 8)
    tlv_number(self, TAG_FIRST, &stream.first_us, sizeof(stream.first_us))
    tlv_number(self, TAG_DATAGRAM, &stream.datagram, sizeof(stream.datagram))


cdef void setup_fields(Tlv* self, Setup* setup) noexcept nogil:
    tlv_number(self, TAG_STARTED, &setup.started_us, 8)
    tlv_number(self, TAG_ATTEMPT, &setup.attempt_us, 8)
    tlv_number(self, TAG_UP, &setup.up_us, 8)
    tlv_number(self, TAG_DEADLINE, &setup.deadline_us, 8)
    tlv_number(self, TAG_FIRST_CODE, &setup.first_code, 4)
    tlv_number(self, TAG_FIRST_CAUSE, &setup.first_cause, 4)
    tlv_number(self, TAG_FIRST_RULE, &setup.first_rule, 4)
    tlv_bytes(self, TAG_CLIENT, setup.client, sizeof(setup.client))
    tlv_number(self, TAG_SETUP_STATE, &setup.state, 1)
    tlv_number(self, TAG_OUTLET, &setup.outlet, 1)
    tlv_number(self, TAG_TRIED, &setup.tried, 1)
    tlv_number(self, TAG_MOVED, &setup.moved, 1)
    # Of an older process: that it is one, as the number 1.
    tlv_number(self, TAG_SHADOW, &setup.shadow, 4)
    tlv_number(self, TAG_STILL_BYTES, &setup.still_bytes, 8)
    tlv_number(self, TAG_STILL, &setup.still_us, 8)


cdef void setup_read(Tlv* self, Shard* shard, Stream* stream) noexcept nogil:
    cdef Tlv part
    cdef uint64_t at = 0
    if not tlv_enter(self, TAG_SETUP, &at, &part):
        return
    # Its meter is named by the tables, which come later.
    if not setup_begin(shard, stream, NULL):
        tlv_fail(self, RESULT_NO_MEMORY)
        return
    setup_fields(&part, stream.setup)
    if part.result != RESULT_OK or stream.setup.outlet >= TABLES_OUTLETS or not stream.opener \
            or (stream.setup.state != SETUP_TRYING and stream.setup.state != SETUP_UP):
        tlv_fail(self, RESULT_BAD_FIELD)


cdef void association_fields(Tlv* self, Association* association) noexcept nogil:
    tlv_bytes(self, TAG_CLIENT_ADDRESS, association.client, ASSOCIATION_CLIENT)
    tlv_bytes(self, TAG_LOCAL_ADDRESS, association.local, ASSOCIATION_LOCAL)
    tlv_number(self, TAG_LISTENER_SERIAL, &association.serial, 4)
    tlv_number(self, TAG_WAIT, &association.wait_us, 8)
    tlv_number(self, TAG_IDLE, &association.idle_us, 8)
    tlv_number(self, TAG_SILENT, &association.silent_us, 8)
    tlv_number(self, TAG_TRAFFIC, &association.traffic_us, 8)
    tlv_number(self, TAG_TX_DATAGRAMS, &association.tx_number, 8)
    tlv_number(self, TAG_SENT_DATAGRAMS, &association.sent, 8)
    tlv_number(self, TAG_RECEIVED_DATAGRAMS, &association.received, 8)
    tlv_bytes(self, TAG_DROPPED_DATAGRAMS, association.dropped, sizeof(association.dropped))
    tlv_number(self, TAG_ANSWERED, &association.answered, sizeof(association.answered))
    tlv_number(self, TAG_OVERFLOWS, &association.overflows, 4)


cdef void association_read(Tlv* self, Shard* shard, Stream* stream) noexcept nogil:
    cdef DatagramTerms terms
    cdef Tlv part
    cdef uint64_t at = 0
    if not tlv_enter(self, TAG_ASSOCIATION, &at, &part):
        return
    memset(&terms, 0, sizeof(terms))
    if not association_begin(shard, stream, &terms):
        tlv_fail(self, RESULT_NO_MEMORY)
        return
    association_fields(&part, stream.association)
    if part.result != RESULT_OK or stream.association.idle_us == 0 or stream.association.silent_us == 0:
        tlv_fail(self, RESULT_BAD_FIELD)


cdef void dial_fields(Tlv* self, Shard* shard, Dial* dial) noexcept nogil:
    tlv_descriptor(self, TAG_SOCKET, &dial.handle.fd)
    dial.handle.shared = True
    port_fields(self, shard, &dial.handle)


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
        dial_fields(&part, shard, dial)
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
    cdef uint64_t young_us = stream_young_until(stream) if stream.young else 0
    cdef Dial* dial = stream.beside
    cdef uint64_t inner
    stream_fields(self, NULL, stream)
    tlv_number(self, TAG_TIMER, &due_us, 8)
    tlv_number(self, TAG_YOUNG, &young_us, 8)
    tlv_bytes(self, TAG_SERVICE, stream.service, stream.service_length)
    queue_write(self, TAG_OUT, &stream.out)
    while dial != NULL:
        inner = tlv_open(self, TAG_BESIDE)
        dial_fields(self, NULL, dial)
        tlv_shut(self, inner)
        dial = dial.next
    if stream.association != NULL:
        inner = tlv_open(self, TAG_ASSOCIATION)
        association_fields(self, stream.association)
        tlv_shut(self, inner)
    if stream.setup != NULL:
        inner = tlv_open(self, TAG_SETUP)
        setup_fields(self, stream.setup)
        tlv_shut(self, inner)
    tlv_shut(self, mark)


cdef void stream_goes_on(Shard* shard, Stream* stream) noexcept nogil:
    if stream.say != 0 or stream.input == IN_ENDED:
        edge_ready(shard, stream)
    if stream.life == LIFE_LIVE and (stream.out.count != 0 or stream.far == FAR_CUT or stream.output == OUT_FIN_DUE
                                     or (stream.dial != DIAL_NONE and stream.handle.fd < 0)):
        edge_dirty(shard, stream)


cdef void directs_write(Tlv* self, uint16_t tag, Shard* shard) noexcept nogil:
    cdef Stream* stream = shard.directs
    cdef uint64_t mark
    while stream != NULL:
        # A half that has ended stays in the list until its turn to be read comes; nothing is left of it to hand over.
        if stream.life == LIFE_LIVE and (stream.opener or stream.partner == NULL):
            mark = tlv_open(self, tag)
            stream_write(self, TAG_OPENER_HALF if stream.opener else TAG_TARGET_HALF, stream)
            if stream.partner != NULL:
                stream_write(self, TAG_TARGET_HALF, stream.partner)
            tlv_shut(self, mark)
        stream = stream.next_direct


cdef void direct_read(Tlv* self, Shard* shard) noexcept nogil:
    cdef Stream* opener = half_read(self, TAG_OPENER_HALF, shard)
    cdef Stream* target = half_read(self, TAG_TARGET_HALF, shard)
    if opener == NULL and target == NULL:
        tlv_fail(self, RESULT_BAD_FIELD)
        return
    if opener != NULL and target != NULL:
        opener.partner = target
        target.partner = opener
    if opener != NULL:
        stream_goes_on(shard, opener)
    if target != NULL:
        stream_goes_on(shard, target)


cdef Stream* half_read(Tlv* self, uint16_t tag, Shard* shard) noexcept nogil:
    cdef Tlv inner
    cdef uint64_t at = 0
    cdef Stream* stream
    if not tlv_enter(self, tag, &at, &inner):
        return NULL
    stream = stream_read(&inner, shard, NULL, True)
    if inner.result != RESULT_OK:
        tlv_fail(self, inner.result)
    elif stream.opener != (tag == TAG_OPENER_HALF):
        tlv_fail(self, RESULT_BAD_FIELD)
    return stream


# Is it what a worker may have left? Else nothing here could let it go in order: what waits for a route has said nothing
# yet, and what is finished for its application has nothing of it any more.
cdef bint stream_is_sound(const Stream* stream, const Flow* flow, bint direct, uint64_t due_us) noexcept nogil:
    if stream.broken > BREAK_LEFT or stream.listener >= STATS_LISTENERS:
        return False
    if direct:
        return half_is_sound(stream)
    if flow == NULL:
        return stream.state == STREAM_IDLE and stream.say == 0 and stream.life == LIFE_LIVE \
            and stream.dial == DIAL_NONE and waiting_is_sound(stream)
    if map_find(&flow.streams, stream.id) != NULL or not association_is_sound(stream):
        return False
    return stream.life == LIFE_LIVE or (stream.out.count == 0 and stream.handle.fd < 0 and due_us == 0)


# One of datagrams waits for a session where its import has outlets, and has no socket.
cdef bint waiting_is_sound(const Stream* stream) noexcept nogil:
    if not stream.datagram:
        return stream.handle.fd >= 0
    return stream.handle.fd < 0 and stream.setup != NULL and association_is_sound(stream)


# Of datagrams the first half is the association.
cdef bint half_is_sound(const Stream* stream) noexcept nogil:
    if stream.say != 0 or stream.life != LIFE_LIVE:
        return False
    if stream.opener and (stream.setup == NULL or stream.dial != DIAL_NONE):
        return False
    if stream.datagram and stream.opener:
        return stream.association != NULL and association_is_sound(stream)
    return stream.association == NULL and (stream.handle.fd >= 0 or stream.dial != DIAL_NONE)


# An association has the socket of its listener, or one of its own: to the target, or of who made it as a shadow.
cdef bint association_is_sound(const Stream* stream) noexcept nogil:
    if stream.association == NULL:
        return not stream.datagram or stream.life != LIFE_LIVE
    if not stream.datagram or stream.life != LIFE_LIVE or stream.beside != NULL:
        return False
    if not stream.opener:
        return stream.association.serial == 0
    if stream.association.serial == 0:
        return stream.handle.fd >= 0 and stream_is_shadow(stream)
    return stream.handle.fd < 0


cdef Stream* stream_read(Tlv* self, Shard* shard, Flow* flow, bint direct) noexcept nogil:
    cdef uint64_t due_us = 0, young_us = 0
    cdef uint32_t length = 0
    cdef Stream* stream
    tlv_number(self, TAG_SERVICE_LENGTH, &length, 4)
    if length > WIRE_SERVICE_MAX:
        tlv_fail(self, RESULT_BAD_FIELD)
        return NULL
    stream = stream_new(&shard.pool, length)
    if stream == NULL:
        tlv_fail(self, RESULT_NO_MEMORY)
        return NULL
    stream.handle.kind = HANDLE_STREAM
    stream.timer.owner = stream
    stream.number = -1
    stream_fields(self, shard, stream)
    tlv_number(self, TAG_TIMER, &due_us, 8)
    tlv_number(self, TAG_YOUNG, &young_us, 8)
    tlv_bytes(self, TAG_SERVICE, stream.service, length)
    queue_read(self, TAG_OUT, shard, &stream.out)
    dials_read(self, shard, stream)
    setup_read(self, shard, stream)
    association_read(self, shard, stream)
    if not stream_is_sound(stream, flow, direct, due_us):
        tlv_fail(self, RESULT_BAD_FIELD)
    elif self.result == RESULT_OK and flow != NULL and not map_put(&flow.streams, stream.id, stream):
        tlv_fail(self, RESULT_NO_MEMORY)
    if self.result != RESULT_OK:
        queue_free(&stream.out, &shard.pool)
        dials_free(shard, stream)
        setup_drop(shard, stream)
        pool_free(&shard.pool, stream.association, sizeof(Association))
        stream_free(&shard.pool, stream)
        return NULL
    if due_us != 0:
        timer_set(&shard.wheel, &stream.timer, due_us)
    if young_us != 0:
        limits_grow_up(shard, stream)
    # What can be read and written epoll says once more; what is to be said or written does not wait for it.
    stream.writable = stream.dial == DIAL_NONE and stream.broken == BREAK_NONE
    if direct:
        edge_direct_add(shard, stream)
    elif flow == NULL:
        edge_wait(shard, stream)
    else:
        stream.flow = flow
        edge_hold(stream)
        if not stream.opener and stream.life == LIFE_LIVE:
            session_count_export(flow_session(flow), stream.number, 1)
    if edge_lingers(stream):
        # By the time that this process is told.
        edge_linger(shard, stream)
    return stream
