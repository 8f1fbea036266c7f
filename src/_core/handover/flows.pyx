from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcpy

from pcgrelay._core.base.buf cimport BUF_LARGEST, Buf, buf_data, buf_drop, buf_alloc, pool_alloc, pool_free
from pcgrelay._core.base.tlv cimport (
    Tlv, tlv_bytes, tlv_enter, tlv_fail, tlv_next, tlv_number, tlv_open, tlv_raw, tlv_shut,
)
from pcgrelay._core.stream.flow cimport (
    FLOW_CLOSED, FLOW_LATE_BURST, FLOW_LATE_US, FLOW_PEER_ACK_BYTES, FLOW_RESUME_DOUBLINGS, Flow, flow_retain,
    flow_stream_next,
)
from pcgrelay._core.frame.frame cimport frame_is_numbered
from pcgrelay._core.link.gauge cimport GAUGE_VALUES, Gauge, gauge_at, gauge_hold
from pcgrelay._core.handover.keys cimport epoch_read, epoch_write, owed_fields, renewals_fields
from pcgrelay._core.handover.lanes cimport bucket_fields
from pcgrelay._core.handover.streams cimport stream_goes_on, stream_read, stream_write
from pcgrelay._core.link.link cimport link_find
from pcgrelay._core.link.shard cimport Link, Shard
from pcgrelay._core.base.map cimport Map, map_find, map_put
from pcgrelay._core.crypto.renewal cimport renewals_wipe
from pcgrelay._core.base.result cimport RESULT_BAD_FIELD, RESULT_BAD_LENGTH, RESULT_NO_MEMORY, RESULT_OK
from pcgrelay._core.session.session cimport SESSION_GAUGE_RETAINED, SESSION_GAUGE_STEPPED, Session, session_count_flow
from pcgrelay._core.stream.stream cimport Stream
from pcgrelay._core.base.wire cimport PURPOSE_FLOW_DATA, WIRE_LANES_MAX, WIRE_PREFIX


cdef enum:
    SESSION_NUMBER = 1
    SESSION_FLOWS = 2
    SESSION_PRIORITY = 3
    SESSION_MARKING = 4
    SESSION_LINK = 5
    SESSION_IN = 6
    SESSION_OUT = 7
    SESSION_TURN = 8
    SESSION_INITIATOR = 9
    SESSION_GAUGE = 10
    SESSION_FLOW = 11
    SESSION_NEWEST = 12
    SESSION_BEFORE = 13
    SESSION_NEWEST_ID = 14
    SESSION_BEFORE_ID = 15
    SESSION_AGREED_ID = 16
    SESSION_WAITS_UNTIL = 17

cdef enum:
    FLOW_INDEX = 1
    FLOW_TX = 2
    FLOW_RX = 3
    FLOW_BINDING = 4
    FLOW_STATE = 5
    FLOW_INITIATOR = 6
    FLOW_CONFIRMED = 7
    FLOW_REKEY_WAITS = 8
    FLOW_HAS_LANE = 9
    FLOW_CAP = 10
    FLOW_TX_NEXT = 11
    FLOW_TX_ACKED = 12
    FLOW_TX_CONTROL = 13
    FLOW_RX_NEXT = 14
    FLOW_RX_CONTROL = 15
    FLOW_REKEY_NUMBER = 16
    FLOW_ACK_DUE = 17
    FLOW_ACK_COUNT_BYTES = 18
    FLOW_ACK_COUNT_FRAMES = 19
    FLOW_RESUMES_SINCE = 20
    FLOW_RESUME_SENT = 21
    FLOW_RESUMING_SINCE = 22
    FLOW_ROUND_TRIP = 23
    FLOW_TIMED_NUMBER = 24
    FLOW_TIMED = 25
    FLOW_LATE = 26
    FLOW_LATE_TOKENS = 27
    FLOW_SENT = 28
    FLOW_RECEIVED = 29
    FLOW_RESUME_ID = 30
    FLOW_RESUMED = 31
    FLOW_RX_HIGHEST = 32
    FLOW_TX_HIGHEST = 33
    FLOW_RETAINED = 34
    FLOW_STREAM = 35
    FLOW_TX_MIX = 36
    FLOW_UNANSWERED = 37
    FLOW_ANSWERED = 38
    FLOW_RX_MIX = 39
    FLOW_RX_OWED = 40
    FLOW_RX_PLAIN = 41
    FLOW_TX_DATAGRAMS = 42
    FLOW_REPLAY_NEXT = 43
    FLOW_REPLAY_BITS = 44
    FLOW_RX_STEPPED = 45
    FLOW_PEER_ACKS = 46

cdef enum:
    RETAINED_NUMBER = 1
    RETAINED_EPOCH = 2
    RETAINED_TYPE = 3
    RETAINED_FRAME = 4


# -- sessions and flows -----------------------------------------------------------------------------------------------

cdef void flow_fields(Tlv* self, Flow* flow) noexcept nogil:
    tlv_bytes(self, FLOW_BINDING, flow.binding, 32)
    tlv_number(self, FLOW_STATE, &flow.state, 1)
    tlv_number(self, FLOW_INITIATOR, &flow.initiator, sizeof(flow.initiator))
    tlv_number(self, FLOW_CONFIRMED, &flow.confirmed_tx, sizeof(flow.confirmed_tx))
    tlv_number(self, FLOW_REKEY_WAITS, &flow.rekey_waits, sizeof(flow.rekey_waits))
    tlv_number(self, FLOW_CAP, &flow.cap, 8)
    tlv_number(self, FLOW_TX_NEXT, &flow.tx_next, 8)
    tlv_number(self, FLOW_TX_ACKED, &flow.tx_acked, 8)
    tlv_number(self, FLOW_TX_CONTROL, &flow.tx_control, 8)
    tlv_number(self, FLOW_RX_NEXT, &flow.rx_next, 8)
    tlv_number(self, FLOW_RX_CONTROL, &flow.rx_control, 8)
    tlv_number(self, FLOW_TX_DATAGRAMS, &flow.tx_datagrams, 8)
    tlv_number(self, FLOW_REPLAY_NEXT, &flow.rx_datagrams.next, 8)
    tlv_bytes(self, FLOW_REPLAY_BITS, flow.rx_datagrams.bits, sizeof(flow.rx_datagrams.bits))
    tlv_number(self, FLOW_RX_STEPPED, &flow.rx_stepped_us, 8)
    tlv_number(self, FLOW_TX_MIX, &flow.tx_mix, 8)
    owed_fields(self, FLOW_RX_MIX, &flow.owed)
    tlv_number(self, FLOW_REKEY_NUMBER, &flow.rekey_number, 8)
    tlv_number(self, FLOW_ACK_DUE, &flow.ack_due_us, 8)
    tlv_number(self, FLOW_ACK_COUNT_BYTES, &flow.ack_bytes, 8)
    tlv_number(self, FLOW_ACK_COUNT_FRAMES, &flow.ack_frames, 4)
    tlv_number(self, FLOW_PEER_ACKS, &flow.peer_ack_bytes, 4)
    tlv_number(self, FLOW_RESUMES_SINCE, &flow.resumes_since_us, 8)
    tlv_number(self, FLOW_RESUME_SENT, &flow.resume_sent_us, 8)
    tlv_number(self, FLOW_RESUMING_SINCE, &flow.resuming_us, 8)
    tlv_number(self, FLOW_ROUND_TRIP, &flow.round_trip_us, 8)
    tlv_number(self, FLOW_TIMED_NUMBER, &flow.timed_number, 8)
    tlv_number(self, FLOW_TIMED, &flow.timed_us, 8)
    bucket_fields(self, FLOW_LATE, FLOW_LATE_TOKENS, &flow.late_us, FLOW_LATE_BURST, FLOW_LATE_US)
    tlv_number(self, FLOW_SENT, &flow.sent_bytes, 8)
    tlv_number(self, FLOW_RECEIVED, &flow.received_bytes, 8)
    tlv_number(self, FLOW_RESUME_ID, &flow.resume_id, 4)
    tlv_number(self, FLOW_RESUMED, &flow.resumes, 4)
    tlv_number(self, FLOW_UNANSWERED, &flow.unanswered, 4)
    tlv_number(self, FLOW_ANSWERED, &flow.answered, sizeof(flow.answered))
    tlv_number(self, FLOW_RX_HIGHEST, &flow.rx_highest, 4)
    tlv_number(self, FLOW_TX_HIGHEST, &flow.tx_highest, 4)


cdef void flow_write(Tlv* self, Flow* flow) noexcept nogil:
    cdef uint64_t mark = tlv_open(self, SESSION_FLOW)
    cdef bint has_lane = flow.lane != NULL
    cdef uint32_t at = 0
    cdef Buf* buf = flow.retained
    cdef Stream* stream
    tlv_number(self, FLOW_INDEX, &flow.index, 2)
    tlv_number(self, FLOW_HAS_LANE, &has_lane, sizeof(has_lane))
    flow_fields(self, flow)
    epoch_write(self, FLOW_TX, &flow.tx)
    epoch_write(self, FLOW_RX, &flow.rx)
    while buf != NULL:
        retained_write(self, buf)
        buf = buf.next
    stream = flow_stream_next(flow, &at)
    while stream != NULL:
        stream_write(self, FLOW_STREAM, stream)
        stream = flow_stream_next(flow, &at)
    tlv_shut(self, mark)


cdef void retained_write(Tlv* self, Buf* buf) noexcept nogil:
    cdef uint64_t mark = tlv_open(self, FLOW_RETAINED)
    cdef uint64_t inner
    tlv_number(self, RETAINED_NUMBER, &buf.number, 8)
    tlv_number(self, RETAINED_EPOCH, &buf.frame_epoch, 4)
    tlv_number(self, RETAINED_TYPE, &buf.frame_type, 4)
    inner = tlv_open(self, RETAINED_FRAME)
    tlv_raw(self, buf_data(buf), buf.length)
    tlv_shut(self, inner)
    tlv_shut(self, mark)


cdef void retained_read(Tlv* self, Shard* shard, Flow* flow) noexcept nogil:
    cdef uint64_t at = 0, n = 0
    cdef uint8_t* p = NULL
    cdef Buf* buf
    if not tlv_next(self, RETAINED_FRAME, &at, &p, &n) or not WIRE_PREFIX <= n <= BUF_LARGEST:
        tlv_fail(self, RESULT_BAD_LENGTH)
        return
    buf = buf_alloc(&shard.pool, n, True)
    if buf == NULL:
        tlv_fail(self, RESULT_NO_MEMORY)
        return
    memcpy(buf_data(buf), p, n)
    buf.length = <uint32_t>n
    buf.number = 0
    buf.frame_epoch = buf.frame_type = 0
    tlv_number(self, RETAINED_NUMBER, &buf.number, 8)
    tlv_number(self, RETAINED_EPOCH, &buf.frame_epoch, 4)
    tlv_number(self, RETAINED_TYPE, &buf.frame_type, 4)
    if not frame_is_numbered(buf.frame_type):
        tlv_fail(self, RESULT_BAD_FIELD)
        buf_drop(&shard.pool, buf)
        return
    # The peer gets the whole time for an acknowledgement again.
    flow_retain(flow, buf, shard.now_us)


cdef void flow_read(Tlv* self, Shard* shard, Session* session) noexcept nogil:
    cdef uint16_t index = WIRE_LANES_MAX
    cdef bint has_lane = False
    cdef Link* link = link_find(shard, session.link)
    cdef Flow* flow
    tlv_number(self, FLOW_INDEX, &index, 2)
    tlv_number(self, FLOW_HAS_LANE, &has_lane, sizeof(has_lane))
    if index >= session.flow_count or index % shard.workers != shard.index or session.flows[index] != NULL:
        tlv_fail(self, RESULT_BAD_FIELD)
        return
    flow = <Flow*>pool_alloc(&shard.pool, sizeof(Flow))
    if flow == NULL:
        tlv_fail(self, RESULT_NO_MEMORY)
        return
    session.flows[index] = flow
    flow.index = index
    flow.session = session
    flow.renewals = &session.renewals
    # An older version required no mix: what it has agreed on counts as named, and the next one is owed.
    flow.owed.mix = session.renewals.agreed_id
    # An older version did not know how soon the peer acknowledges.
    flow.peer_ack_bytes = FLOW_PEER_ACK_BYTES
    if session.gauge.organisation != NULL:
        flow.holding = &session.gauge.organisation.holdings[shard.index]
    flow_fields(self, flow)
    if flow.state >= FLOW_CLOSED or flow.unanswered > FLOW_RESUME_DOUBLINGS:
        tlv_fail(self, RESULT_BAD_FIELD)
        return
    if has_lane and link != NULL:
        flow.lane = link.lanes[index]
    epoch_read(self, FLOW_TX, shard, &flow.tx, PURPOSE_FLOW_DATA, True, flow.tx_next, flow.tx_control)
    epoch_read(self, FLOW_RX, shard, &flow.rx, PURPOSE_FLOW_DATA, False, 0, 0)
    flow_contents(self, shard, flow)
    # A step that waits may be of that renewal: it counts once it is acknowledged.
    flow.tx_mix_acked = 0 if flow.rekey_waits else flow.tx_mix
    session_count_flow(gauge_at(session.gauge, shard.index), flow)
    if flow.ack_due_us != 0:
        flow.due = True
        flow.next_due = shard.due
        shard.due = flow


cdef void flow_contents(Tlv* self, Shard* shard, Flow* flow) noexcept nogil:
    cdef Tlv part
    cdef uint64_t at = 0
    while tlv_enter(self, FLOW_RETAINED, &at, &part):
        retained_read(&part, shard, flow)
        if part.result != RESULT_OK:
            tlv_fail(self, part.result)
    at = 0
    while tlv_enter(self, FLOW_STREAM, &at, &part):
        stream_read(&part, shard, flow, False)
        if part.result != RESULT_OK:
            tlv_fail(self, part.result)
    streams_go_on(self, shard, flow)


cdef int by_id(const void* a, const void* b) noexcept nogil:
    cdef uint32_t first = (<Stream**>a)[0].id
    cdef uint32_t second = (<Stream**>b)[0].id
    return (first > second) - (first < second)


# Mark what each stream has to send or write. A table has no order, but streams must be opened in the order of their
# numbers.
cdef void streams_go_on(Tlv* self, Shard* shard, Flow* flow) noexcept nogil:
    cdef uint32_t at = 0, count = 0, i
    cdef Stream** streams
    cdef Stream* stream = flow_stream_next(flow, &at)
    if stream == NULL or self.result != RESULT_OK:
        return
    streams = <Stream**>malloc(flow.streams.count * sizeof(Stream*))
    if streams == NULL:
        tlv_fail(self, RESULT_NO_MEMORY)
        return
    while stream != NULL:
        streams[count] = stream
        count += 1
        stream = flow_stream_next(flow, &at)
    qsort(streams, count, sizeof(Stream*), by_id)
    for i in range(count):
        stream_goes_on(shard, streams[i])
    free(streams)


cdef void session_fields(Tlv* self, Session* session) noexcept nogil:
    tlv_number(self, SESSION_NUMBER, &session.number, 4)
    tlv_number(self, SESSION_FLOWS, &session.flow_count, 4)
    tlv_number(self, SESSION_PRIORITY, &session.priority, 4)
    tlv_number(self, SESSION_MARKING, &session.marking, 4)
    tlv_number(self, SESSION_LINK, &session.link, 4)
    tlv_number(self, SESSION_IN, &session.in_label, 4)
    tlv_number(self, SESSION_OUT, &session.out_label, 4)
    tlv_number(self, SESSION_TURN, &session.turn, 4)
    tlv_number(self, SESSION_INITIATOR, &session.initiator, sizeof(session.initiator))
    renewals_fields(self, SESSION_NEWEST, &session.renewals)


cdef void session_write(Tlv* self, uint16_t tag, Shard* shard, Session* session) noexcept nogil:
    cdef uint64_t mark = tlv_open(self, tag)
    cdef uint32_t i
    session_fields(self, session)
    tlv_bytes(self, SESSION_GAUGE, gauge_at(session.gauge, shard.index), GAUGE_VALUES * 8)
    for i in range(session.flow_count):
        if session.flows[i] != NULL:
            flow_write(self, session.flows[i])
    tlv_shut(self, mark)


cdef void session_read(Tlv* self, Shard* shard, Map* gauges) noexcept nogil:
    cdef Tlv part
    cdef uint64_t at = 0
    cdef Gauge* gauge
    cdef uint64_t* values
    cdef Session* session = <Session*>pool_alloc(&shard.pool, sizeof(Session))
    if session == NULL:
        tlv_fail(self, RESULT_NO_MEMORY)
        return
    session_fields(self, session)
    gauge = <Gauge*>map_find(gauges, session.number)
    if self.result != RESULT_OK or gauge == NULL or not 1 <= session.flow_count <= WIRE_LANES_MAX \
            or map_find(&shard.sessions, session.number) != NULL \
            or (session.in_label != 0 and map_find(&shard.labels, session.in_label) != NULL):
        tlv_fail(self, RESULT_BAD_FIELD)
    elif not map_put(&shard.sessions, session.number, session):
        tlv_fail(self, RESULT_NO_MEMORY)
    if self.result != RESULT_OK:
        renewals_wipe(&session.renewals)
        pool_free(&shard.pool, session, sizeof(Session))
        return
    session.gauge = gauge_hold(gauge)
    if session.in_label != 0 and not map_put(&shard.labels, session.in_label, session):
        tlv_fail(self, RESULT_NO_MEMORY)
        return
    values = gauge_at(session.gauge, shard.index)
    tlv_bytes(self, SESSION_GAUGE, values, GAUGE_VALUES * 8)
    # These are counted as flows are put back.
    values[SESSION_GAUGE_RETAINED] = values[SESSION_GAUGE_STEPPED] = 0
    while tlv_enter(self, SESSION_FLOW, &at, &part):
        flow_read(&part, shard, session)
        if part.result != RESULT_OK:
            tlv_fail(self, part.result)
