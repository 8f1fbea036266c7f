from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy

from pcgrelay._core.base.atomics cimport counter32_add, counter_add
from pcgrelay._core.base.handle cimport HANDLE_STREAM
from pcgrelay._core.base.organisation cimport organisation_unanswered
from pcgrelay._core.base.queue cimport queue_free
from pcgrelay._core.base.stats cimport (
    CAUSE_APPLICATION_RESET, CAUSE_BUDGET, CAUSE_CONNECT_FORBIDDEN, CAUSE_DESCRIPTORS, CAUSE_DONE, CAUSE_DRAINING,
    CAUSE_FAR_RESET, CAUSE_LINGER, CAUSE_MARKING, CAUSE_NOT_ALLOWED, CAUSE_NO_LOCAL_PORT, CAUSE_NO_SOURCE, CAUSE_NUDGED,
    CAUSE_SESSION_LOST, CAUSE_SHUTDOWN, CAUSE_TARGET_REFUSED, CAUSE_TARGET_SILENT, CAUSE_TARGET_UNREACHABLE,
    CAUSE_TARGET_UNRESOLVED, CAUSE_UNKNOWN_SERVICE, CAUSE_WAITED_TOO_LONG, COUNT_APPLICATION_RECEIVED,
    COUNT_STREAMS_CLOSED, COUNT_STREAMS_OPENED, COUNT_STREAMS_REFUSED, STATS_SERVICES, Cause, listener_count,
)
from pcgrelay._core.base.timer cimport timer_clear, timer_set
from pcgrelay._core.base.wire cimport CODE_ABORTED, CODE_DONE, CODE_TIMEOUT
from pcgrelay._core.edge.associations cimport association_due, association_end, association_leave, association_terms
from pcgrelay._core.edge.lists cimport edge_bury, edge_direct_remove, edge_dirty, edge_ready, edge_unwait
from pcgrelay._core.edge.setups cimport (
    setup_again, setup_drop, setup_end, setup_failed, setup_leave_flow, setup_report, setup_up,
)
from pcgrelay._core.frame.credit cimport credit_consume, credit_grant, credit_is_due
from pcgrelay._core.link.gauge cimport gauge_at
from pcgrelay._core.link.mailbox cimport EVENT_STREAM_END, Event, StreamEndEvent
from pcgrelay._core.link.shard cimport Shard, shard_event
from pcgrelay._core.session.session cimport SESSION_GAUGE_STREAMS, flow_session, session_count_export
from pcgrelay._core.stream.flow cimport Flow, stream_flow
from pcgrelay._core.stream.service_tables cimport DatagramTerms, tables_terms
from pcgrelay._core.stream.stream cimport (
    BREAK_LEFT, BREAK_NONE, DIAL_NEXT_DUE, DIAL_NONE, FAR_CUT, FAR_ENDED, FAR_OPEN, IN_ENDED,
    LIFE_FINISHED, LIFE_LIVE, OUT_FIN_DUE, OUT_OPEN, OUT_SHUT, PLACE_NONE, SETUP_TRYING, STREAM_ANSWERING,
    STREAM_ANSWERING_FIN, STREAM_CLOSED, STREAM_FORGET, STREAM_IDLE, STREAM_RX_ACCEPT, STREAM_RX_DATA,
    STREAM_RX_OPEN, STREAM_TX_ACCEPT, STREAM_TX_OPEN, TX_ACCEPT, TX_CREDIT, TX_RESET, Stream, stream_hang_up,
    stream_is_pending, stream_is_shadow, stream_is_unrefused, stream_may, stream_new, stream_step,
)


# -- birth ------------------------------------------------------------------------------------------------------------

cdef Stream* edge_stream(Shard* shard, int fd, bint opener, const uint8_t* service, uint32_t length) noexcept nogil:
    cdef Stream* stream = stream_new(&shard.pool, length)
    if stream == NULL:
        return NULL
    memcpy(stream.service, service, length)
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


cdef void edge_give_up(Shard* shard, Stream* stream) noexcept nogil:
    stream.life = LIFE_FINISHED
    stream.handle.fd = -1
    stream_step(stream, STREAM_FORGET)
    counter_add(&shard.stats.streams, -1)
    counter_add(&shard.stats.count[COUNT_STREAMS_OPENED], -1)
    edge_count(shard, stream, -1)
    association_leave(shard, stream)
    association_end(shard, stream, NULL)
    setup_drop(shard, stream)
    edge_bury(shard, stream)


cdef void edge_count(Shard* shard, const Stream* stream, int n) noexcept nogil:
    cdef Flow* flow = stream_flow(stream)
    if stream.listener != 0:
        listener_count(&shard.stats, stream.listener, n, stream.tx.sent, stream.rx.consumed - stream.dropped)
    if stream.number < 0 or stream.number >= STATS_SERVICES or stream_is_shadow(stream):
        return
    counter32_add(&shard.stats.of_import[stream.number] if stream.opener else &shard.stats.of_export[stream.number],
                  <uint32_t>n)
    if not stream.opener and flow != NULL:
        session_count_export(flow_session(flow), stream.number, n)


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


cdef void edge_connected(Shard* shard, Stream* stream) noexcept nogil:
    timer_clear(&shard.wheel, &stream.timer)
    stream.dial = DIAL_NONE
    stream.writable = True
    # A socket of datagrams is read as soon as it has one.
    stream.readable = not stream.datagram
    if stream.direct:
        direct_connected(shard, stream)
        return
    if stream.datagram:
        edge_watch_association(shard, stream)
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
    # The far edge of a stream that was let go may still have something to say before its end.
    if (stream.output == OUT_OPEN or (stream.broken == BREAK_LEFT and stream_may(stream, STREAM_RX_DATA))) \
            and stream.far != FAR_CUT and credit_is_due(&stream.rx) and not stream.say & TX_CREDIT:
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
    return stream.timer.next != NULL and (stream.flow != NULL or stream.direct) and stream.dial == DIAL_NONE \
        and stream.far != FAR_CUT and stream.broken == BREAK_NONE and not stream_is_pending(stream) \
        and not stream.datagram


cdef inline uint64_t moved(const Stream* stream) noexcept nogil:
    return stream.tx.sent + (stream.rx.consumed if stream.broken == BREAK_NONE else 0)


cdef void edge_timer(Shard* shard, Stream* stream) noexcept nogil:
    if stream.life != LIFE_LIVE:
        return
    if stream.flow == NULL and not stream.direct:
        edge_abort(shard, stream, CODE_TIMEOUT, CAUSE_WAITED_TOO_LONG)
    elif stream_is_pending(stream) and stream_is_unrefused(stream) and not stream_is_shadow(stream):
        edge_associated(shard, stream)
        edge_watch_association(shard, stream)
    elif stream_is_pending(stream):
        edge_abort(shard, stream, CODE_TIMEOUT, CAUSE_TARGET_SILENT)
    elif stream.dial != DIAL_NONE and shard.now_us < stream.due_us:
        stream.dial = DIAL_NEXT_DUE
        edge_dirty(shard, stream)
    elif stream.dial != DIAL_NONE:
        edge_abort(shard, stream, CODE_TIMEOUT, CAUSE_TARGET_SILENT)
    elif stream.datagram:
        association_timer(shard, stream)
    elif stream.far == FAR_CUT:
        # The worker looks.
        edge_dirty(shard, stream)
    elif stream.progress != moved(stream):
        edge_linger(shard, stream)
    elif stream.broken != BREAK_NONE:
        edge_abort(shard, stream, CODE_ABORTED, CAUSE_APPLICATION_RESET)
    else:
        edge_abort(shard, stream, CODE_TIMEOUT, CAUSE_LINGER)


# An association that nobody uses ends in order. The terms may have changed since the timer was set.
cdef void association_timer(Shard* shard, Stream* stream) noexcept nogil:
    cdef const DatagramTerms* terms = tables_terms(shard.tables, stream.opener, stream.number, stream.service,
                                                   stream.service_length)
    if stream.association == NULL:
        return
    if terms != NULL:
        association_terms(stream.association, terms)
    if shard.now_us < association_due(stream.association):
        edge_watch_association(shard, stream)
    else:
        edge_abort(shard, stream, CODE_DONE, CAUSE_DONE)


cdef void edge_watch_association(Shard* shard, Stream* stream) noexcept nogil:
    timer_set(&shard.wheel, &stream.timer, association_due(stream.association))


cdef void edge_associated(Shard* shard, Stream* stream) noexcept nogil:
    if stream.direct:
        stream_step(stream, STREAM_RX_ACCEPT)
    setup_up(shard, stream.setup)


cdef void edge_break(Shard* shard, Stream* stream, uint8_t broken) noexcept nogil:
    if stream.life != LIFE_LIVE:
        return
    if stream.far == FAR_CUT:
        edge_abort(shard, stream, stream.code, CAUSE_FAR_RESET)
        return
    if stream_is_shadow(stream) and not stream_is_pending(stream):
        edge_leave(shard, stream)
        return
    if stream.input == IN_ENDED or stream_is_pending(stream):
        edge_abort(shard, stream, CODE_ABORTED, CAUSE_APPLICATION_RESET)
        return
    stream.broken = broken
    stream.writable = False
    stream.readable = True
    stream_hang_up(stream)
    edge_dropped(shard, stream, stream.out.bytes)
    queue_free(&stream.out, &shard.pool)
    if stream.flow != NULL or stream.direct:
        edge_linger(shard, stream)
    edge_ready(shard, stream)


cdef void edge_leave(Shard* shard, Stream* stream) noexcept nogil:
    stream.broken = BREAK_LEFT
    stream.writable = False
    stream.readable = stream.input != IN_ENDED
    stream_hang_up(stream)
    edge_dropped(shard, stream, stream.out.bytes)
    queue_free(&stream.out, &shard.pool)
    stream.output = OUT_FIN_DUE
    edge_linger(shard, stream)
    edge_ready(shard, stream)
    edge_dirty(shard, stream)
    if stream.direct and stream.partner != NULL:
        # It may have stopped reading.
        edge_ready(shard, stream.partner)


cdef void edge_read_failed(Shard* shard, Stream* stream) noexcept nogil:
    if stream.broken != BREAK_LEFT:
        if not stream_is_shadow(stream) or stream_is_pending(stream):
            edge_abort(shard, stream, CODE_ABORTED, CAUSE_APPLICATION_RESET)
            return
        edge_leave(shard, stream)
    stream.input = IN_ENDED
    stream.readable = False


cdef void edge_cut(Shard* shard, Stream* stream, uint32_t code, uint32_t rule) noexcept nogil:
    stream.far = FAR_ENDED
    stream.rule = rule
    if stream.datagram:
        edge_abort(shard, stream, code, CAUSE_DONE if code == CODE_DONE else CAUSE_FAR_RESET)
        return
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
            or cause == CAUSE_CONNECT_FORBIDDEN or cause == CAUSE_NO_SOURCE \
            or cause == CAUSE_TARGET_UNRESOLVED or (cause == CAUSE_SESSION_LOST and stream.far == FAR_OPEN):
        return
    organisation_unanswered(
        flow_session(stream_flow(stream)).gauge.organisation,
        -1 if cause == CAUSE_UNKNOWN_SERVICE or cause == CAUSE_NOT_ALLOWED or cause == CAUSE_MARKING else stream.number,
        shard.now_us)


# Report how the stream ended, and release all but what is still to be sent. The worker closes the sockets of finished
# streams; bytes from before the loss of their session it writes once. A stream in a list is freed when the list is
# processed.
cdef void edge_finish(Shard* shard, Stream* stream) noexcept nogil:
    cdef Event* event
    cdef StreamEndEvent* end
    cdef Flow* flow = stream_flow(stream)
    stream.life = LIFE_FINISHED
    if stream.broken == BREAK_LEFT and not stream_is_shadow(stream):
        # Whatever came then, it was nudged.
        stream.cause = CAUSE_NUDGED
    timer_clear(&shard.wheel, &stream.timer)
    association_leave(shard, stream)
    if stream.cause != CAUSE_SESSION_LOST or stream.handle.fd < 0:
        queue_free(&stream.out, &shard.pool)
    shard.windows -= stream.rx.limit - stream.rx.consumed
    if stream.partner != NULL:
        stream.partner.partner = NULL
        stream.partner = NULL
    if stream.direct and not stream.opener:
        # The application's half is the stream that is counted and told of.
        return
    counter_add(&shard.stats.streams, -1)
    edge_count(shard, stream, -1)
    counter_add(&shard.stats.count[COUNT_STREAMS_CLOSED], 1)
    counter_add(&shard.stats.cause[stream.cause], 1)
    event = shard_event(shard, EVENT_STREAM_END)
    end = &event.data.stream
    if flow != NULL:
        end.id_head = flow_session(flow).gauge.id_head
        end.flow = flow.index
        end.stream = stream.id
        if flow.holding != NULL:
            flow.holding.queued -= stream.held
        if not stream.opener:
            count_unanswered(shard, stream)
        counter_add(&gauge_at(flow_session(flow).gauge, shard.index)[SESSION_GAUGE_STREAMS], -1)
    if stream.code != CODE_DONE:
        counter_add(&shard.stats.count[COUNT_STREAMS_REFUSED], stream.tx.sent + stream.rx.received == 0)
    end.opener = stream.opener
    end.number = stream.number
    end.session = stream.session
    end.sent_bytes = stream.tx.sent
    end.received_bytes = stream.rx.consumed - stream.dropped
    end.open_us = shard.now_us - stream.opened_us
    end.first_us = stream.first_us
    end.code = stream.code
    end.cause = stream.cause
    end.remote = stream.far != FAR_OPEN
    end.rule = stream.rule
    if stream.datagram:
        end.datagram = True
        association_end(shard, stream, end)
    end.service_length = stream.service_length
    memcpy(end.service, stream.service, stream.service_length)
    setup_report(shard, stream, end)
    setup_end(shard, stream)


# Free a stream that is CLOSED; if it is in a list, when the list is processed. A RESET that is due then is not sent,
# because the state allows none.
cdef void stream_leave(Shard* shard, Stream* stream) noexcept nogil:
    if stream.place == PLACE_NONE:
        edge_bury(shard, stream)
    else:
        stream.say = TX_RESET


cdef void edge_abort(Shard* shard, Stream* stream, uint32_t code, Cause cause) noexcept nogil:
    cdef Stream* partner
    if stream.life != LIFE_LIVE or (stream_is_pending(stream) and release(shard, stream, code, cause)):
        return
    partner = stream.partner
    if stream.flow == NULL and not stream.direct:
        edge_unwait(shard, stream)
    stream.code = code
    stream.cause = cause
    edge_finish(shard, stream)
    if partner != NULL:
        direct_left(shard, partner, code, cause)
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
    edge_finish(shard, stream)
    edge_dirty(shard, stream)
    stream_leave(shard, stream)


# -- a set-up that failed ---------------------------------------------------------------------------------------------

# Is the application's socket as it was accepted, so that it can be led to another outlet? What ends the application's
# own connection, or the node, is no failure of an outlet.
cdef bint may_lead_on(const Stream* stream, Cause cause) noexcept nogil:
    if stream.datagram:
        return is_of_attempt(cause)
    return cause != CAUSE_APPLICATION_RESET and cause != CAUSE_SHUTDOWN and cause != CAUSE_NOT_ALLOWED \
        and cause != CAUSE_MARKING and stream.tx.sent == 0 and stream.input != IN_ENDED and stream.broken == BREAK_NONE


# An association ends for many reasons that are its own, although nothing was answered yet. These are of the outlet.
cdef bint is_of_attempt(Cause cause) noexcept nogil:
    return cause == CAUSE_FAR_RESET or cause == CAUSE_SESSION_LOST or cause == CAUSE_TARGET_REFUSED \
        or cause == CAUSE_TARGET_UNREACHABLE or cause == CAUSE_TARGET_SILENT or cause == CAUSE_TARGET_UNRESOLVED \
        or cause == CAUSE_WAITED_TOO_LONG or cause == CAUSE_NO_LOCAL_PORT or cause == CAUSE_DESCRIPTORS \
        or cause == CAUSE_CONNECT_FORBIDDEN or cause == CAUSE_NO_SOURCE


# The attempt on an outlet failed. Take the stream back from where it was, and have the worker lead it on; the far edge
# is told by a record of its own if it does not know. False: it cannot be led on.
cdef bint release(Shard* shard, Stream* stream, uint32_t code, Cause cause) noexcept nogil:
    cdef Stream* partner = stream.partner
    if stream.setup.state != SETUP_TRYING or not may_lead_on(stream, cause):
        return False
    if stream.flow != NULL and not setup_leave_flow(shard, stream, code):
        return False
    if stream.direct:
        edge_direct_remove(shard, stream)
        stream.partner = NULL
        if partner != NULL:
            partner.partner = NULL
            edge_abort(shard, partner, code, cause)
    elif stream.flow == NULL:
        edge_unwait(shard, stream)
    setup_failed(shard, stream.setup, code, cause, stream.rule)
    setup_again(shard, stream)
    return True


# The same where its session ended: the flow is going, and takes its streams with it.
cdef bint edge_release_lost(Shard* shard, Stream* stream, uint32_t code) noexcept nogil:
    if stream.setup.state != SETUP_TRYING or not may_lead_on(stream, CAUSE_SESSION_LOST):
        return False
    setup_failed(shard, stream.setup, code, CAUSE_SESSION_LOST, RULE_NONE)
    setup_again(shard, stream)
    return True


# -- direct streams ---------------------------------------------------------------------------------------------------

# Its target answered.
cdef void direct_connected(Shard* shard, Stream* stream) noexcept nogil:
    cdef Stream* opener = stream.partner
    if opener == NULL:
        return
    stream_step(opener, STREAM_TX_OPEN)
    if stream.datagram:
        # Nothing has answered yet: what waits for the target can be sent now.
        edge_dirty(shard, stream)
        return
    stream_step(opener, STREAM_RX_ACCEPT)
    stream_step(stream, STREAM_RX_OPEN)
    stream_step(stream, STREAM_TX_ACCEPT)
    setup_up(shard, opener.setup)
    edge_dirty(shard, stream)
    edge_ready(shard, stream)
    edge_ready(shard, opener)


# The other half failed: what it had read is still written here, and then this one is reset.
cdef void direct_left(Shard* shard, Stream* stream, uint32_t code, Cause cause) noexcept nogil:
    if stream_is_pending(stream):
        # It was the target of the attempt.
        edge_abort(shard, stream, code, cause)
    else:
        edge_cut(shard, stream, code, RULE_NONE)
