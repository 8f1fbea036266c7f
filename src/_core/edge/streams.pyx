from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy

from pcgrelay._core.base.atomics cimport counter_add, counter32_add, counter32_get
from pcgrelay._core.base.buf cimport pool_alloc
from pcgrelay._core.frame.credit cimport credit_consume, credit_grant, credit_is_due
from pcgrelay._core.stream.flow cimport Flow, flow_is_greedy, flow_stream_next, list_pop, list_push, stream_flow
from pcgrelay._core.link.gauge cimport gauge_at
from pcgrelay._core.base.handle cimport HANDLE_STREAM
from pcgrelay._core.link.shard cimport Shard, shard_event
from pcgrelay._core.link.mailbox cimport EVENT_SESSION_DOWN, EVENT_STREAM_END, Event, StreamEndEvent
from pcgrelay._core.base.map cimport map_free, map_remove
from pcgrelay._core.base.organisation cimport organisation_unanswered
from pcgrelay._core.base.queue cimport queue_free
from pcgrelay._core.base.result cimport RESULT_PEER_CLOSED, Result, result_code, result_place, result_reason
from pcgrelay._core.stream.service_tables cimport Export, Target, tables_export
from pcgrelay._core.session.session cimport (
    SESSION_GAUGE_STREAMS, Session, flow_session, session_remove, session_tx_close,
)
from pcgrelay._core.base.stats cimport (
    CAUSE_APPLICATION_RESET, CAUSE_BUDGET, CAUSE_CONNECT_FORBIDDEN, CAUSE_DESCRIPTORS, CAUSE_DONE, CAUSE_DRAINING,
    CAUSE_FAR_RESET, CAUSE_LINGER, CAUSE_MARKING, CAUSE_NOT_ALLOWED, CAUSE_NO_LOCAL_PORT, CAUSE_SESSION_LOST,
    CAUSE_TARGET_SILENT, CAUSE_TARGET_UNRESOLVED, CAUSE_UNKNOWN_SERVICE, CAUSE_WAITED_TOO_LONG,
    COUNT_APPLICATION_RECEIVED, COUNT_STREAMS_CLOSED, COUNT_STREAMS_OPENED, COUNT_STREAMS_REFUSED, STATS_SERVICES,
    Bounds, Cause,
)
from pcgrelay._core.stream.stream cimport (
    BREAK_NONE, DIAL_NEXT_DUE, DIAL_NONE, DIAL_TRYING, FAR_CUT, FAR_ENDED, FAR_OPEN, IN_ENDED, LIFE_DEFERRED,
    LIFE_FINISHED, LIFE_LIVE, OUT_OPEN, OUT_SHUT, PLACE_NONE, STREAM_ANSWERING, STREAM_ANSWERING_FIN, STREAM_CLOSED,
    STREAM_FORGET, STREAM_IDLE, TX_ACCEPT, TX_CREDIT, TX_RESET, Stream, stream_hang_up, stream_step,
)
from pcgrelay._core.base.timer cimport timer_clear, timer_set
from pcgrelay._core.base.wire cimport CODE_ABORTED, CODE_DONE, CODE_TIMEOUT, WIRE_EARLY


# -- lists ------------------------------------------------------------------------------------------------------------

cdef void edge_wait(Shard* shard, Stream* stream) noexcept nogil:
    stream.next = shard.waiting
    shard.waiting = stream
    shard.waiting_count += 1


cdef void stream_unwait(Shard* shard, Stream* stream) noexcept nogil:
    cdef Stream** at = &shard.waiting
    while at[0] != NULL and at[0] != stream:
        at = &at[0].next
    if at[0] == stream:
        at[0] = stream.next
        stream.next = NULL
        shard.waiting_count -= 1


cdef void edge_give_up(Shard* shard, Stream* stream) noexcept nogil:
    stream.life = LIFE_FINISHED
    stream.handle.fd = -1
    stream_step(stream, STREAM_FORGET)
    counter_add(&shard.stats.streams, -1)
    counter_add(&shard.stats.count[COUNT_STREAMS_OPENED], -1)
    edge_count(shard, stream, -1)
    edge_bury(shard, stream)


cdef void edge_activate(Shard* shard, Flow* flow) noexcept nogil:
    if flow.active:
        return
    flow.active = True
    flow.next_active = NULL
    if shard.active_first == NULL:
        shard.active_first = flow
    else:
        shard.active_last.next_active = flow
    shard.active_last = flow


cdef void edge_ready(Shard* shard, Stream* stream) noexcept nogil:
    cdef Flow* flow = stream_flow(stream)
    if flow == NULL or stream.place != PLACE_NONE or stream.life == LIFE_DEFERRED:
        return
    list_push(&flow.bulk if stream.bulk and stream.say == 0 else &flow.small, stream)
    edge_activate(shard, flow)


# In the order of the received records, so that targets are dialled in the order in which their clients connected.
cdef void edge_dirty(Shard* shard, Stream* stream) noexcept nogil:
    if stream.dirty:
        return
    stream.dirty = True
    stream.next_dirty = NULL
    if shard.dirty_streams == NULL:
        shard.dirty_streams = stream
    else:
        shard.dirty_last.next_dirty = stream
    shard.dirty_last = stream


# -- birth ------------------------------------------------------------------------------------------------------------

cdef Stream* edge_stream(Shard* shard, int fd, bint opener) noexcept nogil:
    cdef Stream* stream = <Stream*>pool_alloc(&shard.pool, sizeof(Stream))
    if stream == NULL:
        return NULL
    stream.handle.kind = HANDLE_STREAM
    stream.handle.fd = fd
    stream.timer.owner = stream
    stream.opener = opener
    stream.opened_us = shard.now_us
    stream.number = -1
    stream.rule = RULE_NONE
    counter_add(&shard.stats.streams, 1)
    counter_add(&shard.stats.count[COUNT_STREAMS_OPENED], 1)
    return stream


cdef void edge_count(Shard* shard, const Stream* stream, int n) noexcept nogil:
    if stream.number < 0 or stream.number >= STATS_SERVICES:
        return
    if stream.opener:
        counter32_add(&shard.stats.of_import[stream.number], <uint32_t>n)
    else:
        counter32_add(&shard.stats.of_export[stream.number], <uint32_t>n)


cdef bint edge_is_full(Shard* shard, uint32_t number, bint opener, uint32_t more) noexcept nogil:
    cdef const Bounds* bounds = shard.bounds
    cdef uint32_t i, most
    if bounds == NULL or number >= STATS_SERVICES:
        return False
    most = counter32_get(&bounds.of_import[number] if opener else &bounds.of_export[number])
    if most == 0:
        return False
    for i in range(bounds.workers):
        more += counter32_get(&bounds.stats[i].of_import[number] if opener else &bounds.stats[i].of_export[number])
    return more > most


cdef void edge_name(Stream* stream, const uint8_t* service, uint32_t length) noexcept nogil:
    memcpy(stream.service, service, length)
    stream.service_length = length


# The first credit: as much as the budget bears. Credit is a promise, not memory; the pool is the hard bound.
cdef uint32_t edge_first_window(Shard* shard, const Stream* stream) noexcept nogil:
    cdef uint64_t eighth = shard.pool.limit / 8
    if flow_is_greedy(stream_flow(stream), &shard.pool):
        return WIRE_EARLY
    if shard.windows + EDGE_WINDOW <= 2 * eighth:
        return EDGE_WINDOW
    if shard.windows + EDGE_WINDOW_LESS <= 3 * eighth:
        return EDGE_WINDOW_LESS
    return WIRE_EARLY


cdef void edge_hold(Stream* stream) noexcept nogil:
    cdef Flow* flow = stream_flow(stream)
    cdef uint64_t held = stream.out.owned + (0 if stream.opener else sizeof(Stream))
    if held != stream.held and flow != NULL and flow.holding != NULL and stream.life == LIFE_LIVE:
        flow.holding.queued += held - stream.held
        stream.held = held


cdef uint64_t edge_grant(Shard* shard, Stream* stream, uint32_t window) noexcept nogil:
    cdef uint64_t before = stream.rx.limit
    cdef uint64_t limit = credit_grant(&stream.rx, window, shard.now_us)
    shard.windows += limit - before
    return limit


cdef const Target* edge_target(Shard* shard, Stream* stream) noexcept nogil:
    cdef const Export* entry = tables_export(shard.tables, stream.service, stream.service_length)
    if entry == NULL or stream.target >= entry.target_count:
        return NULL
    stream.target += 1
    return &entry.targets[stream.target - 1]


cdef void edge_dialled(Shard* shard, Stream* stream) noexcept nogil:
    cdef const Export* entry = tables_export(shard.tables, stream.service, stream.service_length)
    cdef uint64_t next_us = stream.due_us
    stream.dial = DIAL_TRYING
    if entry != NULL and stream.target < entry.target_count and shard.now_us + EDGE_NEXT_US < next_us:
        next_us = shard.now_us + EDGE_NEXT_US
    timer_set(&shard.wheel, &stream.timer, next_us)


cdef void edge_connected(Shard* shard, Stream* stream) noexcept nogil:
    timer_clear(&shard.wheel, &stream.timer)
    stream.dial = DIAL_NONE
    stream.writable = True
    stream.readable = True
    if stream.output != OUT_OPEN:
        # FIN came before, when the timer was that of the connection.
        edge_linger(shard, stream)
    if stream.far == FAR_CUT:
        stream.due_us = shard.now_us + EDGE_LAST_US
    else:
        stream.say |= TX_ACCEPT
        if stream.place == PLACE_NONE:
            edge_ready(shard, stream)
    edge_dirty(shard, stream)


cdef void edge_wrote(Shard* shard, Stream* stream, uint64_t n) noexcept nogil:
    credit_consume(&stream.rx, n)
    shard.windows -= n
    counter_add(&shard.stats.count[COUNT_APPLICATION_RECEIVED], n)
    credit_due(shard, stream)


cdef void edge_dropped(Shard* shard, Stream* stream, uint64_t n) noexcept nogil:
    stream.dropped += n
    credit_consume(&stream.rx, n)
    shard.windows -= n
    credit_due(shard, stream)


# A stream that waits for a route has sent no OPEN, and so has nothing to send.
cdef void credit_due(Shard* shard, Stream* stream) noexcept nogil:
    if stream.flow == NULL:
        return
    if stream.output == OUT_OPEN and stream.far != FAR_CUT and credit_is_due(&stream.rx) and not stream.say & TX_CREDIT:
        stream.say |= TX_CREDIT
        if stream.place == PLACE_NONE:
            edge_ready(shard, stream)


# -- end --------------------------------------------------------------------------------------------------------------

cdef void edge_linger(Shard* shard, Stream* stream) noexcept nogil:
    stream.progress = moved(stream)
    if stream.dial == DIAL_NONE:
        timer_set(&shard.wheel, &stream.timer,
                  shard.now_us + (shard.linger_us if stream.broken == BREAK_NONE else EDGE_LAST_US))


cdef bint edge_lingers(const Stream* stream) noexcept nogil:
    return stream.timer.next != NULL and stream.flow != NULL and stream.dial == DIAL_NONE and stream.far != FAR_CUT \
        and stream.broken == BREAK_NONE


cdef inline uint64_t moved(const Stream* stream) noexcept nogil:
    return stream.tx.sent + (stream.rx.consumed if stream.broken == BREAK_NONE else 0)


cdef void edge_timer(Shard* shard, Stream* stream) noexcept nogil:
    if stream.life != LIFE_LIVE:
        return
    if stream.flow == NULL:
        edge_abort(shard, stream, CODE_TIMEOUT, CAUSE_WAITED_TOO_LONG)
    elif stream.dial != DIAL_NONE and shard.now_us < stream.due_us:
        stream.dial = DIAL_NEXT_DUE
        edge_dirty(shard, stream)
    elif stream.dial != DIAL_NONE:
        edge_abort(shard, stream, CODE_TIMEOUT, CAUSE_TARGET_SILENT)
    elif stream.far == FAR_CUT:
        # The worker looks.
        edge_dirty(shard, stream)
    elif stream.progress != moved(stream):
        edge_linger(shard, stream)
    elif stream.broken != BREAK_NONE:
        edge_abort(shard, stream, CODE_ABORTED, CAUSE_APPLICATION_RESET)
    else:
        edge_abort(shard, stream, CODE_TIMEOUT, CAUSE_LINGER)


cdef void edge_break(Shard* shard, Stream* stream, uint8_t broken) noexcept nogil:
    if stream.life != LIFE_LIVE:
        return
    if stream.far == FAR_CUT:
        edge_abort(shard, stream, stream.code, CAUSE_FAR_RESET)
        return
    if stream.input == IN_ENDED:
        edge_abort(shard, stream, CODE_ABORTED, CAUSE_APPLICATION_RESET)
        return
    stream.broken = broken
    stream.writable = False
    stream.readable = True
    stream_hang_up(stream)
    edge_dropped(shard, stream, stream.out.bytes)
    queue_free(&stream.out, &shard.pool)
    if stream.flow != NULL:
        edge_linger(shard, stream)
    edge_ready(shard, stream)


cdef void edge_cut(Shard* shard, Stream* stream, uint32_t code, uint32_t rule) noexcept nogil:
    stream.far = FAR_ENDED
    stream.rule = rule
    if stream.broken != BREAK_NONE or (stream.out.count == 0 and (stream.dial != DIAL_NONE or stream.rx.received == 0)):
        edge_abort(shard, stream, code, CAUSE_FAR_RESET)
        return
    stream.far = FAR_CUT
    stream.code = code
    stream.say = 0
    stream.progress = 0
    if stream.dial == DIAL_NONE:
        stream.due_us = shard.now_us + EDGE_LAST_US
    edge_dirty(shard, stream)


cdef void edge_cut_left(Shard* shard, Stream* stream, uint64_t left) noexcept nogil:
    cdef uint64_t taken = stream.rx.received - left
    if left == 0 or (taken == stream.progress and shard.now_us >= stream.due_us):
        edge_abort(shard, stream, stream.code, CAUSE_FAR_RESET)
        return
    if taken != stream.progress:
        stream.progress = taken
        stream.due_us = shard.now_us + EDGE_LAST_US
    timer_set(&shard.wheel, &stream.timer, shard.now_us + EDGE_LOOK_US)


# An OPEN that ends here before ACCEPT was sent is counted on its peer's budget, unless this node is the cause.
cdef void count_unanswered(Shard* shard, const Stream* stream) noexcept nogil:
    cdef Cause cause = stream.cause
    if stream.state != STREAM_ANSWERING and stream.state != STREAM_ANSWERING_FIN:
        return
    if cause == CAUSE_BUDGET or cause == CAUSE_DESCRIPTORS or cause == CAUSE_DRAINING or cause == CAUSE_NO_LOCAL_PORT \
            or cause == CAUSE_CONNECT_FORBIDDEN \
            or cause == CAUSE_TARGET_UNRESOLVED or (cause == CAUSE_SESSION_LOST and stream.far == FAR_OPEN):
        return
    organisation_unanswered(
        flow_session(stream_flow(stream)).gauge.organisation,
        -1 if cause == CAUSE_UNKNOWN_SERVICE or cause == CAUSE_NOT_ALLOWED or cause == CAUSE_MARKING else stream.number,
        shard.now_us)


# Report how the stream ended, and release all but what is still to be sent. The worker closes the sockets of finished
# streams; bytes from before the loss of their session it writes once. A stream in a list is freed when the list is
# processed.
cdef void stream_finish(Shard* shard, Stream* stream) noexcept nogil:
    cdef Event* event
    cdef StreamEndEvent* end
    cdef Flow* flow = stream_flow(stream)
    stream.life = LIFE_FINISHED
    timer_clear(&shard.wheel, &stream.timer)
    if stream.cause != CAUSE_SESSION_LOST or stream.handle.fd < 0:
        queue_free(&stream.out, &shard.pool)
    shard.windows -= stream.rx.limit - stream.rx.consumed
    counter_add(&shard.stats.streams, -1)
    edge_count(shard, stream, -1)
    counter_add(&shard.stats.count[COUNT_STREAMS_CLOSED], 1)
    counter_add(&shard.stats.cause[stream.cause], 1)
    if flow != NULL:
        if flow.holding != NULL:
            flow.holding.queued -= stream.held
        if not stream.opener:
            count_unanswered(shard, stream)
        counter_add(&gauge_at(flow_session(flow).gauge, shard.index)[SESSION_GAUGE_STREAMS], -1)
    if stream.code != CODE_DONE:
        counter_add(&shard.stats.count[COUNT_STREAMS_REFUSED], stream.tx.sent + stream.rx.received == 0)
    event = shard_event(shard, EVENT_STREAM_END)
    end = &event.data.stream
    end.opener = stream.opener
    end.number = stream.number
    end.session = stream.session
    end.sent_bytes = stream.tx.sent
    end.received_bytes = stream.rx.consumed - stream.dropped
    end.open_us = shard.now_us - stream.opened_us
    end.code = stream.code
    end.cause = stream.cause
    end.remote = stream.far != FAR_OPEN
    end.rule = stream.rule
    end.service_length = stream.service_length
    memcpy(end.service, stream.service, stream.service_length)


# Freed at the end of the turn: epoll's events of this turn may still name its socket.
cdef void edge_bury(Shard* shard, Stream* stream) noexcept nogil:
    cdef Flow* flow = stream_flow(stream)
    if stream.life == LIFE_DEFERRED:
        return
    stream.life = LIFE_DEFERRED
    if flow != NULL:
        map_remove(&flow.streams, stream.id)
    stream.next = shard.deferred_streams
    shard.deferred_streams = stream


# Free a stream that is CLOSED; if it is in a list, when the list is processed. A RESET that is due then is not sent,
# because the state allows none.
cdef void stream_leave(Shard* shard, Stream* stream) noexcept nogil:
    if stream.place == PLACE_NONE:
        edge_bury(shard, stream)
    else:
        stream.say = TX_RESET


cdef void edge_abort(Shard* shard, Stream* stream, uint32_t code, Cause cause) noexcept nogil:
    if stream.life != LIFE_LIVE:
        return
    if stream.flow == NULL:
        stream_unwait(shard, stream)
    stream.code = code
    stream.cause = cause
    stream_finish(shard, stream)
    edge_dirty(shard, stream)
    if stream.flow == NULL or stream.far != FAR_OPEN or (stream.state == STREAM_IDLE and stream.place == PLACE_NONE):
        stream_step(stream, STREAM_FORGET)
        stream_leave(shard, stream)
        return
    stream.say = TX_RESET
    edge_ready(shard, stream)


cdef void edge_check_done(Shard* shard, Stream* stream) noexcept nogil:
    if stream.life != LIFE_LIVE or stream.far == FAR_CUT or stream.state != STREAM_CLOSED or stream.out.count != 0 \
            or stream.output != OUT_SHUT:
        return
    stream.code = CODE_DONE
    stream.cause = CAUSE_DONE
    stream_finish(shard, stream)
    edge_dirty(shard, stream)
    stream_leave(shard, stream)


cdef void edge_session_fail(Shard* shard, Session* session, Result reason) noexcept nogil:
    cdef uint32_t code = result_code(reason)
    end_streams(shard, session, code, False)
    session_tx_close(shard, session, code)
    session_down(shard, session, code, reason, False)
    session_remove(shard, session)


cdef void edge_session_close(Shard* shard, Session* session, uint32_t code) noexcept nogil:
    end_streams(shard, session, code, False)
    session_tx_close(shard, session, code)
    session_remove(shard, session)


cdef void edge_session_rx_close(Shard* shard, Session* session, uint32_t code) noexcept nogil:
    end_streams(shard, session, code, True)
    session_down(shard, session, code, RESULT_PEER_CLOSED, True)
    session_remove(shard, session)


# Count the end of a session, and tell the control plane. remote: the far edge ended it.
cdef void session_down(Shard* shard, const Session* session, uint32_t code, Result reason, bint remote) noexcept nogil:
    cdef Event* event = shard_event(shard, EVENT_SESSION_DOWN)
    counter_add(&shard.stats.refused[result_place(reason)], 1)
    event.data.session.number = session.number
    event.data.session.code = code
    event.data.session.reason = result_reason(reason)
    event.data.session.remote = remote


# The far edge learns of their end from that of the session: nothing is sent for a single stream.
cdef void end_streams(Shard* shard, Session* session, uint32_t code, bint remote) noexcept nogil:
    cdef uint32_t i, at
    cdef Flow* flow
    cdef Stream* stream
    for i in range(session.flow_count):
        flow = session.flows[i]
        if flow == NULL:
            continue
        while list_pop(&flow.small) != NULL or list_pop(&flow.bulk) != NULL:
            pass
        # They leave the table all at once: removing each one would search for it from the start.
        at = 0
        stream = flow_stream_next(flow, &at)
        while stream != NULL:
            if remote and stream.far == FAR_OPEN:
                stream.far = FAR_ENDED
            if stream.life == LIFE_LIVE:
                stream.code = code
                stream.cause = CAUSE_SESSION_LOST
                stream_finish(shard, stream)
                edge_dirty(shard, stream)
            stream_step(stream, STREAM_FORGET)
            stream.flow = NULL
            edge_bury(shard, stream)
            stream = flow_stream_next(flow, &at)
        map_free(&flow.streams)
