from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.bucket cimport bucket_has, bucket_spend, bucket_take
from pcgrelay._core.base.buf cimport Buf, buf_data, buf_drop, buf_alloc
from pcgrelay._core.crypto.epoch cimport epoch_must_rekey, epoch_spend, epoch_step
from pcgrelay._core.frame.frame cimport Frame, Scope, body_seal, frame_is_lane, frame_pack, frame_seal
from pcgrelay._core.link.gauge cimport LINK_GAUGE_SENT_FRAMES, gauge_at
from pcgrelay._core.base.libcrypto cimport crypto_bind, OPENSSL_cleanse
from pcgrelay._core.link.shard cimport (
    LANE_CLASSES, LANE_LOSTS, LANE_LOST_US, LANE_OLD_US, LANE_OVERTAKEN, LANE_OWN, LANE_PACE_US, LANE_STEPS,
    LANE_STEP_US, LANE_WIRE, LANE_WIRE_LEAST, LANE_WIRE_US, Lane, Shard, lane_dirty, lane_is_up,
)
from pcgrelay._core.base.queue cimport Account, Span, queue_pop, queue_push, queue_push_must, queue_reserve
from pcgrelay._core.crypto.renewal cimport renewals_fresh, renewals_mix, renewals_wait
from pcgrelay._core.base.result cimport RESULT_GLITCHES, RESULT_NO_MEMORY, RESULT_OK, Result
from pcgrelay._core.base.stats cimport (
    COUNT_DATAGRAM_FRAMES_OLD, COUNT_FRAMES_DROPPED, COUNT_FRAMES_SENT, COUNT_REKEYS, COUNT_REKEYS_MIXED,
)
from pcgrelay._core.base.wire cimport (
    CODE_UNKNOWN, FRAME_DATAGRAMS, FRAME_LOST, FRAME_REKEY, WIRE_HEADER, WIRE_PREFIX, wire_put16, wire_put32,
    wire_put64,
)

crypto_bind()


# -- frames of the lane itself ----------------------------------------------------------------------------------------

# Make a frame of the lane itself, in clear; NULL: no memory.
cdef Buf* lane_frame(Shard* shard, uint32_t type, const uint8_t* body, uint32_t length) noexcept nogil:
    cdef Frame frame
    cdef Buf* buf = buf_alloc(&shard.pool, WIRE_PREFIX + length, True)
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


cdef Result lane_tx(Shard* shard, Lane* lane, uint32_t type, const uint8_t* body, uint32_t length) noexcept nogil:
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


cdef Result lane_tx_lost(Shard* shard, Lane* lane, uint32_t label, uint32_t code) noexcept nogil:
    cdef uint8_t body[8]
    if not lane_is_up(lane):
        return RESULT_OK
    wire_put32(body, label)
    wire_put16(body + 4, code)
    wire_put16(body + 6, 0)
    return lane_tx(shard, lane, FRAME_LOST, body, 8)


cdef Result lane_tx_unknown(Shard* shard, Lane* lane, uint32_t label) noexcept nogil:
    if not lane_is_up(lane) or not bucket_take(&lane.losts_us, shard.now_us, LANE_LOSTS, LANE_LOST_US):
        return RESULT_OK
    return lane_tx_lost(shard, lane, label, CODE_UNKNOWN)


# -- what waits, and what is sealed -----------------------------------------------------------------------------------

cdef Result lane_push(Shard* shard, Lane* lane, uint8_t* p, uint32_t n, Buf* buf, Account* account,
                      uint32_t priority) noexcept nogil:
    cdef uint32_t waits_in = lane_class(priority)
    cdef Result answer
    # A relay may drop what it cannot hold; a frame that an edge has sealed must be sent.
    if account != NULL:
        answer = queue_push(&lane.pending[waits_in], &shard.pool, p, n, buf, account)
    else:
        answer = queue_push_must(&lane.pending[waits_in], &shard.pool, p, n, buf, NULL)
    if answer == RESULT_OK:
        lane_dirty(shard, lane)
    return answer


cdef bint lane_reserve(Shard* shard, Lane* lane, uint32_t priority) noexcept nogil:
    return queue_reserve(&lane.pending[lane_class(priority)], &shard.pool)


# The class to send next; LANE_CLASSES: nothing waits.
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


# Count that a frame of n bytes of class i overtakes the lower classes that wait.
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
        # Past the soft limit the step comes before any other frame.
        if lane_is_up(lane) and lane_must_rekey(shard, lane):
            answer = lane_rekey(shard, lane)
            continue
        span = queue_pop(&lane.pending[i])
        overtake(lane, i, span.n)
        if span.account != NULL and span.p[3] == FRAME_DATAGRAMS and lane_datagrams_are_old(shard, &span):
            buf_drop(&shard.pool, span.buf)
        else:
            answer = lane_wire(shard, lane, &span)
        if span.account != NULL:
            if span.buf != NULL:
                span.account.queued -= span.n
            span.account.items -= 1
    return answer


# The tag of the header is of no more use once a relay has opened it, and is written anew when it is sealed. The time
# stands in its place meanwhile.
cdef void lane_stamp(const Shard* shard, uint8_t* wire) noexcept nogil:
    memcpy(wire + WIRE_HEADER, &shard.now_us, sizeof(shard.now_us))


# Whether a relay's frame of datagrams has waited too long, which is counted. A process before may have left no time.
cdef bint lane_datagrams_are_old(Shard* shard, const Span* span) noexcept nogil:
    cdef uint64_t since_us = 0
    memcpy(&since_us, span.p + WIRE_HEADER, sizeof(since_us))
    if since_us > shard.now_us or shard.now_us - since_us <= LANE_OLD_US:
        return False
    counter_add(&shard.stats.count[COUNT_FRAMES_DROPPED], 1)
    counter_add(&shard.stats.count[COUNT_DATAGRAM_FRAMES_OLD], 1)
    return True


# Seal the frame and move it to the wire; its account is released. A frame that could not be sealed is in clear and must
# never reach a socket.
cdef Result lane_wire(Shard* shard, Lane* lane, Span* span) noexcept nogil:
    cdef Result answer = lane_seal(shard, lane, span)
    if answer == RESULT_OK:
        answer = queue_push_must(&lane.wire, &shard.pool, span.p, span.n, span.buf, NULL)
    if answer != RESULT_OK:
        buf_drop(&shard.pool, span.buf)
    return answer


# Give the frame its hop number and seal its header, and also the body of a frame of the lane itself.
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
        answer = body_seal(&lane.tx.control, &scope, type, number, span.p, span.n - WIRE_PREFIX)
        if answer != RESULT_OK:
            return answer
    answer = frame_seal(&lane.tx.data, number, span.p)
    counter_add(&shard.stats.count[COUNT_FRAMES_SENT], 1)
    counter_add(&gauge_at(lane.link.gauge, shard.index)[LINK_GAUGE_SENT_FRAMES], 1)
    return answer


# -- steps of epoch ---------------------------------------------------------------------------------------------------

# Step past a soft limit, or because of a renewal: a direction is healed when its sender steps. CONFIRM is sent first,
# even if that of the peer has arrived already. A step beyond the peer's budget of steps also waits: the soft limits are
# far below the hard ones.
cdef inline bint lane_must_rekey(const Shard* shard, const Lane* lane) noexcept nogil:
    return lane.tx_number != 0 and (renewals_fresh(&lane.link.renewals, lane.tx_mix) != 0
                                    or (epoch_must_rekey(&lane.tx, &shard.limits, shard.now_us)
                                        and not renewals_wait(&lane.link.renewals, shard.now_us))) \
        and bucket_has(lane.steps_us, shard.now_us, LANE_STEPS, LANE_STEP_US)


# REKEY is the last frame of its epoch; all frames sealed after it are of the next.
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
    bucket_spend(&lane.steps_us, shard.now_us, LANE_STEP_US)
    counter_add(&shard.stats.count[COUNT_REKEYS], 1)
    answer = lane_wire(shard, lane, &span)
    if answer != RESULT_OK or id == 0:
        return answer if answer != RESULT_OK else epoch_step(&lane.tx, NULL)
    lane.tx_mix = id
    lane.tx_mix_token = lane.ping_token
    counter_add(&shard.stats.count[COUNT_REKEYS_MIXED], 1)
    answer = renewals_mix(&lane.link.renewals, id, lane.tx.direction, lane.number, mix)
    if answer == RESULT_OK:
        answer = epoch_step(&lane.tx, mix)
    OPENSSL_cleanse(mix, sizeof(mix))
    return answer


# -- rate -------------------------------------------------------------------------------------------------------------

# Only a lane that is full all the time shows its rate; a burst that fits into the socket does not. A lane that is not
# full may be faster than was measured before.
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
