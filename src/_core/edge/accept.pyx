from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.edge.streams cimport (
    EDGE_STREAMS_MAX, RULE_NONE, edge_abort, edge_count, edge_dirty, edge_is_full, edge_linger, edge_name, edge_ready,
    edge_stream, edge_wait,
)
from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.link.gauge cimport gauge_at
from pcgrelay._core.link.shard cimport Shard, shard_event
from pcgrelay._core.link.mailbox cimport EVENT_IMPORT_WANTED, EVENT_STREAM_END, Event
from pcgrelay._core.base.map cimport map_put
from pcgrelay._core.stream.service_tables cimport IMPORT_DOWN, Import, Route, tables_import
from pcgrelay._core.session.session cimport SESSION_GAUGE_STREAMS, Session, flow_session, session_find
from pcgrelay._core.base.stats cimport (
    CAUSE_BUDGET, CAUSE_DRAINING, CAUSE_LIMIT, CAUSE_NO_ROUTE, COUNT_STREAMS_REFUSED, COUNT_STREAMS_WAITED,
    STATS_SERVICES, Cause,
)
from pcgrelay._core.stream.stream cimport BREAK_NONE, TX_OPEN, Stream
from pcgrelay._core.base.timer cimport timer_clear, timer_set
from pcgrelay._core.base.wire cimport CODE_BUSY, CODE_LIMIT, CODE_UNREACHABLE, WIRE_EARLY


cdef enum:
    STREAM_ID_MAX = 0xfffffffd


cdef void give_refusal(Shard* shard, int number, const uint8_t* service, uint32_t length, Cause cause) noexcept nogil:
    cdef Event* event = shard_event(shard, EVENT_STREAM_END)
    counter_add(&shard.stats.count[COUNT_STREAMS_REFUSED], 1)
    counter_add(&shard.stats.cause[cause], 1)
    event.data.stream.opener = True
    event.data.stream.number = number
    event.data.stream.code = CODE_UNREACHABLE if cause == CAUSE_NO_ROUTE else CODE_BUSY
    event.data.stream.cause = cause
    event.data.stream.rule = RULE_NONE
    event.data.stream.service_length = length
    if length != 0:
        memcpy(event.data.stream.service, service, length)


cdef AcceptAnswer accept_application(Shard* shard, uint32_t number, int fd, uint32_t session, Stream** stream,
                                     Elsewhere* elsewhere) noexcept nogil:
    cdef const Import* entry = tables_import(shard.tables, number)
    cdef Stream* fresh
    cdef Session* found = NULL
    cdef Flow* flow = NULL
    stream[0] = NULL
    if entry == NULL:
        give_refusal(shard, <int>number, NULL, 0, CAUSE_NO_ROUTE)
        return ACCEPT_REFUSED
    if entry.state == IMPORT_DOWN or shard.draining:
        give_refusal(shard, <int>number, entry.service, entry.service_length,
                     CAUSE_DRAINING if shard.draining else CAUSE_NO_ROUTE)
        return ACCEPT_REFUSED
    if edge_is_full(shard, number, True, 1):
        give_refusal(shard, <int>number, entry.service, entry.service_length, CAUSE_LIMIT)
        return ACCEPT_REFUSED
    if session != 0:
        found = session_find(shard, session)
    if found == NULL:
        found = choose_session(shard, entry)
    if found != NULL:
        flow = choose_flow(shard, found, elsewhere)
        if flow == NULL:
            return ACCEPT_ELSEWHERE
    elif shard.waiting_count >= ACCEPT_WAITING_MAX:
        give_refusal(shard, <int>number, entry.service, entry.service_length, CAUSE_LIMIT)
        return ACCEPT_REFUSED
    fresh = edge_stream(shard, fd, True)
    if fresh == NULL:
        give_refusal(shard, <int>number, entry.service, entry.service_length, CAUSE_BUDGET)
        return ACCEPT_REFUSED
    fresh.number = <int>number
    edge_count(shard, fresh, 1)
    fresh.writable = True
    fresh.readable = True
    edge_name(fresh, entry.service, entry.service_length)
    if found == NULL:
        stream_wait(shard, fresh, entry)
    elif not stream_join(shard, fresh, flow):
        # stream_join has reported the event; the socket is closed with the stream.
        return ACCEPT_TAKEN
    stream[0] = fresh
    return ACCEPT_TAKEN


# Choose by weight among the routes with the least precedence whose session is up; one of weight 0 only if there is no
# other.
cdef Session* choose_session(Shard* shard, const Import* entry) noexcept nogil:
    cdef uint32_t i, best = 256, total = 0, fit = 0
    cdef uint64_t ticket
    cdef uint32_t* turn = &shard.turns[entry.number % STATS_SERVICES]
    cdef const Route* way
    cdef Session* session
    cdef Session* spare = NULL
    for i in range(entry.route_count):
        way = &entry.routes[i]
        session = session_find(shard, way.session)
        if session == NULL or way.precedence > best:
            continue
        if way.precedence < best:
            best = way.precedence
            total = 0
            fit = 0
            spare = NULL
        total += way.weight
        fit += 1
        if spare == NULL:
            spare = session
    if total == 0 or fit == 1:
        return spare
    turn[0] += 1
    # A stride without a common factor with small totals spreads the turns over the weights.
    ticket = (turn[0] * <uint64_t>7919) % total
    for i in range(entry.route_count):
        way = &entry.routes[i]
        session = session_find(shard, way.session)
        if session == NULL or way.precedence != best:
            continue
        if ticket < way.weight:
            return session
        ticket -= way.weight
    return spare


# The flow of this session for a new stream; NULL: it is elsewhere.
cdef Flow* choose_flow(Shard* shard, Session* session, Elsewhere* elsewhere) noexcept nogil:
    cdef uint32_t _, index
    for _ in range(session.flow_count):
        session.turn += 1
        index = session.turn % session.flow_count
        if session.flows[index] != NULL:
            return session.flows[index]
    session.turn += 1
    elsewhere.session = session.number
    elsewhere.worker = (session.turn % session.flow_count) % shard.workers
    return NULL


# Let a stream wait for a route. The control plane is asked once for each table.
cdef void stream_wait(Shard* shard, Stream* stream, const Import* entry) noexcept nogil:
    cdef Event* event = shard_event(shard, EVENT_IMPORT_WANTED)
    event.data.import_number = entry.number
    edge_wait(shard, stream)
    counter_add(&shard.stats.count[COUNT_STREAMS_WAITED], 1)
    timer_set(&shard.wheel, &stream.timer, shard.now_us + shard.wait_us)


cdef bint stream_join(Shard* shard, Stream* stream, Flow* flow) noexcept nogil:
    cdef Session* session = flow_session(flow)
    stream.session = session.number
    if flow.tx_highest > STREAM_ID_MAX or flow.streams.count >= EDGE_STREAMS_MAX:
        edge_abort(shard, stream, CODE_LIMIT, CAUSE_LIMIT)
        return False
    stream.flow = flow
    stream.id = flow.tx_highest
    flow.tx_highest += 2
    if not map_put(&flow.streams, stream.id, stream):
        stream.flow = NULL
        edge_abort(shard, stream, CODE_BUSY, CAUSE_BUDGET)
        return False
    counter_add(&gauge_at(session.gauge, shard.index)[SESSION_GAUGE_STREAMS], 1)
    stream.tx.limit = WIRE_EARLY
    stream.say = TX_OPEN
    if stream.broken != BREAK_NONE:
        edge_linger(shard, stream)
    edge_ready(shard, stream)
    return True


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
        if entry == NULL or entry.state == IMPORT_DOWN:
            edge_abort(shard, stream, CODE_UNREACHABLE, CAUSE_NO_ROUTE)
            stream = following
            continue
        session = choose_session(shard, entry)
        flow = NULL if session == NULL else choose_flow(shard, session, &elsewhere)
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
