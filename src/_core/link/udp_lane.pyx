from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from pcgrelay._core.base.atomics cimport counter_add, counter_set
from pcgrelay._core.base.bucket cimport bucket_take
from pcgrelay._core.base.buf cimport BUF_LARGEST, Buf, buf_alloc, buf_data, buf_drop, pool_alloc, pool_free
from pcgrelay._core.base.map cimport map_find, map_put, map_remove
from pcgrelay._core.base.result cimport RESULT_OK, RESULT_STALE, Result
from pcgrelay._core.base.stats cimport (
    COUNT_UDP_BAD_LENGTH, COUNT_UDP_BAD_TAG, COUNT_UDP_BAD_TOKEN, COUNT_UDP_BYTES_TAKEN, COUNT_UDP_GLITCHES,
    COUNT_UDP_LATE, COUNT_UDP_MALFORMED, COUNT_UDP_NOT_SENT, COUNT_UDP_PACKETS_TAKEN, COUNT_UDP_REPLAYED,
    COUNT_UDP_TOO_LONG,
)
from pcgrelay._core.base.wire cimport (
    FRAME_DATAGRAMS, FRAME_PROBE, FRAME_REPORT, PURPOSE_HOP_HEADER, WIRE_PREFIX, WIRE_UDP_HEAD, wire_get32,
    wire_get64, wire_put32, wire_put64,
)
from pcgrelay._core.crypto.epoch cimport epoch_start, epoch_wipe
from pcgrelay._core.crypto.replay cimport replay_check, replay_take
from pcgrelay._core.frame.frame cimport Frame, Scope, body_open, body_seal, frame_pack
from pcgrelay._core.frame.packet cimport PACKET_LEAST, PACKET_REPORT, packet_open, packet_seal, packet_unpack
from pcgrelay._core.link.gauge cimport (
    UDP_GAUGE_LONGEST, UDP_GAUGE_LOSS, UDP_GAUGE_NUMBER, UDP_GAUGE_REFUSED, UDP_GAUGE_ROUND_TRIP, UDP_GAUGE_SENT,
    UDP_GAUGE_STATE, UDP_GAUGE_TAKEN, gauge_udp_at,
)
from pcgrelay._core.link.mailbox cimport EVENT_UDP_LANE_DOWN, EVENT_UDP_LANE_SPENT, EVENT_UDP_LANE_UP, Event
from pcgrelay._core.link.shard cimport shard_event
from pcgrelay._core.link.udp_probes cimport (
    UDP_AS_BEFORE, UDP_BROKEN, UDP_CAME_UP, UDP_CLOSED, UDP_FELL_SILENT, UDP_OPENING, UdpTurn, probes_begin,
    probes_follow, probes_forgive, probes_rx, probes_tick, probes_tx,
)


# -- life -------------------------------------------------------------------------------------------------------------

cdef UdpLane* udp_lane_start(Shard* shard, Link* link, UdpSocket* socket, uint32_t index, uint32_t number,
                             uint32_t token, const uint8_t* secret) noexcept nogil:
    cdef UdpLane* lane
    if token == 0 or map_find(&shard.udp_tokens, token) != NULL:
        return NULL
    make_room(shard, link, index)
    lane = <UdpLane*>pool_alloc(&shard.pool, sizeof(UdpLane))
    if lane == NULL:
        return NULL
    lane.link = link
    lane.socket = socket
    lane.index = index
    lane.number = number
    lane.token = token
    lane.opened_us = shard.now_us
    probes_begin(&lane.probes, shard.now_us)
    if epoch_start(&lane.tx, secret, 0 if link.dialler else 1, link.suite, PURPOSE_HOP_HEADER, True) != RESULT_OK \
            or epoch_start(&lane.rx, secret, 1 if link.dialler else 0, link.suite, PURPOSE_HOP_HEADER,
                           False) != RESULT_OK \
            or not map_put(&shard.udp_tokens, token, lane):
        epoch_wipe(&lane.tx)
        epoch_wipe(&lane.rx)
        pool_free(&shard.pool, lane, sizeof(UdpLane))
        return NULL
    lane.next = shard.udp_lanes
    shard.udp_lanes = lane
    count(shard, lane)
    return lane


# Close the oldest that is not used, if there are as many as there may be.
cdef void make_room(Shard* shard, Link* link, uint32_t index) noexcept nogil:
    cdef UdpLane* lane = shard.udp_lanes
    cdef UdpLane* oldest = NULL
    cdef uint32_t n = 0
    while lane != NULL:
        if lane.link == link and lane.index == index:
            n += 1
            if link.udp_lanes[index] != lane and (oldest == NULL or lane.number < oldest.number):
                oldest = lane
        lane = lane.next
    if n >= UDP_OF_INDEX:
        udp_lane_end(shard, oldest, UDP_REPLACED)


cdef void udp_lane_begin(Shard* shard, UdpLane* lane, uint32_t peer_token, const uint8_t* address,
                         uint32_t length) noexcept nogil:
    if lane.peer_token != 0:
        return
    lane.peer_token = peer_token
    if lane.peer_length == 0:
        memcpy(lane.peer, address, length)
        lane.peer_length = length
    probes_begin(&lane.probes, shard.now_us)
    tx_probe(shard, lane)
    if lane.owed_probe != 0:
        tx_report(shard, lane, lane.owed_probe)
        lane.owed_probe = 0


cdef UdpLane* udp_lane_find(Shard* shard, uint32_t link, uint32_t number) noexcept nogil:
    cdef UdpLane* lane = shard.udp_lanes
    while lane != NULL and (lane.link.number != link or lane.number != number):
        lane = lane.next
    return lane


# Its figures show it by then.
cdef void tell(Shard* shard, uint32_t kind, UdpLane* lane, uint32_t reason, bint closed) noexcept nogil:
    cdef Event* event = shard_event(shard, kind)
    event.data.lane.link = lane.link.number
    event.data.lane.index = lane.index
    event.data.lane.number = lane.number
    event.data.lane.reason = reason
    event.data.lane.code = closed
    count(shard, lane)


cdef void udp_lane_tell_refused(Shard* shard, uint32_t link, uint32_t index, uint32_t number) noexcept nogil:
    cdef Event* event = shard_event(shard, EVENT_UDP_LANE_DOWN)
    event.data.lane.link = link
    event.data.lane.index = index
    event.data.lane.number = number
    event.data.lane.reason = UDP_REFUSED
    event.data.lane.code = True


cdef void udp_lane_end(Shard* shard, UdpLane* lane, UdpReason reason) noexcept nogil:
    cdef UdpLane** at = &shard.udp_lanes
    while at[0] != lane:
        at = &at[0].next
    at[0] = lane.next
    if lane.dirty:
        at = &shard.dirty_udp_lanes
        while at[0] != lane:
            at = &at[0].next_dirty
        at[0] = lane.next_dirty
    if lane.link.udp_lanes[lane.index] == lane:
        lane.link.udp_lanes[lane.index] = NULL
    map_remove(&shard.udp_tokens, lane.token)
    lane.probes.state = UDP_CLOSED
    tell(shard, EVENT_UDP_LANE_DOWN, lane, reason, True)
    udp_lane_drop_out(shard, lane)
    epoch_wipe(&lane.tx)
    epoch_wipe(&lane.rx)
    pool_free(&shard.pool, lane, sizeof(UdpLane))


cdef void udp_lane_end_all(Shard* shard, const Link* link, const UdpSocket* socket, UdpReason reason) noexcept nogil:
    cdef UdpLane* lane = shard.udp_lanes
    cdef UdpLane* following
    while lane != NULL:
        following = lane.next
        if (link == NULL or lane.link == link) and (socket == NULL or lane.socket == socket):
            udp_lane_end(shard, lane, reason)
        lane = following


# -- sending ----------------------------------------------------------------------------------------------------------

cdef inline bint may_seal(const Shard* shard, const UdpLane* lane) noexcept nogil:
    return lane.tx_number < UDP_HARD_PACKETS and shard.now_us - lane.opened_us < UDP_HARD_US


cdef bint udp_lane_bears(Shard* shard, const UdpLane* lane, uint32_t length) noexcept nogil:
    if length > lane.probes.longest:
        counter_add(&shard.stats.count[COUNT_UDP_TOO_LONG], 1)
        return False
    return may_seal(shard, lane)


cdef void udp_lane_count_not_sent(Shard* shard, uint32_t n) noexcept nogil:
    counter_add(&shard.stats.count[COUNT_UDP_NOT_SENT], n)


# Room for a packet of n bytes behind the last one; NULL: none.
cdef uint8_t* place(Shard* shard, UdpLane* lane, uint32_t n) noexcept nogil:
    cdef Buf* buf = lane.out_last
    if lane.out_count >= UDP_OUT_MOST:
        return NULL
    if buf == NULL or buf.number == UDP_PACKETS or buf.length + n > buf.capacity:
        # Most turns send a few.
        buf = buf_alloc(&shard.pool, 2 * PACKET_MOST if buf == NULL else BUF_LARGEST, False)
        if buf == NULL:
            return NULL
        buf.number = 0
        buf.length = UDP_PLACES
        buf.next = NULL
        if lane.out_last == NULL:
            lane.out_first = buf
        else:
            lane.out_last.next = buf
        lane.out_last = buf
    return buf_data(buf) + buf.length


# Give the frame at its place, whose body of length bytes is sealed, token and hop number, and seal its header.
cdef void seal(Shard* shard, UdpLane* lane, uint8_t* p, uint32_t length) noexcept nogil:
    cdef Buf* buf = lane.out_last
    cdef uint32_t n = WIRE_UDP_HEAD + WIRE_PREFIX + length
    cdef uint64_t number = lane.tx_number
    lane.tx_number += 1
    wire_put32(p, lane.peer_token)
    wire_put64(p + 4, number)
    if packet_seal(&lane.tx.data, number, p + WIRE_UDP_HEAD, length) != RESULT_OK:
        # It is in clear, and does not leave.
        udp_lane_count_not_sent(shard, 1)
        return
    udp_lane_lengths(buf)[buf.number] = <uint16_t>n
    buf.number += 1
    buf.length += n
    lane.out_count += 1
    lane.sent_packets += 1
    if not lane.dirty:
        lane.dirty = True
        lane.next_dirty = shard.dirty_udp_lanes
        shard.dirty_udp_lanes = lane


cdef void udp_lane_push(Shard* shard, UdpLane* lane, const uint8_t* wire, uint32_t length) noexcept nogil:
    cdef uint8_t* p = place(shard, lane, WIRE_UDP_HEAD + WIRE_PREFIX + length)
    if p == NULL:
        udp_lane_count_not_sent(shard, 1)
        return
    memcpy(p + WIRE_UDP_HEAD, wire, WIRE_PREFIX + length)
    seal(shard, lane, p, length)


cdef void udp_lane_drop_out(Shard* shard, UdpLane* lane) noexcept nogil:
    cdef Buf* buf
    while lane.out_first != NULL:
        buf = lane.out_first
        lane.out_first = buf.next
        buf.next = NULL
        buf_drop(&shard.pool, buf)
    lane.out_last = NULL
    lane.out_count = 0


# Send a frame of the UDP lane itself, whose body of length bytes begins with those at body; the rest are zeros.
cdef void tx(Shard* shard, UdpLane* lane, uint32_t type, const uint8_t* body, uint32_t n,
             uint32_t length) noexcept nogil:
    cdef Scope scope
    cdef Frame frame
    cdef uint8_t* p
    if lane.peer_token == 0 or not may_seal(shard, lane):
        return
    p = place(shard, lane, WIRE_UDP_HEAD + WIRE_PREFIX + length)
    if p == NULL:
        udp_lane_count_not_sent(shard, 1)
        return
    frame.length = length
    frame.type = type
    frame.flow = frame.epoch = 0
    frame.number = 0
    scope.direction = lane.tx.direction
    scope.index = <uint16_t>lane.index
    scope.epoch = 0
    memset(p, 0, WIRE_UDP_HEAD + WIRE_PREFIX + length)
    frame_pack(&frame, p + WIRE_UDP_HEAD)
    memcpy(p + WIRE_UDP_HEAD + WIRE_PREFIX, body, n)
    if body_seal(&lane.tx.control, &scope, type, lane.tx_number, p + WIRE_UDP_HEAD, length) == RESULT_OK:
        seal(shard, lane, p, length)
    else:
        lane.tx_number += 1
        udp_lane_count_not_sent(shard, 1)


cdef void tx_probe(Shard* shard, UdpLane* lane) noexcept nogil:
    cdef uint8_t body[8]
    shard.token += 1
    wire_put64(body, shard.token)
    tx(shard, lane, FRAME_PROBE, body, 8, lane.probes.longest)
    probes_tx(&lane.probes, shard.token, lane.sent_packets, shard.now_us, shard.probe_us)


cdef void tx_report(Shard* shard, UdpLane* lane, uint64_t token) noexcept nogil:
    cdef uint8_t body[PACKET_REPORT]
    wire_put64(body, token)
    wire_put64(body + 8, lane.taken_packets)
    tx(shard, lane, FRAME_REPORT, body, PACKET_REPORT, PACKET_REPORT)


# -- receiving --------------------------------------------------------------------------------------------------------

cdef inline UdpLane* drop(Shard* shard, UdpLane* lane, uint32_t cause) noexcept nogil:
    counter_add(&shard.stats.count[cause], 1)
    if lane != NULL:
        lane.refused_packets += 1
    return NULL


cdef UdpLane* udp_lane_rx(Shard* shard, uint8_t* p, uint32_t n, const uint8_t* address, uint32_t length,
                          Frame* frame) noexcept nogil:
    cdef UdpLane* lane
    cdef uint64_t number
    cdef Result answer
    # Cheap first: whoever can send packets here may send any number of anything.
    if n < PACKET_LEAST or n > PACKET_MOST:
        return drop(shard, NULL, COUNT_UDP_BAD_LENGTH)
    lane = <UdpLane*>map_find(&shard.udp_tokens, wire_get32(p))
    if lane == NULL:
        return drop(shard, NULL, COUNT_UDP_BAD_TOKEN)
    number = wire_get64(p + 4)
    if number >= UDP_HARD_PACKETS:
        return drop(shard, lane, COUNT_UDP_BAD_TAG)
    answer = replay_check(&lane.window, number)
    if answer != RESULT_OK:
        return drop(shard, lane, <int>COUNT_UDP_LATE if answer == RESULT_STALE else <int>COUNT_UDP_REPLAYED)
    p += WIRE_UDP_HEAD
    n -= WIRE_UDP_HEAD
    if packet_open(&lane.rx.data, number, p, n - WIRE_PREFIX) != RESULT_OK:
        return drop(shard, lane, COUNT_UDP_BAD_TAG)
    if number >= lane.window.next and length <= sizeof(lane.peer):
        memcpy(lane.peer, address, length)
        lane.peer_length = length
    replay_take(&lane.window, number)
    lane.taken_packets += 1
    counter_add(&shard.stats.count[COUNT_UDP_PACKETS_TAKEN], 1)
    counter_add(&shard.stats.count[COUNT_UDP_BYTES_TAKEN], WIRE_UDP_HEAD + n)
    if packet_unpack(p, n - WIRE_PREFIX, frame) != RESULT_OK:
        return drop(shard, lane, COUNT_UDP_MALFORMED)
    if frame.type == FRAME_DATAGRAMS:
        return lane
    return rx_own(shard, lane, frame, number, p)


# Handle a frame of the UDP lane itself. NULL always.
cdef UdpLane* rx_own(Shard* shard, UdpLane* lane, const Frame* frame, uint64_t number, uint8_t* wire) noexcept nogil:
    cdef Scope scope
    cdef uint8_t* body = wire + WIRE_PREFIX
    scope.direction = lane.rx.direction
    scope.index = <uint16_t>lane.index
    scope.epoch = 0
    if body_open(&lane.rx.control, &scope, frame.type, number, wire, frame.length) != RESULT_OK:
        return drop(shard, lane, COUNT_UDP_MALFORMED)
    if frame.type == FRAME_REPORT:
        rx_report(shard, lane, wire_get64(body), wire_get64(body + 8))
    elif lane.peer_token == 0:
        lane.owed_probe = wire_get64(body)
    elif not bucket_take(&lane.reports_us, shard.now_us, UDP_REPORTS, UDP_REPORT_US):
        return drop(shard, lane, COUNT_UDP_GLITCHES)
    else:
        tx_report(shard, lane, wire_get64(body))
    return NULL


cdef void rx_report(Shard* shard, UdpLane* lane, uint64_t token, uint64_t taken) noexcept nogil:
    cdef bint known = False
    cdef bint opening = lane.probes.state == UDP_OPENING
    cdef UdpTurn turn = probes_rx(&lane.probes, token, taken, shard.now_us, &known)
    if lane.until_us != 0:
        # Another has its place.
        return
    if turn == UDP_CAME_UP and opening:
        take_place(shard, lane)
    elif turn == UDP_CAME_UP:
        lane.link.udp_lanes[lane.index] = lane
        tell(shard, EVENT_UDP_LANE_UP, lane, 0, False)
    elif turn != UDP_AS_BEFORE:
        put_aside(shard, lane, UDP_LOSS)


# It was answered for the first time: it takes the place of the others of its index, and is used unless the one before
# was not, for the way is the same. One with a greater number is the newer, whichever was answered first.
cdef void take_place(Shard* shard, UdpLane* lane) noexcept nogil:
    cdef UdpLane* other = shard.udp_lanes
    while other != NULL:
        if other.link == lane.link and other.index == lane.index and other.until_us == 0:
            if other.number > lane.number and other.probes.state != UDP_OPENING:
                lane.until_us = shard.now_us + UDP_LINGER_US
                return
            if other.number < lane.number:
                probes_follow(&lane.probes, &other.probes)
                other.until_us = shard.now_us + UDP_LINGER_US
        other = other.next
    lane.link.udp_lanes[lane.index] = lane
    tell(shard, EVENT_UDP_LANE_UP, lane, 0, False)
    if lane.probes.state == UDP_BROKEN:
        put_aside(shard, lane, UDP_LOSS)


# Datagrams go by the lane from now on.
cdef void put_aside(Shard* shard, UdpLane* lane, UdpReason reason) noexcept nogil:
    if lane.link.udp_lanes[lane.index] == lane:
        lane.link.udp_lanes[lane.index] = NULL
    tell(shard, EVENT_UDP_LANE_DOWN, lane, reason, False)


# -- ticks ------------------------------------------------------------------------------------------------------------

cdef void udp_lane_ticks(Shard* shard, uint64_t away_us) noexcept nogil:
    cdef UdpLane* lane = shard.udp_lanes
    cdef UdpLane* following
    while lane != NULL:
        following = lane.next
        tick(shard, lane, away_us)
        lane = following


# It may be closed then.
cdef void tick(Shard* shard, UdpLane* lane, uint64_t away_us) noexcept nogil:
    count(shard, lane)
    if lane.until_us != 0 and shard.now_us >= lane.until_us:
        udp_lane_end(shard, lane, UDP_REPLACED)
        return
    if not may_seal(shard, lane) or lane.window.next >= UDP_HARD_PACKETS:
        udp_lane_end(shard, lane, UDP_SPENT)
        return
    if lane.peer_token == 0 or lane.until_us != 0:
        return
    if not lane.told_spent and (lane.tx_number >= UDP_SPENT_PACKETS or lane.window.next >= UDP_SPENT_PACKETS):
        lane.told_spent = True
        tell(shard, EVENT_UDP_LANE_SPENT, lane, 0, False)
    probes_forgive(&lane.probes, away_us, shard.now_us)
    if probes_tick(&lane.probes, shard.now_us, shard.probe_us) == UDP_FELL_SILENT:
        put_aside(shard, lane, UDP_SILENT)
    if shard.now_us >= lane.probes.due_us:
        tx_probe(shard, lane)


# Update the figures of the link: those of the newest one of the index.
cdef void count(Shard* shard, UdpLane* lane) noexcept nogil:
    cdef uint64_t* row = gauge_udp_at(lane.link.gauge, lane.index)
    if row == NULL:
        return
    counter_add(&row[UDP_GAUGE_SENT], lane.sent_packets - lane.sent_counted)
    counter_add(&row[UDP_GAUGE_TAKEN], lane.taken_packets - lane.taken_counted)
    counter_add(&row[UDP_GAUGE_REFUSED], lane.refused_packets - lane.refused_counted)
    lane.sent_counted = lane.sent_packets
    lane.taken_counted = lane.taken_packets
    lane.refused_counted = lane.refused_packets
    if row[UDP_GAUGE_NUMBER] > lane.number and row[UDP_GAUGE_STATE] != UDP_CLOSED:
        return
    counter_set(&row[UDP_GAUGE_NUMBER], lane.number)
    counter_set(&row[UDP_GAUGE_STATE], lane.probes.state)
    counter_set(&row[UDP_GAUGE_LONGEST], lane.probes.longest)
    counter_set(&row[UDP_GAUGE_ROUND_TRIP], lane.probes.round_trip_us)
    counter_set(&row[UDP_GAUGE_LOSS], lane.probes.loss_ppm)
