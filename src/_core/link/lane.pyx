from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy

from pcgrelay._core.base.atomics cimport counter_add, counter_set
from pcgrelay._core.base.bucket cimport bucket_take
from pcgrelay._core.base.buf cimport Buf, buf_data, buf_drop, buf_alloc, pool_alloc, pool_free
from pcgrelay._core.crypto.epoch cimport epoch_start, epoch_step, epoch_wipe
from pcgrelay._core.frame.frame cimport Frame, Scope, body_open, frame_open
from pcgrelay._core.link.gauge cimport (
    LINK_GAUGE_LANES_UP, LINK_GAUGE_MIX, LINK_GAUGE_PINGS, LINK_GAUGE_PINGS_LATE, LINK_GAUGE_RECEIVED_FRAMES,
    LINK_GAUGE_STEPPED, gauge_at,
)
from pcgrelay._core.base.handle cimport HANDLE_LANE
from pcgrelay._core.base.libcrypto cimport crypto_bind, CRYPTO_memcmp, OPENSSL_cleanse
from pcgrelay._core.link.link cimport link_count_round_trip
from pcgrelay._core.link.shard cimport (
    LANE_CLASSES, LANE_CLOSED, LANE_CONFIRMING, LANE_DRAINING, LANE_FRAME_US, LANE_PINGS, LANE_PINGS_LATE,
    LANE_PING_US, LANE_REKEYS, LANE_REKEY_US, LANE_SILENCE, LANE_UP, LANE_WIRE, Lane, Link, Shard, lane_is_up,
    lane_stepped, shard_event,
)
from pcgrelay._core.link.mailbox cimport EVENT_LANE_UP, EVENT_PEER_DRAINS, Event
from pcgrelay._core.base.queue cimport queue_free
from pcgrelay._core.crypto.renewal cimport owed_begin, owed_forgive, owed_is_over, owed_step, renewals_mix
from pcgrelay._core.base.result cimport (
    RESULT_BAD_CONFIRM, RESULT_BAD_EPOCH, RESULT_BAD_FIELD, RESULT_CONFIRM_TIMEOUT, RESULT_GLITCHES,
    RESULT_MIX_OVERDUE, RESULT_MORE,
    RESULT_NOT_CONFIRMED, RESULT_NO_MEMORY, RESULT_OK, RESULT_PEER_CLOSED, RESULT_REPLACED, RESULT_SILENT, Result,
)
from pcgrelay._core.link.lane_send cimport lane_tx
from pcgrelay._core.base.stats cimport COUNT_FRAMES_RECEIVED, COUNT_LANES_OPENED, COUNT_PONGS_UNKNOWN
from pcgrelay._core.base.wire cimport (
    FRAME_CLOSE, FRAME_CONFIRM, FRAME_DRAIN, FRAME_LOST, FRAME_PING, FRAME_PONG, FRAME_REKEY, PURPOSE_HOP_HEADER,
    WIRE_PREFIX, WIRE_VERSION, wire_get16, wire_get32, wire_get64, wire_put16, wire_put32, wire_put64,
)

crypto_bind()


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
    lane.paced_us = shard.now_us
    lane.ahead = LANE_WIRE
    wire_put16(body, WIRE_VERSION)
    wire_put16(body + 2, index)
    wire_put32(body + 4, number)
    memcpy(body + 8, link.binding, 32)
    if epoch_start(&lane.tx, secret, 0 if link.dialler else 1, link.suite, PURPOSE_HOP_HEADER, True) != RESULT_OK \
            or epoch_start(&lane.rx, secret, 1 if link.dialler else 0, link.suite, PURPOSE_HOP_HEADER,
                           False) != RESULT_OK \
            or lane_tx(shard, lane, FRAME_CONFIRM, body, 40) != RESULT_OK:
        lane_stop(shard, lane)
        pool_free(&shard.pool, lane, sizeof(Lane))
        return NULL
    lane.writable = True
    owed_begin(&lane.owed, link.renewals.agreed_id, True, shard.now_us)
    counter_add(&shard.stats.count[COUNT_LANES_OPENED], 1)
    return lane


cdef void lane_stop(Shard* shard, Lane* lane) noexcept nogil:
    cdef uint32_t i
    if lane_is_up(lane):
        lane_count_stepped(shard, lane, 0)
        counter_add(&gauge_at(lane.link.gauge, shard.index)[LINK_GAUGE_LANES_UP], -1)
        lane.state = LANE_CLOSED
        link_count_round_trip(shard, lane.link)
    lane.state = LANE_CLOSED
    for i in range(LANE_CLASSES):
        queue_free(&lane.pending[i], &shard.pool)
    queue_free(&lane.wire, &shard.pool)
    buf_drop(&shard.pool, lane.partial)
    lane.partial = NULL
    epoch_wipe(&lane.tx)
    epoch_wipe(&lane.rx)


# -- receiving --------------------------------------------------------------------------------------------------------

cdef Result lane_next(Shard* shard, Lane* lane, uint8_t* p, uint64_t n, bint opened, Frame* frame,
                      uint64_t* used) noexcept nogil:
    cdef Result answer
    if not opened:
        if n < WIRE_PREFIX:
            return RESULT_MORE
        answer = frame_open(&lane.rx.data, lane.rx_number, p, frame)
        if answer != RESULT_OK:
            return answer
        lane.rx_number += 1
        if lane.state == LANE_CONFIRMING and frame.type != FRAME_CONFIRM:
            return RESULT_NOT_CONFIRMED
    used[0] = WIRE_PREFIX + frame.length
    if n < used[0]:
        return RESULT_MORE
    counter_add(&shard.stats.count[COUNT_FRAMES_RECEIVED], 1)
    counter_add(&gauge_at(lane.link.gauge, shard.index)[LINK_GAUGE_RECEIVED_FRAMES], 1)
    return RESULT_OK


cdef Result lane_keep(Shard* shard, Lane* lane, const uint8_t* p, uint64_t n, const Frame* frame,
                      bint opened) noexcept nogil:
    cdef Buf* buf
    cdef uint32_t whole = WIRE_PREFIX
    if opened:
        whole += frame.length
        lane.head = frame[0]
    # The peer gave the length of the frame, but it was checked against the table of frame types.
    buf = buf_alloc(&shard.pool, whole, True)
    if buf == NULL:
        return RESULT_NO_MEMORY
    memcpy(buf_data(buf), p, n)
    buf.length = <uint32_t>n
    if lane.partial == NULL:
        lane.partial_us = shard.now_us
    buf_drop(&shard.pool, lane.partial)
    lane.partial = buf
    lane.partial_need = whole - <uint32_t>n
    lane.head_open = opened
    return RESULT_OK


cdef Result lane_frame(Shard* shard, Lane* lane, LaneInput* input, bint is_edge) noexcept nogil:
    cdef uint64_t used = 0
    cdef Result answer
    if lane.partial != NULL:
        return lane_complete(shard, lane, input, is_edge)
    input.buf = input.owner = NULL
    input.scarce = False
    if input.n == 0:
        return RESULT_MORE
    input.wire = input.p
    answer = lane_next(shard, lane, input.p, input.n, False, &input.frame, &used)
    if answer == RESULT_MORE:
        answer = lane_keep(shard, lane, input.p, input.n, &input.frame, input.n >= WIRE_PREFIX)
        return RESULT_MORE if answer == RESULT_OK else answer
    input.p += used
    input.n -= used
    return answer


# Complete the frame whose beginning was kept.
cdef Result lane_complete(Shard* shard, Lane* lane, LaneInput* input, bint is_edge) noexcept nogil:
    cdef Buf* buf
    cdef uint64_t part, used = 0
    cdef Result answer
    while True:
        buf = lane.partial
        part = input.part
        if part == 0:
            part = input.n if input.n < lane.partial_need else lane.partial_need
            memcpy(buf_data(buf) + buf.length, input.p, part)
            input.p += part
            input.n -= part
        buf.length += <uint32_t>part
        lane.partial_need -= <uint32_t>part
        input.part = 0
        if lane.partial_need != 0:
            return RESULT_MORE
        input.frame = lane.head
        answer = lane_next(shard, lane, buf_data(buf), buf.length, lane.head_open, &input.frame, &used)
        if answer == RESULT_OK:
            break
        if answer == RESULT_MORE:
            # Only the prefix was missing: now the length of the frame is known.
            answer = lane_keep(shard, lane, buf_data(buf), buf.length, &input.frame, True)
        if answer != RESULT_OK:
            return answer
    lane.partial = NULL
    input.wire = buf_data(buf)
    input.buf = buf
    # Its buffer may be from the reserve, which is for frames that are forwarded at once: a stalled reader may not keep
    # it. The stream copies what the budget allows, or ends.
    input.scarce = is_edge and shard.pool.used > shard.pool.limit
    input.owner = NULL if input.scarce else buf
    return RESULT_OK


cdef Result lane_rx(Shard* shard, Lane* lane, const Frame* frame, uint8_t* wire) noexcept nogil:
    cdef Scope scope
    cdef Event* event
    cdef uint8_t* body = wire + WIRE_PREFIX
    # The header advanced the number already; the body is sealed with the same number.
    cdef uint64_t number = lane.rx_number - 1
    cdef Result answer
    scope.direction = lane.rx.direction
    scope.index = lane.index
    scope.epoch = lane.rx.number
    answer = body_open(&lane.rx.control, &scope, frame.type, number, wire, frame.length)
    if answer != RESULT_OK:
        return answer
    if frame.type == FRAME_CONFIRM:
        return lane_rx_confirm(shard, lane, body)
    if frame.type == FRAME_PING:
        return lane_rx_ping(shard, lane, body)
    if frame.type == FRAME_PONG:
        lane_rx_pong(shard, lane, wire_get64(body))
    elif frame.type == FRAME_REKEY:
        return lane_rx_rekey(shard, lane, body)
    elif frame.type == FRAME_DRAIN and lane.state != LANE_DRAINING:
        # Reported once, however often it is received: a peer must not keep the control plane busy with events.
        lane.state = LANE_DRAINING
        event = shard_event(shard, EVENT_PEER_DRAINS)
        event.data.drain.link = lane.link.number
        event.data.drain.milliseconds = wire_get32(body)
    elif frame.type == FRAME_CLOSE:
        if wire_get16(body + 2) != 0:
            return RESULT_BAD_FIELD
        lane.close_code = wire_get16(body)
        return RESULT_PEER_CLOSED
    elif frame.type == FRAME_LOST and wire_get16(body + 6) != 0:
        return RESULT_BAD_FIELD
    # PADDING is ignored; LOST is for the role.
    return RESULT_OK


cdef Result lane_rx_confirm(Shard* shard, Lane* lane, const uint8_t* body) noexcept nogil:
    cdef Event* event
    cdef Lane* current = lane.link.lanes[lane.index]
    if lane.state != LANE_CONFIRMING:
        return RESULT_BAD_CONFIRM
    if wire_get16(body) != WIRE_VERSION or wire_get16(body + 2) != lane.index \
            or wire_get32(body + 4) != lane.number or CRYPTO_memcmp(body + 8, lane.link.binding, 32) != 0:
        return RESULT_BAD_CONFIRM
    if current != NULL and current.number > lane.number:
        # CONFIRM came late: the dialler had given this lane up before it opened that one.
        return RESULT_REPLACED
    lane.state = LANE_UP
    lane.ping_due_us = shard.now_us
    counter_add(&gauge_at(lane.link.gauge, shard.index)[LINK_GAUGE_LANES_UP], 1)
    event = shard_event(shard, EVENT_LANE_UP)
    event.data.lane.link = lane.link.number
    event.data.lane.index = lane.index
    event.data.lane.number = lane.number
    return RESULT_OK


cdef Result lane_rx_rekey(Shard* shard, Lane* lane, const uint8_t* body) noexcept nogil:
    cdef uint8_t mix[32]
    cdef uint64_t id = wire_get64(body + 4)
    cdef uint64_t* gauge = gauge_at(lane.link.gauge, shard.index)
    cdef Result answer
    if wire_get32(body) != lane.rx.number + 1:
        return RESULT_BAD_EPOCH
    # A key step costs as much as many frames.
    if not bucket_take(&lane.rekeys_us, shard.now_us, LANE_REKEYS, LANE_REKEY_US):
        return RESULT_GLITCHES
    answer = owed_step(&lane.owed, lane.link.renewals.agreed_id, id, True, owed_is_over(&lane.owed, shard.now_us),
                       shard.now_us)
    if answer != RESULT_OK:
        return answer
    if id == 0:
        return epoch_step(&lane.rx, NULL)
    answer = renewals_mix(&lane.link.renewals, id, lane.rx.direction, lane.number, mix)
    if answer == RESULT_OK:
        answer = epoch_step(&lane.rx, mix)
    OPENSSL_cleanse(mix, sizeof(mix))
    if answer == RESULT_OK and id > gauge[LINK_GAUGE_MIX]:
        counter_set(&gauge[LINK_GAUGE_MIX], id)
    lane_count_stepped(shard, lane, lane_stepped(lane))
    return answer


cdef void lane_count_stepped(Shard* shard, Lane* lane, uint64_t mix) noexcept nogil:
    if mix != lane.stepped_counted:
        counter_add(&gauge_at(lane.link.gauge, shard.index)[LINK_GAUGE_STEPPED], mix - lane.stepped_counted)
        lane.stepped_counted = mix


cdef Result lane_rx_ping(Shard* shard, Lane* lane, const uint8_t* body) noexcept nogil:
    if not bucket_take(&lane.pings_us, shard.now_us, LANE_PINGS, LANE_PING_US):
        return RESULT_GLITCHES
    return lane_tx(shard, lane, FRAME_PONG, body, 8)


cdef void lane_rx_pong(Shard* shard, Lane* lane, uint64_t token) noexcept nogil:
    cdef uint64_t sample_us
    if lane.ping_token == 0 or token != lane.ping_token:
        counter_add(&shard.stats.count[COUNT_PONGS_UNKNOWN], 1)
        return
    sample_us = shard.now_us - lane.ping_sent_us
    lane.ping_token = 0
    if token != lane.tx_mix_token:
        lane.tx_mix_acked = lane.tx_mix
        lane_count_stepped(shard, lane, lane_stepped(lane))
    lane.round_trip_us = sample_us if lane.round_trip_us == 0 else (7 * lane.round_trip_us + sample_us) / 8
    link_count_round_trip(shard, lane.link)


# -- ticks ------------------------------------------------------------------------------------------------------------

cdef void lane_forgive(Shard* shard, Lane* lane, uint64_t away_us) noexcept nogil:
    owed_forgive(&lane.owed, away_us)
    lane.heard_us += away_us
    if lane.heard_us > shard.now_us:
        lane.heard_us = shard.now_us
    lane.partial_us += away_us
    if lane.partial_us > shard.now_us:
        lane.partial_us = shard.now_us


cdef void lane_probe_restart(Shard* shard, Lane* lane) noexcept nogil:
    lane.heard_us = shard.now_us
    lane.ping_due_us = shard.now_us


cdef Result lane_tick(Shard* shard, Lane* lane) noexcept nogil:
    cdef uint8_t body[8]
    cdef Result answer
    if lane.state == LANE_CONFIRMING:
        return RESULT_CONFIRM_TIMEOUT if shard.now_us - lane.opened_us > shard.handshake_us else RESULT_OK
    if shard.now_us - lane.heard_us > LANE_SILENCE * shard.probe_us:
        return RESULT_SILENT
    # Single bytes at intervals end the silence, but they prove nothing.
    if lane.partial != NULL and shard.now_us - lane.partial_us > LANE_FRAME_US:
        return RESULT_SILENT
    # A lane that is up always carries PINGs, each of which is a frame without the mix that is owed.
    if owed_is_over(&lane.owed, shard.now_us):
        return RESULT_MIX_OVERDUE
    if shard.now_us >= lane.ping_due_us:
        lane.ping_due_us = shard.now_us + shard.probe_us
        if lane.ping_token != 0 and shard.now_us - lane.ping_sent_us >= LANE_PINGS_LATE * shard.probe_us:
            counter_add(&gauge_at(lane.link.gauge, shard.index)[LINK_GAUGE_PINGS_LATE], 1)
        counter_add(&gauge_at(lane.link.gauge, shard.index)[LINK_GAUGE_PINGS], 1)
        # If the last PING is still under way, its PONG is the measurement.
        if lane.ping_token == 0 or shard.now_us - lane.ping_sent_us > LANE_SILENCE * shard.probe_us:
            shard.token += 1
            lane.ping_token = shard.token
            lane.ping_sent_us = shard.now_us
        wire_put64(body, lane.ping_token)
        answer = lane_tx(shard, lane, FRAME_PING, body, 8)
        return answer
    return RESULT_OK
