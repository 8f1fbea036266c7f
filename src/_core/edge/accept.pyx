from libc.stdint cimport uint32_t, uint8_t
from libc.string cimport memcpy

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.stats cimport (
    CAUSE_BUDGET, CAUSE_DONE, CAUSE_DRAINING, CAUSE_LIMIT, CAUSE_MARKING, CAUSE_NO_ROUTE, COUNT_STREAMS_REFUSED,
    COUNT_STREAMS_WAITED, Cause,
)
from pcgrelay._core.base.timer cimport timer_clear, timer_set
from pcgrelay._core.base.wire cimport CODE_BUSY, CODE_LIMIT, CODE_UNREACHABLE
from pcgrelay._core.edge.choice cimport Elsewhere, choice_flow, choice_join, choice_session
from pcgrelay._core.edge.limits cimport limits_of_import, limits_watch
from pcgrelay._core.edge.datagrams cimport datagrams_shadow
from pcgrelay._core.edge.lists cimport edge_dirty, edge_wait
from pcgrelay._core.edge.outlets cimport outlets_begin, outlets_tables_changed, outlets_wait_over
from pcgrelay._core.edge.setups cimport setup_refused
from pcgrelay._core.edge.streams cimport (
    RULE_NONE, edge_abort, edge_count, edge_give_up, edge_stream,
)
from pcgrelay._core.link.mailbox cimport EVENT_IMPORT_WANTED, EVENT_STREAM_END, Event, StreamOrder
from pcgrelay._core.link.shard cimport Shard, shard_event
from pcgrelay._core.session.session cimport Session, session_find
from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.stream.service_tables cimport Import, import_down_cause, import_is_down, tables_import
from pcgrelay._core.stream.stream cimport Stream


# entry: NULL, if there is no import of this number.
cdef void give_refusal(Shard* shard, int number, const Import* entry, const StreamOrder* order,
                       Cause cause) noexcept nogil:
    cdef uint32_t code = CODE_UNREACHABLE if cause == CAUSE_NO_ROUTE or cause == CAUSE_MARKING else CODE_BUSY
    cdef Event* event
    if order != NULL and (order.shadow != 0 or order.begun):
        setup_refused(shard, entry, order, code, cause)
        if order.shadow != 0:
            return
    event = shard_event(shard, EVENT_STREAM_END)
    counter_add(&shard.stats.count[COUNT_STREAMS_REFUSED], 1)
    counter_add(&shard.stats.cause[cause], 1)
    event.data.stream.opener = True
    event.data.stream.number = number
    event.data.stream.code = code
    event.data.stream.cause = cause
    event.data.stream.rule = RULE_NONE
    if order != NULL and order.begun:
        event.data.stream.outlet = order.outlet
        event.data.stream.moved = order.moved
        event.data.stream.setup_us = <uint32_t>(shard.now_us - order.started_us)
    if entry != NULL:
        event.data.stream.service_length = entry.service_length
        memcpy(event.data.stream.service, entry.service, entry.service_length)


cdef AcceptAnswer accept_application(Shard* shard, uint32_t number, int fd, const StreamOrder* order, Stream** stream,
                                     Elsewhere* elsewhere) noexcept nogil:
    cdef const Import* entry = tables_import(shard.tables, number)
    cdef Stream* fresh
    cdef Session* found = NULL
    cdef Flow* flow = NULL
    cdef uint32_t session = 0 if order == NULL else order.session
    cdef Cause cause
    stream[0] = NULL
    if entry == NULL:
        give_refusal(shard, <int>number, NULL, order, CAUSE_NO_ROUTE)
        return ACCEPT_REFUSED
    if (import_is_down(entry) and entry.outlets == NULL) or shard.draining:
        give_refusal(shard, <int>number, entry, order, CAUSE_DRAINING if shard.draining else import_down_cause(entry))
        return ACCEPT_REFUSED
    if entry.outlets != NULL:
        return accept_at_outlets(shard, entry, fd, order, session, stream)
    if order != NULL and order.shadow != 0:
        # It has nothing to try where there are no outlets.
        give_refusal(shard, <int>number, entry, order, CAUSE_NO_ROUTE)
        return ACCEPT_REFUSED
    cause = limits_of_import(shard, number, order == NULL or order.handed)
    if cause != CAUSE_DONE:
        give_refusal(shard, <int>number, entry, order, cause)
        return ACCEPT_REFUSED
    if session != 0:
        found = session_find(shard, session)
    if found == NULL:
        found = choice_session(shard, entry)
    if found != NULL:
        flow = choice_flow(shard, found, elsewhere)
        if flow == NULL:
            return ACCEPT_ELSEWHERE
    elif shard.waiting_count >= ACCEPT_WAITING_MAX:
        give_refusal(shard, <int>number, entry, order, CAUSE_LIMIT)
        return ACCEPT_REFUSED
    fresh = stream_of(shard, entry, fd, order)
    if fresh == NULL:
        return ACCEPT_REFUSED
    if found == NULL:
        stream_wait(shard, fresh, entry)
    elif not stream_join(shard, fresh, flow):
        # stream_join has reported the event; the socket is closed with the stream.
        return ACCEPT_TAKEN
    stream[0] = fresh
    return ACCEPT_TAKEN


cdef AcceptAnswer accept_at_outlets(Shard* shard, const Import* entry, int fd, const StreamOrder* order,
                                    uint32_t session, Stream** stream) noexcept nogil:
    cdef Stream* fresh
    cdef bint shadow = order != NULL and order.shadow != 0
    cdef Cause cause = CAUSE_LIMIT if shard.waiting_count >= ACCEPT_WAITING_MAX else CAUSE_DONE
    # The limits are the applications'.
    if cause == CAUSE_DONE and not shadow:
        cause = limits_of_import(shard, entry.number, order == NULL or order.handed)
    if cause != CAUSE_DONE:
        give_refusal(shard, <int>entry.number, entry, order, cause)
        return ACCEPT_REFUSED
    if entry.datagrams != NULL and not shadow:
        # Of datagrams a shadow alone has a socket of its own.
        give_refusal(shard, <int>entry.number, entry, order, CAUSE_NO_ROUTE)
        return ACCEPT_REFUSED
    fresh = stream_of(shard, entry, fd, order)
    if fresh == NULL:
        return ACCEPT_REFUSED
    if (entry.datagrams != NULL and not datagrams_shadow(shard, fresh, entry)) \
            or not outlets_begin(shard, fresh, entry, order, session):
        give_refusal(shard, <int>entry.number, entry, order, CAUSE_BUDGET)
        edge_give_up(shard, fresh)
        return ACCEPT_REFUSED
    stream[0] = fresh
    return ACCEPT_TAKEN


# The record of an application's connection; NULL: no memory, and the event was given.
cdef inline Stream* stream_of(Shard* shard, const Import* entry, int fd, const StreamOrder* order) noexcept nogil:
    cdef Stream* stream = edge_stream(shard, fd, True, entry.service, entry.service_length)
    if stream == NULL:
        give_refusal(shard, <int>entry.number, entry, order, CAUSE_BUDGET)
        return NULL
    stream.number = <int>entry.number
    stream.listener = shard.listener if order == NULL else order.listener
    edge_count(shard, stream, 1)
    stream.writable = True
    stream.readable = True
    limits_watch(shard, stream)
    return stream


# False: the stream was ended.
cdef inline bint stream_join(Shard* shard, Stream* stream, Flow* flow) noexcept nogil:
    cdef Cause cause = choice_join(shard, stream, flow, False)
    if cause != CAUSE_DONE:
        edge_abort(shard, stream, CODE_LIMIT if cause == CAUSE_LIMIT else CODE_BUSY, cause)
    return cause == CAUSE_DONE


# Let a stream wait for a route. The control plane is asked once for each table.
cdef void stream_wait(Shard* shard, Stream* stream, const Import* entry) noexcept nogil:
    cdef Event* event = shard_event(shard, EVENT_IMPORT_WANTED)
    event.data.import_number = entry.number
    edge_wait(shard, stream)
    counter_add(&shard.stats.count[COUNT_STREAMS_WAITED], 1)
    timer_set(&shard.wheel, &stream.timer, shard.now_us + shard.wait_us)


cdef void accept_tables_changed(Shard* shard) noexcept nogil:
    cdef Stream* stream = NULL
    cdef Stream* following = shard.waiting
    cdef Stream* rest
    cdef const Import* entry
    cdef Session* session
    cdef Flow* flow
    cdef Elsewhere elsewhere
    shard.waiting = NULL
    shard.waiting_count = 0
    # The list has the newest first; the streams are opened in the order in which they came.
    while following != NULL:
        rest = following.next
        following.next = stream
        stream = following
        following = rest
    while stream != NULL:
        following = stream.next
        stream.next = NULL
        entry = tables_import(shard.tables, <uint32_t>stream.number)
        session = NULL
        if entry != NULL and entry.outlets != NULL and stream.setup != NULL:
            outlets_wait_over(shard, stream, entry)
            stream = following
            continue
        if stream.datagram:
            # It waited at an import that had outlets.
            edge_abort(shard, stream, CODE_UNREACHABLE, CAUSE_NO_ROUTE)
            stream = following
            continue
        if entry == NULL or import_is_down(entry):
            edge_abort(shard, stream, CODE_UNREACHABLE, CAUSE_NO_ROUTE if entry == NULL else import_down_cause(entry))
            stream = following
            continue
        session = choice_session(shard, entry)
        flow = NULL if session == NULL else choice_flow(shard, session, &elsewhere)
        if flow == NULL:
            if session != NULL:
                # Its flows are on another worker, which gets the socket.
                timer_clear(&shard.wheel, &stream.timer)
                stream.session = elsewhere.session
                stream.elsewhere = <uint8_t>(elsewhere.worker + 1)
                edge_dirty(shard, stream)
            else:
                edge_wait(shard, stream)
        else:
            timer_clear(&shard.wheel, &stream.timer)
            stream_join(shard, stream, flow)
        stream = following
    outlets_tables_changed(shard)
