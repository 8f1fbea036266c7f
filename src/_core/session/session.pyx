from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy

from pcgrelay._core.base.atomics cimport counter_add, counter_set
from pcgrelay._core.base.buf cimport Buf, Pool, buf_data, buf_drop, buf_alloc, buf_alloc_word, pool_alloc, pool_free
from pcgrelay._core.crypto.epoch cimport key_expand_number
from pcgrelay._core.stream.flow cimport (
    FLOW_RESUMING, FLOW_UP, Flow, flow_break, flow_confirm, flow_header, flow_loss_is_news,
    flow_must_rekey, flow_open, flow_pause, flow_rekey, flow_resume, flow_rx_ack, flow_rx_confirm, flow_rx_rekey,
    flow_rx_resume, flow_seal, flow_start, flow_stop, flow_volatile,
)
from pcgrelay._core.stream.flow_datagrams cimport flow_open_datagrams
from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.link.gauge cimport Gauge, gauge_at, gauge_drop
from pcgrelay._core.base.libcrypto cimport crypto_bind, OPENSSL_cleanse
from pcgrelay._core.link.link cimport link_find
from pcgrelay._core.link.shard cimport Lane, Link, Shard, flow_lane, lane_is_up, shard_event
from pcgrelay._core.link.mailbox cimport (
    EVENT_FLOW_UP, EVENT_SESSION_AGREED, EVENT_SESSION_RESUMED, EVENT_SESSION_STALLED, Event,
)
from pcgrelay._core.base.map cimport map_find, map_put, map_remove
from pcgrelay._core.crypto.renewal cimport renewals_wipe
from pcgrelay._core.base.result cimport (
    RESULT_BAD_FIELD, RESULT_DUPLICATE, RESULT_GAP, RESULT_NO_MEMORY, RESULT_OK, RESULT_PEER_CLOSED,
    RESULT_REPLAYED, RESULT_STALE, RESULT_UNKNOWN_FLOW, Result,
)
from pcgrelay._core.link.lane_send cimport lane_backlog, lane_push
from pcgrelay._core.base.stats cimport (
    COUNT_DATAGRAM_FRAMES_LATE, COUNT_DATAGRAM_FRAMES_REPLAYED, COUNT_DUPLICATES, COUNT_GAPS, COUNT_REKEYS,
    COUNT_REKEYS_MIXED, COUNT_RESUMES, COUNT_UNKNOWN_FLOWS,
)
from pcgrelay._core.base.wire cimport (
    FRAME_ACK, FRAME_BUNDLE, FRAME_DATAGRAMS, FRAME_FLOW_CLOSE, FRAME_FLOW_CONFIRM, FRAME_FLOW_REKEY, FRAME_RESUME,
    WIRE_PREFIX, wire_get16, wire_get64, wire_put16,
)

crypto_bind()

cdef enum:
    SESSION_COPIES = 4          # how many caps of copies may be queued before the lane was seen empty
    SESSION_LEAST = 0           # the lowest priority


cdef Session* session_add(Shard* shard, uint32_t number, const uint8_t* secret, const uint8_t* binding, uint32_t suite,
                          bint initiator, uint32_t flows, uint64_t cap, uint32_t ack_bytes, uint32_t marking,
                          uint32_t priority, Gauge* gauge) noexcept nogil:
    cdef uint8_t flow_secret[32]
    cdef uint32_t i
    cdef Flow* flow
    cdef Result answer = RESULT_OK
    cdef Session* session = <Session*>pool_alloc(&shard.pool, sizeof(Session))
    if session == NULL:
        return NULL
    session.number = number
    session.flow_count = flows
    session.priority = priority
    session.marking = marking
    session.initiator = initiator
    for i in range(flows):
        if i % shard.workers != shard.index or answer != RESULT_OK:
            continue
        flow = <Flow*>pool_alloc(&shard.pool, sizeof(Flow))
        if flow == NULL:
            answer = RESULT_NO_MEMORY
            continue
        session.flows[i] = flow
        answer = key_expand_number(secret, b"flow", i, 2, flow_secret)
        if answer == RESULT_OK:
            answer = flow_start(flow, <uint16_t>i, flow_secret, suite, initiator, binding, cap)
        flow.session = session
        flow.renewals = &session.renewals
        flow.peer_ack_bytes = ack_bytes
        if gauge.organisation != NULL:
            flow.holding = &gauge.organisation.holdings[shard.index]
    OPENSSL_cleanse(flow_secret, 32)
    if answer != RESULT_OK or not map_put(&shard.sessions, number, session):
        session_remove(shard, session)
        return NULL
    session.gauge = gauge
    return session


cdef Session* session_find(Shard* shard, uint32_t number) noexcept nogil:
    return <Session*>map_find(&shard.sessions, number)


cdef bint session_has_others(Shard* shard, const Session* session) noexcept nogil:
    cdef uint32_t at = 0
    cdef Session* other = session_next(shard, &at)
    while other != NULL and other.gauge.organisation == session.gauge.organisation:
        other = session_next(shard, &at)
    return other != NULL


cdef void session_remove(Shard* shard, Session* session) noexcept nogil:
    cdef uint32_t i
    cdef Flow* flow
    renewals_wipe(&session.renewals)
    for i in range(session.flow_count):
        flow = session.flows[i]
        if flow != NULL:
            unlist(shard, flow)
            flow_stop(flow, &shard.pool)
            pool_free(&shard.pool, flow, sizeof(Flow))
    if session.in_label != 0 and map_find(&shard.labels, session.in_label) == session:
        map_remove(&shard.labels, session.in_label)
    for i in range(SESSION_CANDIDATES):
        if session.candidates[i].in_label != 0:
            map_remove(&shard.candidates, session.candidates[i].in_label)
    if session_find(shard, session.number) == session:
        map_remove(&shard.sessions, session.number)
    if session.gauge != NULL:
        counter_set(&gauge_at(session.gauge, shard.index)[SESSION_GAUGE_FLOWS_UP], 0)
    gauge_drop(session.gauge)
    pool_free(&shard.pool, session, sizeof(Session))


# Remove a flow from the shard's lists before it is freed.
cdef void unlist(Shard* shard, Flow* flow) noexcept nogil:
    cdef Flow** at = &shard.active_first
    cdef Flow* last = NULL
    while at[0] != NULL:
        if at[0] == flow:
            at[0] = flow.next_active
        else:
            last = at[0]
            at = &at[0].next_active
    shard.active_last = last
    at = &shard.due
    while at[0] != NULL:
        if at[0] == flow:
            at[0] = flow.next_due
        else:
            at = &at[0].next_due


# -- sending ----------------------------------------------------------------------------------------------------------

cdef Result session_emit(Shard* shard, Flow* flow, Buf* buf) noexcept nogil:
    cdef Session* session = flow_session(flow)
    cdef Lane* lane = flow_lane(flow)
    cdef uint64_t* gauge = gauge_at(session.gauge, shard.index)
    cdef Result answer = RESULT_OK
    session_count_flow(gauge, flow)
    if lane == NULL:
        buf_drop(&shard.pool, buf)
        return RESULT_OK
    flow_header(buf, session.out_label, buf_data(buf))
    counter_add(&gauge[SESSION_GAUGE_SENT_BYTES], buf.length)
    answer = lane_push(shard, lane, buf_data(buf), buf.length, buf, NULL, session.priority)
    if answer != RESULT_OK:
        buf_drop(&shard.pool, buf)
    return answer


cdef inline Result emit_retained(Shard* shard, Flow* flow, Buf* buf) noexcept nogil:
    buf.refs += 1
    return session_emit(shard, flow, buf)


cdef inline Buf* fit(Pool* pool, Buf* buf, uint32_t length) noexcept nogil:
    cdef Buf* small
    if length + WIRE_PREFIX > buf.capacity / 4:
        return buf
    small = buf_alloc(pool, length + WIRE_PREFIX, False)
    if small == NULL:
        return buf
    memcpy(buf_data(small) + WIRE_PREFIX, buf_data(buf) + WIRE_PREFIX, length)
    buf_drop(pool, buf)
    return small


cdef Buf* session_fit(Pool* pool, Buf* buf, uint32_t length) noexcept nogil:
    return fit(pool, buf, length)


cdef Result session_step_if_due(Shard* shard, Flow* flow) noexcept nogil:
    cdef uint64_t mix = flow.tx_mix
    cdef Buf* buf = NULL
    cdef Result answer
    if not flow_must_rekey(flow, &shard.limits, shard.now_us):
        return RESULT_OK
    answer = flow_rekey(flow, &shard.pool, shard.now_us, &buf)
    if answer != RESULT_OK:
        return answer
    counter_add(&shard.stats.count[COUNT_REKEYS], 1)
    counter_add(&shard.stats.count[COUNT_REKEYS_MIXED], flow.tx_mix != mix)
    return emit_retained(shard, flow, buf)


cdef Result session_bundle(Shard* shard, Flow* flow, Buf* buf, uint32_t length) noexcept nogil:
    cdef Result answer = session_step_if_due(shard, flow)
    if answer != RESULT_OK:
        buf_drop(&shard.pool, buf)
        return answer
    buf = fit(&shard.pool, buf, length)
    answer = flow_seal(flow, &shard.pool, FRAME_BUNDLE, buf, length, shard.now_us)
    if answer != RESULT_OK or flow.state != FLOW_UP:
        # A flow that resumes sends it again with all other retained frames.
        return answer
    return emit_retained(shard, flow, buf)


cdef Result session_tx_resume(Shard* shard, Flow* flow) noexcept nogil:
    cdef Buf* buf = NULL
    cdef Result answer = flow_resume(flow, &shard.pool, shard.now_us, &buf)
    if answer != RESULT_OK:
        return answer
    counter_add(&shard.stats.count[COUNT_RESUMES], 1)
    return session_emit(shard, flow, buf)


# Send all retained frames again. A frame that is still queued in another lane is copied: its header there must not
# change.
cdef Result send_again(Shard* shard, Flow* flow) noexcept nogil:
    cdef Buf* buf = flow.retained
    cdef Buf* copy
    cdef Result answer = RESULT_OK
    if flow.lane == NULL or lane_backlog(flow_lane(flow), SESSION_LEAST) == 0:
        flow.copied_bytes = 0
    while buf != NULL and answer == RESULT_OK:
        if buf.refs == 1:
            answer = emit_retained(shard, flow, buf)
        else:
            # A peer that reads nothing and resumes again and again must not fill the budget with copies.
            flow.copied_bytes += buf.length
            copy = buf_alloc_word(&shard.pool, buf.length) if flow.copied_bytes <= SESSION_COPIES * flow.cap else NULL
            if copy == NULL:
                return RESULT_NO_MEMORY
            memcpy(buf_data(copy), buf_data(buf), buf.length)
            copy.length = buf.length
            copy.number = buf.number
            copy.frame_epoch = buf.frame_epoch
            copy.frame_type = buf.frame_type
            answer = session_emit(shard, flow, copy)
        buf = buf.next
    return answer


# -- paths and lanes --------------------------------------------------------------------------------------------------

# Attach a flow to the lane of its index. On a new path the initiator begins to resume: it knows that the whole path
# stands, while a RESUME of the responder would overtake PATH_ACCEPT and be lost. A lane that came back on a path that
# stands is seen by one neighbour only, so the side that sees it begins.
cdef Result attach(Shard* shard, Session* session, Flow* flow, bint path_is_new) noexcept nogil:
    cdef Link* link = link_find(shard, session.link)
    cdef Lane* lane = NULL if link == NULL else link.lanes[flow.index]
    cdef Buf* buf = NULL
    cdef Result answer
    if lane == NULL or not lane_is_up(lane):
        flow.lane = NULL
        return RESULT_OK
    flow.lane = lane
    flow.unanswered = 0
    if flow.confirmed_tx:
        if flow.state == FLOW_UP:
            counter_add(&gauge_at(session.gauge, shard.index)[SESSION_GAUGE_FLOWS_UP], -1)
        if path_is_new and not session.initiator:
            flow_pause(flow, shard.now_us)
            flow.resume_sent_us = shard.now_us
            return RESULT_OK
        answer = flow_break(flow, shard.now_us)
        return answer if answer != RESULT_OK else session_tx_resume(shard, flow)
    if not session.initiator:
        return RESULT_OK
    answer = flow_confirm(flow, &shard.pool, shard.now_us, &buf)
    return answer if answer != RESULT_OK else emit_retained(shard, flow, buf)


cdef Result session_path(Shard* shard, Session* session, uint32_t link, uint32_t in_label,
                         uint32_t out_label) noexcept nogil:
    cdef uint32_t i
    cdef Result answer = RESULT_OK
    if not map_put(&shard.labels, in_label, session):
        return RESULT_NO_MEMORY
    if session.in_label != 0 and session.in_label != in_label:
        map_remove(&shard.labels, session.in_label)
    session.link = link
    session.in_label = in_label
    session.out_label = out_label
    for i in range(session.flow_count):
        if session.flows[i] != NULL and answer == RESULT_OK:
            answer = attach(shard, session, session.flows[i], True)
    return answer


cdef Result session_lane_up(Shard* shard, Lane* lane, Session** failed) noexcept nogil:
    cdef uint32_t at = 0
    cdef Session* session
    cdef Result answer
    failed[0] = NULL
    while True:
        session = session_next(shard, &at)
        if session == NULL:
            return RESULT_OK
        if session.link != lane.link.number or lane.index >= session.flow_count \
                or session.flows[lane.index] == NULL or session.flows[lane.index].lane == lane:
            continue
        answer = attach(shard, session, session.flows[lane.index], False)
        if answer != RESULT_OK:
            failed[0] = session
            return answer


cdef void stall(Shard* shard, Session* session, Flow* flow, uint32_t code) noexcept nogil:
    cdef Event* event
    flow.lane = NULL
    if flow.state == FLOW_UP:
        counter_add(&gauge_at(session.gauge, shard.index)[SESSION_GAUGE_FLOWS_UP], -1)
        flow_pause(flow, shard.now_us)
    if not flow_loss_is_news(flow, session.in_label):
        return
    event = shard_event(shard, EVENT_SESSION_STALLED)
    event.data.session.number = session.number
    event.data.session.flow = flow.index
    event.data.session.code = code
    event.data.session.label = session.in_label


cdef void session_lane_down(Shard* shard, Lane* lane, uint32_t code) noexcept nogil:
    cdef uint32_t at = 0
    cdef Session* session
    while True:
        session = session_next(shard, &at)
        if session == NULL:
            return
        if lane.index < session.flow_count and session.flows[lane.index] != NULL \
                and session.flows[lane.index].lane == lane:
            stall(shard, session, session.flows[lane.index], code)


cdef void session_lost(Shard* shard, Lane* lane, uint32_t label, uint32_t code) noexcept nogil:
    cdef uint32_t at = 0
    cdef Session* session
    while True:
        session = session_next(shard, &at)
        if session == NULL:
            counter_add(&shard.stats.count[COUNT_UNKNOWN_FLOWS], 1)
            return
        if session.link == lane.link.number and session.out_label == label and lane.index < session.flow_count \
                and session.flows[lane.index] != NULL and session.flows[lane.index].lane == lane:
            stall(shard, session, session.flows[lane.index], code)
            return


# -- receiving --------------------------------------------------------------------------------------------------------

cdef Result session_frame(Shard* shard, Lane* lane, const Frame* frame, uint8_t* wire, Flow** flow,
                          uint32_t* code) noexcept nogil:
    cdef Session* session = <Session*>map_find(&shard.labels, frame.flow)
    cdef Flow* mine = NULL
    cdef Result answer
    flow[0] = NULL
    if session != NULL and session.link == lane.link.number and lane.index < session.flow_count:
        mine = session.flows[lane.index]
    if mine == NULL:
        return RESULT_UNKNOWN_FLOW
    flow[0] = mine
    if frame.type == FRAME_DATAGRAMS:
        return rx_datagrams(shard, session, mine, frame, wire)
    answer = flow_open(mine, frame, wire, shard.now_us)
    if answer == RESULT_DUPLICATE:
        counter_add(&shard.stats.count[COUNT_DUPLICATES], 1)
        # The far edge may have missed our ACK: send it again.
        session_owe_ack(shard, mine, shard.now_us)
        return answer
    if answer == RESULT_GAP:
        return rx_gap(shard, lane, mine)
    if answer != RESULT_OK:
        return answer
    counter_add(&gauge_at(session.gauge, shard.index)[SESSION_GAUGE_RECEIVED_BYTES], WIRE_PREFIX + frame.length)
    if mine.ack_due_us != 0:
        session_owe_ack(shard, mine, mine.ack_due_us)
    if frame.type == FRAME_BUNDLE:
        return RESULT_OK
    if frame.type == FRAME_RESUME:
        # The frame is authentic: the far edge uses this lane, so it is the path.
        mine.lane = lane
    return session_rx(shard, session, mine, frame.type, wire + WIRE_PREFIX, code)


cdef Result rx_datagrams(Shard* shard, Session* session, Flow* flow, const Frame* frame, uint8_t* wire) noexcept nogil:
    cdef Result answer = flow_open_datagrams(flow, frame, wire, shard.now_us)
    if answer == RESULT_OK:
        counter_add(&gauge_at(session.gauge, shard.index)[SESSION_GAUGE_RECEIVED_BYTES], WIRE_PREFIX + frame.length)
    elif answer == RESULT_STALE or answer == RESULT_REPLAYED:
        # Neither a fault of the far edge nor a sign of a lost frame.
        counter_add(&shard.stats.count[<int>COUNT_DATAGRAM_FRAMES_LATE if answer == RESULT_STALE
                                       else <int>COUNT_DATAGRAM_FRAMES_REPLAYED], 1)
        return RESULT_DUPLICATE
    return answer


cdef void session_owe_ack(Shard* shard, Flow* flow, uint64_t due_us) noexcept nogil:
    if flow.ack_due_us == 0 or due_us < flow.ack_due_us:
        flow.ack_due_us = due_us
    if not flow.due:
        flow.due = True
        flow.next_due = shard.due
        shard.due = flow


cdef Result rx_gap(Shard* shard, Lane* lane, Flow* flow) noexcept nogil:
    cdef Result answer
    counter_add(&shard.stats.count[COUNT_GAPS], 1)
    if flow.state == FLOW_RESUMING:
        return RESULT_DUPLICATE
    if flow.state == FLOW_UP:
        counter_add(&gauge_at(flow_session(flow).gauge, shard.index)[SESSION_GAUGE_FLOWS_UP], -1)
    flow.lane = lane
    answer = flow_break(flow, shard.now_us)
    if answer == RESULT_OK:
        answer = session_tx_resume(shard, flow)
    return answer if answer != RESULT_OK else RESULT_DUPLICATE


cdef Result session_rx(Shard* shard, Session* session, Flow* flow, uint32_t type, const uint8_t* body,
                       uint32_t* code) noexcept nogil:
    cdef Result answer = RESULT_OK
    cdef Buf* buf = NULL
    cdef Event* event
    cdef uint64_t* gauge
    cdef uint64_t agreed_id = session.renewals.agreed_id
    if type == FRAME_FLOW_CONFIRM:
        answer = flow_rx_confirm(flow, body)
        if answer == RESULT_OK and not session.initiator and not flow.confirmed_tx:
            answer = flow_confirm(flow, &shard.pool, shard.now_us, &buf)
            if answer == RESULT_OK:
                answer = emit_retained(shard, flow, buf)
        if answer == RESULT_OK:
            if flow.state == FLOW_UP:
                counter_add(&gauge_at(session.gauge, shard.index)[SESSION_GAUGE_FLOWS_UP], 1)
            if flow.owed.since_us != 0:
                flow.owed.since_us = shard.now_us
            event = shard_event(shard, EVENT_FLOW_UP)
            event.data.session.number = session.number
            event.data.session.flow = flow.index
    elif type == FRAME_FLOW_REKEY:
        answer = flow_rx_rekey(flow, body, shard.now_us)
        gauge = gauge_at(session.gauge, shard.index)
        if flow.rx.number > gauge[SESSION_GAUGE_EPOCH]:
            counter_set(&gauge[SESSION_GAUGE_EPOCH], flow.rx.number)
        if answer == RESULT_OK and wire_get64(body + 4) > gauge[SESSION_GAUGE_MIX]:
            counter_set(&gauge[SESSION_GAUGE_MIX], wire_get64(body + 4))
        session_count_flow(gauge, flow)
        if session.renewals.agreed_id != agreed_id:
            event = shard_event(shard, EVENT_SESSION_AGREED)
            event.data.renewal.number = session.number
            event.data.renewal.mix = session.renewals.agreed_id
    elif type == FRAME_ACK:
        answer = flow_rx_ack(flow, &shard.pool, wire_get64(body), shard.now_us)
        session_count_flow(gauge_at(session.gauge, shard.index), flow)
    elif type == FRAME_RESUME:
        answer = rx_resume(shard, session, flow, body)
        session_count_flow(gauge_at(session.gauge, shard.index), flow)
    elif type == FRAME_FLOW_CLOSE:
        if wire_get16(body + 2) != 0:
            return RESULT_BAD_FIELD
        code[0] = wire_get16(body)
        return RESULT_PEER_CLOSED
    return answer


cdef Result rx_resume(Shard* shard, Session* session, Flow* flow, const uint8_t* body) noexcept nogil:
    cdef bint answer = False
    cdef bint again = False
    cdef bint was_up = flow.state == FLOW_UP
    cdef Event* event
    cdef Result result = flow_rx_resume(flow, &shard.pool, body, shard.now_us, &answer, &again)
    if result == RESULT_OK and answer:
        result = session_tx_resume(shard, flow)
    if result == RESULT_OK and again:
        result = send_again(shard, flow)
    if result == RESULT_OK and flow.state == FLOW_UP and not was_up:
        counter_add(&gauge_at(session.gauge, shard.index)[SESSION_GAUGE_FLOWS_UP], 1)
        event = shard_event(shard, EVENT_SESSION_RESUMED)
        event.data.session.number = session.number
        event.data.session.flow = flow.index
    return result


# -- the end ----------------------------------------------------------------------------------------------------------

cdef void session_tx_close(Shard* shard, Session* session, uint32_t code) noexcept nogil:
    cdef uint8_t body[4]
    cdef uint32_t i
    cdef Buf* buf
    wire_put16(body, code)
    wire_put16(body + 2, 0)
    for i in range(session.flow_count):
        if session.flows[i] == NULL or session.flows[i].lane == NULL:
            continue
        buf = NULL
        if flow_volatile(session.flows[i], &shard.pool, FRAME_FLOW_CLOSE, body, 4, &buf) == RESULT_OK:
            # The flow ends all the same; a peer that misses this ends by silence.
            session_emit(shard, session.flows[i], buf)
        else:
            buf_drop(&shard.pool, buf)
