from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy

from pcgrelay._core.base.buf cimport BUF_LARGEST, Buf, buf_data, buf_drop, buf_alloc, pool_alloc, pool_free
from pcgrelay._core.base.bucket cimport Bucket
from pcgrelay._core.base.tlv cimport (
    Tlv, tlv_bytes, tlv_descriptor, tlv_enter, tlv_fail, tlv_next, tlv_number, tlv_open, tlv_raw, tlv_shut,
)
from pcgrelay._core.frame.frame cimport Frame, frame_pack, frame_unpack
from pcgrelay._core.link.gauge cimport GAUGE_VALUES, Gauge, LINK_GAUGE_STEPPED, gauge_at, gauge_drop, gauge_hold
from pcgrelay._core.base.handle cimport HANDLE_LANE
from pcgrelay._core.handover.keys cimport epoch_read, epoch_write, owed_fields, renewals_fields
from pcgrelay._core.link.link cimport link_add, link_find
from pcgrelay._core.link.shard cimport (
    LANE_CLASSES, LANE_CLOSED, LANE_CONFIRMING, LANE_LOSTS, LANE_LOST_US, LANE_PINGS, LANE_PING_US, LANE_WIRE,
    LANE_WIRE_LEAST, Lane, Link, Shard, lane_dirty, link_next,
)
from pcgrelay._core.base.map cimport Map, map_find
from pcgrelay._core.base.queue cimport Account, Queue, Span, queue_at, queue_push_must
from pcgrelay._core.link.relay cimport Path, PathEnd, end_account, path_find, path_next, relay_path_add
from pcgrelay._core.base.result cimport RESULT_BAD_FIELD, RESULT_NO_MEMORY, RESULT_OK
from pcgrelay._core.base.wire cimport FRAME_DATAGRAMS, PURPOSE_HOP_HEADER, WIRE_HEADER, WIRE_LANES_MAX, WIRE_PREFIX


cdef enum:
    LINK_NUMBER = 1
    LINK_SUITE = 2
    LINK_DIALLER = 3
    LINK_LANES = 4
    LINK_BINDING = 5
    LINK_GAUGE = 6
    LINK_NEWEST = 7
    LINK_BEFORE = 8
    LINK_NEWEST_ID = 9
    LINK_BEFORE_ID = 10
    LINK_AGREED_ID = 11
    LINK_WAITS_UNTIL = 12

cdef enum:
    PATH_NUMBER = 1
    PATH_PRIORITY = 2
    PATH_A_LINK = 3
    PATH_A_IN = 4
    PATH_A_OUT = 5
    PATH_B_LINK = 6
    PATH_B_IN = 7
    PATH_B_OUT = 8
    PATH_CAP = 9
    PATH_LANES = 10
    PATH_LOST_A = 11
    PATH_LOST_B = 12

cdef enum:
    LANE_LINK = 1
    LANE_SOCKET = 2
    LANE_INDEX = 3
    LANE_NUMBER = 4
    LANE_STATE = 5
    LANE_CURRENT = 6
    LANE_TX = 7
    LANE_RX = 8
    LANE_TX_NUMBER = 9
    LANE_RX_NUMBER = 10
    LANE_OPENED = 11
    LANE_HEARD = 12
    LANE_TOKEN = 13
    LANE_PING_SENT = 14
    LANE_ROUND_TRIP = 15
    LANE_PINGS_AT = 16
    LANE_PING_TOKENS = 17
    LANE_LOSTS_AT = 18
    LANE_LOST_TOKENS = 19
    LANE_PARTIAL = 20
    LANE_PARTIAL_NEED = 21
    LANE_HEAD_OPEN = 22
    LANE_HEAD_LENGTH = 23
    LANE_HEAD_TYPE = 24
    LANE_HEAD_FLOW = 25
    LANE_HEAD_EPOCH = 26
    LANE_HEAD_NUMBER = 27
    LANE_WIRE_BYTES = 28
    LANE_PENDING = 29
    LANE_TX_MIX = 30
    LANE_AHEAD = 31
    LANE_PACED = 32
    LANE_PACED_BYTES = 33
    LANE_CLOGGED = 34
    LANE_RX_MIX = 35
    LANE_RX_OWED = 36
    LANE_RX_PLAIN = 37

cdef enum:
    PENDING_CLASS = 1
    PENDING_PATH = 2
    PENDING_END = 3
    PENDING_FRAME = 4

# -- bytes ------------------------------------------------------------------------------------------------------------

cdef void queue_write(Tlv* self, uint16_t tag, Queue* queue) noexcept nogil:
    cdef uint64_t mark
    cdef uint32_t i
    if queue.count == 0:
        return
    mark = tlv_open(self, tag)
    for i in range(queue.count):
        tlv_raw(self, queue_at(queue, i).p, queue_at(queue, i).n)
    tlv_shut(self, mark)


# Append n bytes in owned buffers.
cdef void queue_take(Tlv* self, Shard* shard, Queue* queue, const uint8_t* p, uint64_t n,
                     Account* account) noexcept nogil:
    cdef uint32_t part
    cdef Buf* buf
    while n != 0:
        part = <uint32_t>n if n < BUF_LARGEST else BUF_LARGEST
        buf = buf_alloc(&shard.pool, part, True)
        if buf == NULL:
            tlv_fail(self, RESULT_NO_MEMORY)
            return
        memcpy(buf_data(buf), p, part)
        buf.length = part
        if queue_push_must(queue, &shard.pool, buf_data(buf), part, buf, account) != RESULT_OK:
            buf_drop(&shard.pool, buf)
            tlv_fail(self, RESULT_NO_MEMORY)
            return
        p += part
        n -= part


cdef void queue_read(Tlv* self, uint16_t tag, Shard* shard, Queue* queue) noexcept nogil:
    cdef uint8_t* p = NULL
    cdef uint64_t n = 0, at = 0
    if tlv_next(self, tag, &at, &p, &n):
        queue_take(self, shard, queue, p, n, NULL)


# -- links ------------------------------------------------------------------------------------------------------------

cdef void bucket_fields(Tlv* self, uint16_t time_tag, uint16_t tokens_tag, Bucket* bucket, uint32_t at_once,
                        uint64_t each_us) noexcept nogil:
    cdef uint32_t tokens = at_once
    tlv_number(self, time_tag, bucket, 8)
    tlv_number(self, tokens_tag, &tokens, 4)
    if self.reading and tokens < at_once:
        bucket[0] += (at_once - tokens) * each_us


cdef void link_fields(Tlv* self, Link* link) noexcept nogil:
    tlv_number(self, LINK_NUMBER, &link.number, 4)
    tlv_number(self, LINK_SUITE, &link.suite, 4)
    tlv_number(self, LINK_DIALLER, &link.dialler, sizeof(link.dialler))
    tlv_number(self, LINK_LANES, &link.lane_count, 4)
    tlv_bytes(self, LINK_BINDING, link.binding, 32)


cdef void links_write(Tlv* self, uint16_t tag, Shard* shard) noexcept nogil:
    cdef uint32_t at = 0
    cdef uint64_t mark
    cdef Link* link = link_next(shard, &at)
    while link != NULL:
        mark = tlv_open(self, tag)
        link_fields(self, link)
        tlv_bytes(self, LINK_GAUGE, gauge_at(link.gauge, shard.index), GAUGE_VALUES * 8)
        renewals_fields(self, LINK_NEWEST, &link.renewals)
        tlv_shut(self, mark)
        link = link_next(shard, &at)


cdef void links_read(Tlv* self, uint16_t tag, Shard* shard, Map* gauges) noexcept nogil:
    cdef Tlv inner
    cdef Link read
    cdef Link* link
    cdef Gauge* gauge
    cdef uint64_t at = 0
    while tlv_enter(self, tag, &at, &inner):
        read.number = read.suite = read.lane_count = 0
        read.dialler = False
        link_fields(&inner, &read)
        gauge = <Gauge*>map_find(gauges, read.number)
        if inner.result != RESULT_OK or gauge == NULL or link_find(shard, read.number) != NULL \
                or not 1 <= read.lane_count <= WIRE_LANES_MAX:
            tlv_fail(self, RESULT_BAD_FIELD)
            return
        link = link_add(shard, read.number, read.suite, read.dialler, read.lane_count, read.binding, gauge_hold(gauge))
        if link == NULL:
            gauge_drop(gauge)
            tlv_fail(self, RESULT_NO_MEMORY)
            return
        tlv_bytes(&inner, LINK_GAUGE, gauge_at(gauge, shard.index), GAUGE_VALUES * 8)
        # It is counted as lanes show it.
        gauge_at(gauge, shard.index)[LINK_GAUGE_STEPPED] = 0
        renewals_fields(&inner, LINK_NEWEST, &link.renewals)
        if inner.result != RESULT_OK:
            tlv_fail(self, inner.result)


# -- a relay's paths --------------------------------------------------------------------------------------------------

cdef void paths_write(Tlv* self, uint16_t tag, Shard* shard) noexcept nogil:
    cdef uint32_t at = 0
    cdef uint32_t lanes
    cdef uint64_t mark
    cdef Path* path = path_next(shard, &at)
    cdef PathEnd* a
    cdef PathEnd* b
    while path != NULL:
        a = &path.ends[0]
        b = &path.ends[1]
        lanes = a.slots * shard.workers
        mark = tlv_open(self, tag)
        tlv_number(self, PATH_NUMBER, &path.number, 4)
        tlv_number(self, PATH_PRIORITY, &path.priority, 4)
        tlv_number(self, PATH_A_LINK, &a.in_link, 4)
        tlv_number(self, PATH_A_IN, &a.in_label, 4)
        tlv_number(self, PATH_A_OUT, &b.out_label, 4)
        tlv_number(self, PATH_B_LINK, &b.in_link, 4)
        tlv_number(self, PATH_B_IN, &b.in_label, 4)
        tlv_number(self, PATH_B_OUT, &a.out_label, 4)
        tlv_number(self, PATH_CAP, &a.accounts[0].cap, 8)
        tlv_number(self, PATH_LANES, &lanes, 4)
        tlv_bytes(self, PATH_LOST_A, a.lost, a.slots)
        tlv_bytes(self, PATH_LOST_B, b.lost, b.slots)
        tlv_shut(self, mark)
        path = path_next(shard, &at)


cdef void paths_read(Tlv* self, uint16_t tag, Shard* shard) noexcept nogil:
    cdef Tlv inner
    cdef Path* path
    cdef uint64_t at = 0, cap
    cdef uint32_t number, priority, lanes, slots, i
    cdef uint32_t words[6]
    while tlv_enter(self, tag, &at, &inner):
        number = priority = lanes = 0
        cap = 0
        tlv_number(&inner, PATH_NUMBER, &number, 4)
        tlv_number(&inner, PATH_PRIORITY, &priority, 4)
        for i in range(6):
            words[i] = 0
            tlv_number(&inner, <uint16_t>(<uint32_t>PATH_A_LINK + i), &words[i], 4)
        tlv_number(&inner, PATH_CAP, &cap, 8)
        tlv_number(&inner, PATH_LANES, &lanes, 4)
        # It was rounded up to the number of all workers together.
        if inner.result != RESULT_OK or not 1 <= lanes < WIRE_LANES_MAX + shard.workers \
                or map_find(&shard.paths, number) != NULL:
            tlv_fail(self, RESULT_BAD_FIELD)
            return
        if relay_path_add(shard, number, words[0], words[1], words[2], words[3], words[4], words[5], cap, priority,
                          lanes) != RESULT_OK:
            tlv_fail(self, RESULT_NO_MEMORY)
            return
        path = path_find(shard, number)
        for i in range(2):
            slots = path.ends[i].slots
            tlv_bytes(&inner, <uint16_t>(<uint32_t>PATH_LOST_A + i), path.ends[i].lost, slots)
            # The last one may be of an index that no link has.
            if (slots - 1) * shard.workers + shard.index >= WIRE_LANES_MAX:
                path.ends[i].lost[slots - 1] = 0


# -- lanes ------------------------------------------------------------------------------------------------------------

cdef void lane_fields(Tlv* self, Lane* lane) noexcept nogil:
    tlv_descriptor(self, LANE_SOCKET, &lane.handle.fd)
    lane.handle.shared = lane.handle.fd >= 0
    tlv_number(self, LANE_INDEX, &lane.index, 2)
    tlv_number(self, LANE_NUMBER, &lane.number, 4)
    tlv_number(self, LANE_STATE, &lane.state, 1)
    tlv_number(self, LANE_TX_NUMBER, &lane.tx_number, 8)
    tlv_number(self, LANE_RX_NUMBER, &lane.rx_number, 8)
    tlv_number(self, LANE_OPENED, &lane.opened_us, 8)
    tlv_number(self, LANE_HEARD, &lane.heard_us, 8)
    tlv_number(self, LANE_TOKEN, &lane.ping_token, 8)
    tlv_number(self, LANE_PING_SENT, &lane.ping_sent_us, 8)
    tlv_number(self, LANE_ROUND_TRIP, &lane.round_trip_us, 8)
    bucket_fields(self, LANE_PINGS_AT, LANE_PING_TOKENS, &lane.pings_us, LANE_PINGS, LANE_PING_US)
    bucket_fields(self, LANE_LOSTS_AT, LANE_LOST_TOKENS, &lane.losts_us, LANE_LOSTS, LANE_LOST_US)
    tlv_number(self, LANE_TX_MIX, &lane.tx_mix, 8)
    owed_fields(self, LANE_RX_MIX, &lane.owed)
    tlv_number(self, LANE_AHEAD, &lane.ahead, 4)
    tlv_number(self, LANE_PACED, &lane.paced_us, 8)
    tlv_number(self, LANE_PACED_BYTES, &lane.paced_bytes, 8)
    tlv_number(self, LANE_CLOGGED, &lane.clogged, sizeof(lane.clogged))
    tlv_number(self, LANE_PARTIAL_NEED, &lane.partial_need, 4)
    tlv_number(self, LANE_HEAD_OPEN, &lane.head_open, sizeof(lane.head_open))
    tlv_number(self, LANE_HEAD_LENGTH, &lane.head.length, 4)
    tlv_number(self, LANE_HEAD_TYPE, &lane.head.type, 4)
    tlv_number(self, LANE_HEAD_FLOW, &lane.head.flow, 4)
    tlv_number(self, LANE_HEAD_EPOCH, &lane.head.epoch, 4)
    tlv_number(self, LANE_HEAD_NUMBER, &lane.head.number, 8)


cdef void lane_write(Tlv* self, uint16_t tag, Shard* shard, Lane* lane) noexcept nogil:
    cdef uint64_t mark = tlv_open(self, tag)
    cdef uint64_t inner
    cdef bint current = lane.link.lanes[lane.index] == lane
    cdef uint32_t i, j
    tlv_number(self, LANE_LINK, &lane.link.number, 4)
    tlv_number(self, LANE_CURRENT, &current, sizeof(current))
    lane_fields(self, lane)
    epoch_write(self, LANE_TX, &lane.tx)
    epoch_write(self, LANE_RX, &lane.rx)
    if lane.partial != NULL:
        inner = tlv_open(self, LANE_PARTIAL)
        tlv_raw(self, buf_data(lane.partial), lane.partial.length)
        tlv_shut(self, inner)
    queue_write(self, LANE_WIRE_BYTES, &lane.wire)
    for i in range(LANE_CLASSES):
        for j in range(lane.pending[i].count):
            pending_write(self, shard, i, queue_at(&lane.pending[i], j))
    tlv_shut(self, mark)


# A whole frame that is queued: its header is in clear and is sealed by the process that sends it.
cdef void pending_write(Tlv* self, Shard* shard, uint32_t waits_in, const Span* span) noexcept nogil:
    cdef uint64_t mark = tlv_open(self, LANE_PENDING)
    cdef uint64_t inner
    cdef PathEnd* end = NULL if span.account == NULL else <PathEnd*>span.account.owner
    cdef uint32_t number = 0
    cdef uint32_t which = 0
    # The account of a path that was removed meanwhile is not needed.
    if end != NULL and map_find(&shard.paths, end.path.number) == end.path:
        number = end.path.number
        which = 1 if end == &end.path.ends[1] else 0
    tlv_number(self, PENDING_CLASS, &waits_in, 4)
    tlv_number(self, PENDING_PATH, &number, 4)
    tlv_number(self, PENDING_END, &which, 4)
    inner = tlv_open(self, PENDING_FRAME)
    tlv_raw(self, span.p, span.n)
    tlv_shut(self, inner)
    tlv_shut(self, mark)


cdef void pending_read(Tlv* self, Shard* shard, Lane* lane, Tlv* inner) noexcept nogil:
    cdef uint32_t waits_in = LANE_CLASSES, number = 0, which = 0
    cdef uint64_t at = 0, n = 0
    cdef uint8_t* p = NULL
    cdef Frame frame
    cdef Path* path
    cdef Account* account = NULL
    cdef uint32_t slot = lane.index / shard.workers
    tlv_number(inner, PENDING_CLASS, &waits_in, 4)
    tlv_number(inner, PENDING_PATH, &number, 4)
    tlv_number(inner, PENDING_END, &which, 4)
    if waits_in >= LANE_CLASSES or which > 1 or not tlv_next(inner, PENDING_FRAME, &at, &p, &n) \
            or n < WIRE_PREFIX or frame_unpack(p, &frame) != RESULT_OK or n != WIRE_PREFIX + frame.length:
        tlv_fail(self, RESULT_BAD_FIELD)
        return
    path = NULL if number == 0 else path_find(shard, number)
    if path != NULL and slot < path.ends[which].slots:
        account = end_account(&path.ends[which], slot, frame.type == FRAME_DATAGRAMS)
    queue_take(self, shard, &lane.pending[waits_in], p, n, account)


# An opened header was checked against the table of frame types by the old process; it must be checked here again.
cdef bint head_is_sound(const Frame* head) noexcept nogil:
    cdef uint8_t p[WIRE_HEADER]
    cdef Frame again
    frame_pack(head, p)
    return frame_unpack(p, &again) == RESULT_OK and again.length == head.length and again.type == head.type \
        and again.epoch == head.epoch and again.number == head.number


cdef void partial_read(Tlv* self, Shard* shard, Lane* lane) noexcept nogil:
    cdef uint64_t at = 0, n = 0
    cdef uint8_t* p = NULL
    cdef uint64_t whole
    if not tlv_next(self, LANE_PARTIAL, &at, &p, &n):
        lane.partial_need = 0
        return
    whole = WIRE_PREFIX + (lane.head.length if lane.head_open else 0)
    if (lane.head_open and not head_is_sound(&lane.head)) or n > whole or whole - n != lane.partial_need:
        tlv_fail(self, RESULT_BAD_FIELD)
        return
    lane.partial = buf_alloc(&shard.pool, whole, True)
    if lane.partial == NULL:
        tlv_fail(self, RESULT_NO_MEMORY)
        return
    memcpy(buf_data(lane.partial), p, n)
    lane.partial_us = shard.now_us
    lane.partial.length = <uint32_t>n


cdef void lane_read(Tlv* self, Shard* shard) noexcept nogil:
    cdef Tlv inner
    cdef uint64_t at = 0
    cdef uint32_t number = 0
    cdef bint current = False
    cdef Lane* lane = <Lane*>pool_alloc(&shard.pool, sizeof(Lane))
    if lane == NULL:
        tlv_fail(self, RESULT_NO_MEMORY)
        return
    lane.handle.kind = HANDLE_LANE
    lane.ahead = LANE_WIRE
    tlv_number(self, LANE_LINK, &number, 4)
    tlv_number(self, LANE_CURRENT, &current, sizeof(current))
    lane.link = link_find(shard, number)
    # An older version required no mix: what it has agreed on counts as named, and the next one is owed.
    lane.owed.mix = 0 if lane.link == NULL else lane.link.renewals.agreed_id
    lane_fields(self, lane)
    if self.result != RESULT_OK or lane.link == NULL or lane.handle.fd < 0 or lane.index >= lane.link.lane_count \
            or lane.state >= LANE_CLOSED or lane.index % shard.workers != shard.index \
            or not LANE_WIRE_LEAST <= lane.ahead <= LANE_WIRE:
        tlv_fail(self, RESULT_BAD_FIELD)
        pool_free(&shard.pool, lane, sizeof(Lane))
        return
    # Whether a step arrived is known with the answer to the next PING.
    lane.tx_mix_token = lane.ping_token
    # One PING and its seal are due at once.
    lane.ping_due_us = 0
    lane.writable = True
    lane.next = shard.lanes
    if lane.next != NULL:
        lane.next.prev = lane
    shard.lanes = lane
    if current and lane.state != LANE_CONFIRMING and lane.link.lanes[lane.index] == NULL:
        lane.link.lanes[lane.index] = lane
    epoch_read(self, LANE_TX, shard, &lane.tx, PURPOSE_HOP_HEADER, True, lane.tx_number, lane.tx_number)
    epoch_read(self, LANE_RX, shard, &lane.rx, PURPOSE_HOP_HEADER, False, 0, 0)
    partial_read(self, shard, lane)
    queue_read(self, LANE_WIRE_BYTES, shard, &lane.wire)
    while tlv_enter(self, LANE_PENDING, &at, &inner):
        pending_read(self, shard, lane, &inner)
    lane_dirty(shard, lane)
