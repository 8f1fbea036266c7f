from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from pcgrelay._core.atomics cimport atomic_add, figure_add, figure_set
from pcgrelay._core.buf cimport Buf, buf_data, buf_drop, buf_take, pool_alloc, pool_free
from pcgrelay._core.epoch cimport epoch_must_rekey, epoch_spend, epoch_start, epoch_step, epoch_wipe
from pcgrelay._core.frame cimport Frame, Scope, body_open, body_seal, frame_is_lane, frame_open, frame_pack, frame_seal
from pcgrelay._core.handle cimport HANDLE_LANE
from pcgrelay._core.libcrypto cimport CRYPTO_memcmp, OPENSSL_cleanse
from pcgrelay._core.mailbox cimport EVENT_LANE_UP, EVENT_PEER_DRAINS, OUTBOX_TURN, Event, outbox_put
from pcgrelay._core.map cimport map_find, map_put, map_take
from pcgrelay._core.queue cimport Account, Span, queue_free, queue_pop, queue_push, queue_push_must
from pcgrelay._core.renewal cimport (
    Renewals, renewals_add, renewals_agree, renewals_fresh, renewals_mix, renewals_wipe,
)
from pcgrelay._core.result cimport (
    RESULT_BAD_CONFIRM, RESULT_BAD_EPOCH, RESULT_BAD_FIELD, RESULT_CONFIRM_TIMEOUT, RESULT_GLITCHES, RESULT_MORE,
    RESULT_NOT_CONFIRMED, RESULT_NO_MEMORY, RESULT_OK, RESULT_PEER_CLOSED, RESULT_SILENT, Result,
)
from pcgrelay._core.stats cimport (
    COUNT_FRAMES_RECEIVED, COUNT_FRAMES_SENT, COUNT_LANES_OPENED, COUNT_PONGS_UNKNOWN, COUNT_REKEYS,
    COUNT_REKEYS_MIXED,
)
from pcgrelay._core.wire cimport (
    CODE_UNKNOWN, FRAME_CLOSE, FRAME_CONFIRM, FRAME_DRAIN, FRAME_LOST, FRAME_PING, FRAME_PONG, FRAME_REKEY,
    PURPOSE_HOP_HEADER, WIRE_PREFIX, WIRE_VERSION, wire_get16, wire_get32, wire_get64, wire_put16, wire_put32,
    wire_put64,
)


# -- gauges and events ------------------------------------------------------------------------------------------------

cdef Gauge* gauge_new(uint32_t slots, int references) noexcept nogil:
    cdef Gauge* self = <Gauge*>calloc(1, sizeof(Gauge))
    if self == NULL:
        return NULL
    self.values = <uint64_t*>calloc(slots, GAUGE_VALUES * sizeof(uint64_t))
    if self.values == NULL:
        free(self)
        return NULL
    self.slots = slots
    self.references = references
    return self


cdef void gauge_drop(Gauge* self) noexcept nogil:
    if self != NULL and atomic_add(&self.references, -1) == 0:
        free(self.values)
        free(self)


cdef Event* shard_event(Shard* shard, uint32_t kind) noexcept nogil:
    cdef Event* event
    if shard.event_count == OUTBOX_TURN:
        events_put(shard)
    event = &shard.events[shard.event_count]
    shard.event_count += 1
    memset(event, 0, sizeof(Event))
    event.kind = kind
    return event


# Whoever finds the outbox empty has to wake its reader: nobody after it will. So this is kept until it is done.
cdef void events_put(Shard* shard) noexcept nogil:
    if shard.event_count != 0 and shard.outbox != NULL \
            and outbox_put(shard.outbox, shard.events, shard.event_count):
        shard.wake_due = True
    shard.event_count = 0


cdef void shard_events_pass(Shard* shard, bint* wake) noexcept nogil:
    events_put(shard)
    wake[0] = shard.wake_due
    shard.wake_due = False


# -- links ------------------------------------------------------------------------------------------------------------

cdef Link* link_add(Shard* shard, uint32_t number, uint32_t suite, bint dialler, uint32_t lanes,
                    const uint8_t* binding, Gauge* gauge) noexcept nogil:
    cdef Link* link = <Link*>pool_alloc(&shard.pool, sizeof(Link))
    if link == NULL:
        return NULL
    link.number = number
    link.suite = suite
    link.dialler = dialler
    link.lane_count = lanes
    link.gauge = gauge
    memcpy(link.binding, binding, 32)
    if not map_put(&shard.links, number, link):
        pool_free(&shard.pool, link, sizeof(Link))
        return NULL
    return link


cdef Link* link_find(Shard* shard, uint32_t number) noexcept nogil:
    return <Link*>map_find(&shard.links, number)


cdef void shard_renew(Shard* shard, Renewals* renewals, uint32_t kind, uint32_t number, uint64_t mix,
                      const uint8_t* secret, uint64_t serial) noexcept nogil:
    cdef Event* event
    if renewals_add(renewals, mix, secret) != RESULT_OK:
        return
    event = shard_event(shard, kind)
    event.a = number
    event.b = <long long>mix
    event.c = <long long>serial


cdef void link_mix(Shard* shard, Link* link, uint64_t mix) noexcept nogil:
    cdef uint32_t i
    renewals_agree(&link.renewals, mix)
    for i in range(link.lane_count):
        if link.lanes[i] != NULL:
            lane_dirty(shard, link.lanes[i])


cdef void link_remove(Shard* shard, Link* link) noexcept nogil:
    map_take(&shard.links, link.number)
    renewals_wipe(&link.renewals)
    gauge_drop(link.gauge)
    pool_free(&shard.pool, link, sizeof(Link))


# -- life of a lane ---------------------------------------------------------------------------------------------------

cdef Lane* lane_start(Shard* shard, Link* link, int fd, uint16_t index, uint32_t number,
                      const uint8_t* secret) noexcept nogil:
    cdef uint8_t body[40]
    cdef Lane* lane = <Lane*>pool_alloc(&shard.pool, sizeof(Lane))
    if lane == NULL:
        return NULL
    lane.handle.kind = HANDLE_LANE
    lane.handle.fd = fd
    lane.link = link
    lane.index = index
    lane.number = number
    lane.opened_us = shard.now_us
    lane.heard_us = shard.now_us
    lane.pings_us = shard.now_us
    lane.ping_tokens = LANE_PINGS
    lane.paced_us = shard.now_us
    lane.ahead = LANE_WIRE
    wire_put16(body, WIRE_VERSION)
    wire_put16(body + 2, index)
    wire_put32(body + 4, number)
    memcpy(body + 8, link.binding, 32)
    if epoch_start(&lane.tx, secret, 0 if link.dialler else 1, link.suite, PURPOSE_HOP_HEADER, True) != RESULT_OK \
            or epoch_start(&lane.rx, secret, 1 if link.dialler else 0, link.suite, PURPOSE_HOP_HEADER,
                           False) != RESULT_OK \
            or lane_say(shard, lane, FRAME_CONFIRM, body, 40) != RESULT_OK:
        lane_stop(shard, lane)
        pool_free(&shard.pool, lane, sizeof(Lane))
        return NULL
    lane.writable = True
    figure_add(&shard.stats.count[COUNT_LANES_OPENED], 1)
    return lane


cdef void lane_stop(Shard* shard, Lane* lane) noexcept nogil:
    cdef uint32_t i
    if lane_is_up(lane):
        figure_add(&gauge_at(lane.link.gauge, shard.index)[GAUGE_LANES_UP], -1)
    lane.state = LANE_CLOSED
    for i in range(LANE_CLASSES):
        queue_free(&lane.pending[i], &shard.pool)
    queue_free(&lane.wire, &shard.pool)
    buf_drop(&shard.pool, lane.partial)
    lane.partial = NULL
    epoch_wipe(&lane.tx)
    epoch_wipe(&lane.rx)


cdef void lane_dirty(Shard* shard, Lane* lane) noexcept nogil:
    if not lane.dirty:
        lane.dirty = True
        lane.next_dirty = shard.dirty_lanes
        shard.dirty_lanes = lane


# -- receiving --------------------------------------------------------------------------------------------------------

cdef Result lane_next(Shard* shard, Lane* lane, uint8_t* p, uint64_t n, bint opened, Frame* frame,
                      uint64_t* used) noexcept nogil:
    cdef Result answer
    if not opened:
        if n < WIRE_PREFIX:
            return RESULT_MORE
        answer = frame_open(&lane.rx.main, lane.rx_number, p, frame)
        if answer != RESULT_OK:
            return answer
        lane.rx_number += 1
        if lane.state == LANE_CONFIRMING and frame.type != FRAME_CONFIRM:
            return RESULT_NOT_CONFIRMED
    used[0] = WIRE_PREFIX + frame.length
    if n < used[0]:
        return RESULT_MORE
    figure_add(&shard.stats.count[COUNT_FRAMES_RECEIVED], 1)
    figure_add(&gauge_at(lane.link.gauge, shard.index)[GAUGE_RECEIVED_FRAMES], 1)
    return RESULT_OK


cdef Result lane_keep(Shard* shard, Lane* lane, const uint8_t* p, uint64_t n, const Frame* frame,
                      bint opened) noexcept nogil:
    cdef Buf* buf
    cdef uint32_t whole = WIRE_PREFIX
    if opened:
        whole += frame.length
        lane.head = frame[0]
    # The peer has said how long the frame is, but only a length that the table allows was let through.
    buf = buf_take(&shard.pool, whole, True)
    if buf == NULL:
        return RESULT_NO_MEMORY
    memcpy(buf_data(buf), p, n)
    buf.length = <uint32_t>n
    buf_drop(&shard.pool, lane.partial)
    lane.partial = buf
    lane.partial_need = whole - <uint32_t>n
    lane.head_open = opened
    return RESULT_OK


cdef Result lane_take(Shard* shard, Lane* lane, const Frame* frame, uint8_t* wire) noexcept nogil:
    cdef Scope scope
    cdef Event* event
    cdef uint8_t* body = wire + WIRE_PREFIX
    # The header moved the count already; the body is sealed under the same number.
    cdef uint64_t number = lane.rx_number - 1
    cdef Result answer
    scope.direction = lane.rx.direction
    scope.index = lane.index
    scope.epoch = lane.rx.number
    answer = body_open(&lane.rx.side, &scope, frame.type, number, wire, frame.length)
    if answer != RESULT_OK:
        return answer
    if frame.type == FRAME_CONFIRM:
        return lane_take_confirm(shard, lane, body)
    if frame.type == FRAME_PING:
        return lane_take_ping(shard, lane, body)
    if frame.type == FRAME_PONG:
        lane_take_pong(shard, lane, wire_get64(body))
    elif frame.type == FRAME_REKEY:
        return lane_take_rekey(shard, lane, body)
    elif frame.type == FRAME_DRAIN:
        lane.state = LANE_DRAINING
        event = shard_event(shard, EVENT_PEER_DRAINS)
        event.a = lane.link.number
        event.b = wire_get32(body)
    elif frame.type == FRAME_CLOSE:
        if wire_get16(body + 2) != 0:
            return RESULT_BAD_FIELD
        lane.close_code = wire_get16(body)
        return RESULT_PEER_CLOSED
    elif frame.type == FRAME_LOST and wire_get16(body + 6) != 0:
        return RESULT_BAD_FIELD
    # PADDING means nothing; what LOST means is the role's.
    return RESULT_OK


cdef Result lane_take_confirm(Shard* shard, Lane* lane, const uint8_t* body) noexcept nogil:
    cdef Event* event
    if lane.state != LANE_CONFIRMING:
        return RESULT_BAD_CONFIRM
    if wire_get16(body) != WIRE_VERSION or wire_get16(body + 2) != lane.index \
            or wire_get32(body + 4) != lane.number or CRYPTO_memcmp(body + 8, lane.link.binding, 32) != 0:
        return RESULT_BAD_CONFIRM
    lane.state = LANE_UP
    lane.ping_due_us = shard.now_us
    figure_add(&gauge_at(lane.link.gauge, shard.index)[GAUGE_LANES_UP], 1)
    event = shard_event(shard, EVENT_LANE_UP)
    event.a = lane.link.number
    event.b = lane.index
    event.c = lane.number
    return RESULT_OK


cdef Result lane_take_rekey(Shard* shard, Lane* lane, const uint8_t* body) noexcept nogil:
    cdef uint8_t mix[32]
    cdef uint64_t id = wire_get64(body + 4)
    cdef uint64_t* gauge = gauge_at(lane.link.gauge, shard.index)
    cdef Result answer
    if wire_get32(body) != lane.rx.number + 1:
        return RESULT_BAD_EPOCH
    if id == 0:
        return epoch_step(&lane.rx, NULL)
    answer = renewals_mix(&lane.link.renewals, id, lane.rx.direction, lane.number, mix)
    if answer == RESULT_OK:
        answer = epoch_step(&lane.rx, mix)
    OPENSSL_cleanse(mix, sizeof(mix))
    if answer == RESULT_OK and id > gauge[GAUGE_MIX]:
        figure_set(&gauge[GAUGE_MIX], id)
    return answer


cdef Result lane_take_ping(Shard* shard, Lane* lane, const uint8_t* body) noexcept nogil:
    cdef uint64_t fresh = (shard.now_us - lane.pings_us) / LANE_PING_US
    # What is left of the time counts for the next token.
    lane.pings_us += fresh * LANE_PING_US
    lane.ping_tokens = <uint32_t>(LANE_PINGS if fresh >= LANE_PINGS - lane.ping_tokens else lane.ping_tokens + fresh)
    if lane.ping_tokens == 0:
        return RESULT_GLITCHES
    lane.ping_tokens -= 1
    return lane_say(shard, lane, FRAME_PONG, body, 8)


cdef void lane_take_pong(Shard* shard, Lane* lane, uint64_t token) noexcept nogil:
    cdef uint64_t sample_us
    if lane.ping_token == 0 or token != lane.ping_token:
        figure_add(&shard.stats.count[COUNT_PONGS_UNKNOWN], 1)
        return
    sample_us = shard.now_us - lane.ping_sent_us
    lane.ping_token = 0
    lane.round_trip_us = sample_us if lane.round_trip_us == 0 else (7 * lane.round_trip_us + sample_us) / 8
    figure_set(&gauge_at(lane.link.gauge, shard.index)[GAUGE_ROUND_TRIP], lane.round_trip_us)


# -- sending ----------------------------------------------------------------------------------------------------------

# A frame of the lane's own, in clear; NULL: no memory.
cdef Buf* lane_frame(Shard* shard, uint32_t type, const uint8_t* body, uint32_t length) noexcept nogil:
    cdef Frame frame
    cdef Buf* buf = buf_take(&shard.pool, WIRE_PREFIX + length, True)
    if buf == NULL:
        return NULL
    frame.length = length
    frame.type = type
    frame.flow = 0
    frame.epoch = 0
    frame.number = 0
    frame_pack(&frame, buf_data(buf))
    memcpy(buf_data(buf) + WIRE_PREFIX, body, length)
    buf.length = WIRE_PREFIX + length
    return buf


cdef Result lane_say(Shard* shard, Lane* lane, uint32_t type, const uint8_t* body, uint32_t length) noexcept nogil:
    cdef Result answer
    cdef Buf* buf
    if lane.pending[0].count >= LANE_OWN:
        return RESULT_GLITCHES
    buf = lane_frame(shard, type, body, length)
    if buf == NULL:
        return RESULT_NO_MEMORY
    answer = queue_push_must(&lane.pending[0], &shard.pool, buf_data(buf), buf.length, buf, NULL)
    if answer != RESULT_OK:
        buf_drop(&shard.pool, buf)
        return answer
    lane_dirty(shard, lane)
    return RESULT_OK


cdef Result lane_say_lost(Shard* shard, Lane* lane, uint32_t label, uint32_t code) noexcept nogil:
    cdef uint8_t body[8]
    if not lane_is_up(lane):
        return RESULT_OK
    wire_put32(body, label)
    wire_put16(body + 4, code)
    wire_put16(body + 6, 0)
    return lane_say(shard, lane, FRAME_LOST, body, 8)


cdef Result lane_say_unknown(Shard* shard, Lane* lane, uint32_t label) noexcept nogil:
    if shard.now_us - lane.losts_us >= 1000000:
        lane.losts_us = shard.now_us
        lane.lost_tokens = LANE_LOSTS
    if not lane_is_up(lane) or lane.lost_tokens == 0:
        return RESULT_OK
    lane.lost_tokens -= 1
    return lane_say_lost(shard, lane, label, CODE_UNKNOWN)


cdef Result lane_push(Shard* shard, Lane* lane, uint8_t* p, uint32_t n, Buf* buf, Account* account,
                      uint32_t priority) noexcept nogil:
    cdef uint32_t waits_in = lane_class(priority)
    cdef Result answer
    # A relay may drop what it cannot hold; what an edge has sealed must go out.
    if account != NULL:
        answer = queue_push(&lane.pending[waits_in], &shard.pool, p, n, buf, account)
    else:
        answer = queue_push_must(&lane.pending[waits_in], &shard.pool, p, n, buf, NULL)
    if answer == RESULT_OK:
        lane_dirty(shard, lane)
    return answer


# The class whose turn it is; LANE_CLASSES: nothing waits.
cdef uint32_t next_class(const Lane* lane) noexcept nogil:
    cdef uint32_t i
    if lane.pending[0].count != 0:
        return 0
    for i in range(2, LANE_CLASSES):
        if lane.pending[i].count != 0 and lane.overtaken[i] >= LANE_OVERTAKEN:
            return i
    for i in range(1, LANE_CLASSES):
        if lane.pending[i].count != 0:
            return i
    return LANE_CLASSES


# A frame of n bytes goes, of class i: those below it that wait were overtaken.
cdef void overtake(Lane* lane, uint32_t i, uint32_t n) noexcept nogil:
    cdef uint32_t j
    lane.overtaken[i] = 0
    if i == 0:
        return
    for j in range(i + 1, LANE_CLASSES):
        if lane.pending[j].count != 0:
            lane.overtaken[j] += n


cdef Result lane_fill(Shard* shard, Lane* lane) noexcept nogil:
    cdef uint32_t i
    cdef Span span
    cdef Result answer = RESULT_OK
    while lane.wire.bytes < lane.ahead and answer == RESULT_OK:
        i = next_class(lane)
        if i == LANE_CLASSES:
            break
        # Past the soft limit the step comes before any other frame, whatever waits.
        if lane_is_up(lane) and lane_must_rekey(shard, lane):
            answer = lane_rekey(shard, lane)
            continue
        span = queue_pop(&lane.pending[i])
        overtake(lane, i, span.n)
        answer = lane_wire(shard, lane, &span)
        if span.account != NULL:
            if span.buf != NULL:
                span.account.queued -= span.n
            span.account.items -= 1
    return answer


# Seal the frame and hand it over to the wire; its account stays behind.
cdef Result lane_wire(Shard* shard, Lane* lane, Span* span) noexcept nogil:
    cdef Result answer = lane_seal(shard, lane, span)
    if queue_push_must(&lane.wire, &shard.pool, span.p, span.n, span.buf, NULL) != RESULT_OK:
        buf_drop(&shard.pool, span.buf)
        return RESULT_NO_MEMORY
    return answer


# Give the frame its hop number and seal its header, and the body too if it is the lane's own.
cdef Result lane_seal(Shard* shard, Lane* lane, Span* span) noexcept nogil:
    cdef Scope scope
    cdef uint64_t number = lane.tx_number
    cdef uint32_t type = span.p[3]
    cdef Result answer = epoch_spend(&lane.tx, span.n, shard.now_us, type == FRAME_REKEY)
    if answer != RESULT_OK:
        return answer
    lane.tx_number += 1
    if frame_is_lane(type):
        scope.direction = lane.tx.direction
        scope.index = lane.index
        scope.epoch = lane.tx.number
        answer = body_seal(&lane.tx.side, &scope, type, number, span.p, span.n - WIRE_PREFIX)
        if answer != RESULT_OK:
            return answer
    answer = frame_seal(&lane.tx.main, number, span.p)
    figure_add(&shard.stats.count[COUNT_FRAMES_SENT], 1)
    figure_add(&gauge_at(lane.link.gauge, shard.index)[GAUGE_SENT_FRAMES], 1)
    return answer


# Only a lane that is full all the time shows what it can carry: a burst that it has swallowed says nothing. One that is
# not full may be faster than was seen before.
cdef bint lane_pace(Shard* shard, Lane* lane) noexcept nogil:
    cdef uint64_t span_us = shard.now_us - lane.paced_us
    cdef uint64_t ahead = 2 * <uint64_t>lane.ahead
    cdef uint32_t before = lane.ahead
    if span_us < LANE_PACE_US:
        return False
    if lane.clogged and (not lane.writable or lane_backlog(lane, 0) != 0):
        ahead = lane.paced_bytes * LANE_WIRE_US / span_us
    if ahead < LANE_WIRE_LEAST:
        ahead = LANE_WIRE_LEAST
    lane.ahead = <uint32_t>ahead if ahead < LANE_WIRE else LANE_WIRE
    lane.paced_us = shard.now_us
    lane.paced_bytes = 0
    lane.clogged = False
    return lane.ahead != before


cdef void lane_forgive(Shard* shard, Lane* lane, uint64_t away_us) noexcept nogil:
    lane.heard_us += away_us
    if lane.heard_us > shard.now_us:
        lane.heard_us = shard.now_us


cdef void lane_probe_anew(Shard* shard, Lane* lane) noexcept nogil:
    lane.heard_us = shard.now_us
    lane.ping_due_us = shard.now_us


cdef Result lane_tick(Shard* shard, Lane* lane) noexcept nogil:
    cdef uint8_t body[8]
    cdef Result answer
    if lane.state == LANE_CONFIRMING:
        return RESULT_CONFIRM_TIMEOUT if shard.now_us - lane.opened_us > shard.handshake_us else RESULT_OK
    if shard.now_us - lane.heard_us > LANE_SILENCE * shard.probe_us:
        return RESULT_SILENT
    if shard.now_us >= lane.ping_due_us:
        lane.ping_due_us = shard.now_us + shard.probe_us
        if lane.ping_token != 0 and shard.now_us - lane.ping_sent_us >= LANE_PINGS_LATE * shard.probe_us:
            figure_add(&gauge_at(lane.link.gauge, shard.index)[GAUGE_PINGS_LATE], 1)
        figure_add(&gauge_at(lane.link.gauge, shard.index)[GAUGE_PINGS], 1)
        # The last PING may still be under way: then its PONG is what measures.
        if lane.ping_token == 0 or shard.now_us - lane.ping_sent_us > LANE_SILENCE * shard.probe_us:
            shard.token += 1
            lane.ping_token = shard.token
            lane.ping_sent_us = shard.now_us
        wire_put64(body, lane.ping_token)
        answer = lane_say(shard, lane, FRAME_PING, body, 8)
        return answer
    return RESULT_OK


# Past a soft limit, or for the sake of a renewal: the healing reaches a direction when its sender steps. CONFIRM comes
# first, whatever waits: it may still do so when that of the peer is there.
cdef inline bint lane_must_rekey(const Shard* shard, const Lane* lane) noexcept nogil:
    return lane.tx_number != 0 and (renewals_fresh(&lane.link.renewals, lane.tx_mix) != 0
                                    or epoch_must_rekey(&lane.tx, &shard.limits, shard.now_us))


# REKEY is the last frame of its epoch; whatever is sealed after it is of the next.
cdef Result lane_rekey(Shard* shard, Lane* lane) noexcept nogil:
    cdef uint8_t body[12]
    cdef uint8_t mix[32]
    cdef uint64_t id = renewals_fresh(&lane.link.renewals, lane.tx_mix)
    cdef Span span
    cdef Result answer
    wire_put32(body, lane.tx.number + 1)
    wire_put64(body + 4, id)
    span.buf = lane_frame(shard, FRAME_REKEY, body, 12)
    if span.buf == NULL:
        return RESULT_NO_MEMORY
    span.p = buf_data(span.buf)
    span.n = span.buf.length
    figure_add(&shard.stats.count[COUNT_REKEYS], 1)
    answer = lane_wire(shard, lane, &span)
    if answer != RESULT_OK or id == 0:
        return answer if answer != RESULT_OK else epoch_step(&lane.tx, NULL)
    lane.tx_mix = id
    figure_add(&shard.stats.count[COUNT_REKEYS_MIXED], 1)
    answer = renewals_mix(&lane.link.renewals, id, lane.tx.direction, lane.number, mix)
    if answer == RESULT_OK:
        answer = epoch_step(&lane.tx, mix)
    OPENSSL_cleanse(mix, sizeof(mix))
    return answer
