from libc.stdint cimport UINT32_MAX, uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy, memset

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.buf cimport pool_alloc, pool_free
from pcgrelay._core.base.handle cimport HANDLE_STREAM
from pcgrelay._core.base.map cimport map_put, map_remove
from pcgrelay._core.base.stats cimport (
    CAUSE_APPLICATION_RESET, CAUSE_BUDGET, CAUSE_CONNECT_FORBIDDEN, CAUSE_DESCRIPTORS, CAUSE_DONE, CAUSE_DRAINING,
    CAUSE_DURATION, CAUSE_FAR_RESET, CAUSE_IDLE, CAUSE_LIMIT, CAUSE_MARKING, CAUSE_NOT_ALLOWED, CAUSE_NO_LOCAL_PORT,
    CAUSE_NO_ROUTE, CAUSE_NO_SOURCE, CAUSE_SESSION_LOST, CAUSE_SHUTDOWN, CAUSE_TARGET_SILENT, CAUSE_TARGET_UNRESOLVED,
    CAUSE_WAITED_TOO_LONG, Cause,
)
from pcgrelay._core.base.timer cimport timer_clear
from pcgrelay._core.base.wire cimport CODE_LIMIT, CODE_REFUSED, CODE_UNREACHABLE
from pcgrelay._core.edge.associations cimport association_again, association_forget
from pcgrelay._core.edge.lists cimport edge_dirty, edge_ready
from pcgrelay._core.link.gauge cimport gauge_at
from pcgrelay._core.link.mailbox cimport EVENT_SETUP_ENDED, Event, SetupEvent, StreamEndEvent, StreamOrder
from pcgrelay._core.link.shard cimport Shard, flow_lane, shard_event
from pcgrelay._core.session.session cimport SESSION_GAUGE_STREAMS, flow_session
from pcgrelay._core.stream.flow cimport Flow, stream_flow
from pcgrelay._core.stream.stream_list cimport list_remove
from pcgrelay._core.stream.meter cimport (
    METER_ACTIVE, METER_ANSWER, METER_AWAY, METER_BULK, METER_CUT, METER_DENIED, METER_EARLY, METER_EARLY_US,
    METER_LEFT, METER_LOCAL, METER_LOST, METER_RATE, METER_RECEIVED, METER_REFUSED, METER_SENT, METER_SETUP,
    METER_SILENT, METER_TRIED, METER_UP, Figures, Meter, meter_at, meter_count, meter_drop, meter_hold, meter_observe,
)
from pcgrelay._core.stream.service_tables cimport Import
from pcgrelay._core.stream.stream cimport (
    BREAK_LEFT, FAR_OPEN, LIFE_FINISHED, PLACE_READY, SETUP_FAILED, SETUP_TRYING, SETUP_UP, STREAM_AGAIN,
    STREAM_FORGET, STREAM_HALF_REMOTE, STREAM_IDLE, TX_RESET, Setup, Stream, stream_free, stream_may, stream_new,
    stream_restore, stream_step,
)


cdef enum:
    NO_RULE = 0xffff            # RULE_NONE of `streams`, which stands above


cdef bint setup_begin(Shard* shard, Stream* stream, Meter* meter) noexcept nogil:
    cdef Setup* setup = <Setup*>pool_alloc(&shard.pool, sizeof(Setup))
    if setup == NULL:
        return False
    setup.stream = stream
    setup.meter = meter_hold(meter)
    setup.started_us = shard.now_us
    setup.next = shard.setups
    if setup.next != NULL:
        setup.next.prev = setup
    shard.setups = setup
    stream.setup = setup
    return True


cdef void setup_end(Shard* shard, Stream* stream) noexcept nogil:
    cdef Setup* setup = stream.setup
    if setup == NULL:
        return
    if setup.state == SETUP_UP:
        count_end(shard, stream, setup)
    elif setup.state == SETUP_TRYING:
        setup_failed(shard, setup, stream.code, stream.cause, stream.rule)
    setup_drop(shard, stream)


cdef void setup_drop(Shard* shard, Stream* stream) noexcept nogil:
    cdef Setup* setup = stream.setup
    if setup == NULL:
        return
    if shard.walked == setup:
        shard.walked = setup.next
    if setup.prev == NULL:
        shard.setups = setup.next
    else:
        setup.prev.next = setup.next
    if setup.next != NULL:
        setup.next.prev = setup.prev
    stream.setup = NULL
    meter_drop(setup.meter)
    pool_free(&shard.pool, setup, sizeof(Setup))


# Of a stream that was up.
cdef void count_end(Shard* shard, const Stream* stream, const Setup* setup) noexcept nogil:
    cdef Figures* figures = setup_figures(shard, setup)
    cdef uint64_t received = stream.rx.consumed - stream.dropped
    cdef uint64_t moved = stream.tx.sent + received
    cdef uint64_t open_us = shard.now_us - setup.up_us
    cdef bint is_early
    meter_count(figures, METER_ACTIVE, <uint64_t>-1)
    meter_count(figures, METER_SENT, stream.tx.sent)
    meter_count(figures, METER_RECEIVED, received)
    if moved >= METER_BULK and open_us != 0:
        meter_observe(figures, METER_RATE, moved / 1024 * 1000000 / open_us)
    if stream.datagram and stream.code == CODE_LIMIT:
        # The far edge has made room for another client: an association is lost there, and no way to it.
        return
    if (stream.cause == CAUSE_FAR_RESET or stream.cause == CAUSE_SESSION_LOST) and stream.broken != BREAK_LEFT:
        is_early = stream.unanswered and open_us <= METER_EARLY_US
        count_break(shard, setup, METER_EARLY if is_early else METER_CUT)


cdef void setup_rx_fin(Shard* shard, Stream* stream) noexcept nogil:
    cdef Setup* setup = stream.setup
    if not stream.unanswered or setup == NULL:
        return
    stream.unanswered = False
    if stream.state == STREAM_HALF_REMOTE and shard.now_us - setup.up_us <= METER_EARLY_US:
        count_break(shard, setup, METER_EARLY)


# Whose stream it was is told, for one client that breaks its own streams says little of the outlet.
cdef void count_break(Shard* shard, const Setup* setup, uint32_t figure) noexcept nogil:
    meter_count(setup_figures(shard, setup), figure, 1)
    if setup.shadow == 0:
        tell(shard, setup, figure)


cdef Figures* setup_figures(const Shard* shard, const Setup* setup) noexcept nogil:
    return meter_at(setup.meter, shard.index, setup.outlet, setup.shadow != 0)


cdef void setup_try(Shard* shard, Setup* setup, uint32_t outlet) noexcept nogil:
    setup.outlet = <uint8_t>outlet
    setup.tried |= <uint8_t>(1 << outlet)
    setup.attempt_us = shard.now_us
    setup.state = SETUP_TRYING
    meter_count(setup_figures(shard, setup), METER_TRIED, 1)


cdef void setup_up(Shard* shard, Setup* setup) noexcept nogil:
    cdef Figures* figures = setup_figures(shard, setup)
    setup.state = SETUP_UP
    setup.up_us = shard.now_us
    setup.stream.unanswered = True
    meter_count(figures, METER_UP, 1)
    meter_count(figures, METER_ACTIVE, 1)
    if setup.stream.datagram:
        association_forget(shard, setup.stream.association)
    if not setup.stream.datagram or setup.stream.association.answered:
        meter_observe(figures, METER_SETUP, shard.now_us - setup.attempt_us)
    if setup.shadow != 0:
        tell(shard, setup, METER_UP)


# The set-up that ended in this way is at its outlet still.
cdef SetupEvent* tell(Shard* shard, const Setup* setup, uint32_t outcome) noexcept nogil:
    cdef Event* event = shard_event(shard, EVENT_SETUP_ENDED)
    cdef SetupEvent* told = &event.data.setup
    told.import_number = <uint32_t>setup.stream.number
    told.session = setup.stream.session
    told.outcome = outcome
    told.rule = NO_RULE
    told.elapsed_us = <uint32_t>(shard.now_us - setup.attempt_us)
    told.outlet = setup.outlet
    told.shadow = setup.shadow
    memcpy(told.client, setup.client, sizeof(told.client))
    return told


cdef void setup_refused(Shard* shard, const Import* entry, const StreamOrder* order, uint32_t code,
                        Cause cause) noexcept nogil:
    cdef Event* event = shard_event(shard, EVENT_SETUP_ENDED)
    cdef SetupEvent* told = &event.data.setup
    told.import_number = order.import_number
    told.outcome = METER_AWAY if cause == CAUSE_NO_ROUTE or cause == CAUSE_MARKING else METER_LOCAL
    if order.begun and entry != NULL and entry.outlets != NULL:
        meter_count(meter_at(entry.outlets.meter, shard.index, order.outlet, order.shadow != 0), told.outcome, 1)
    told.code = code
    told.cause = cause
    told.rule = NO_RULE
    told.outlet = order.outlet
    told.shadow = order.shadow
    memcpy(told.client, order.client, sizeof(told.client))


cdef uint32_t outcome_of(const Stream* stream, uint32_t code, Cause cause) noexcept nogil:
    cdef Flow* flow = stream_flow(stream)
    if cause == CAUSE_APPLICATION_RESET or cause == CAUSE_DONE or cause == CAUSE_DURATION or cause == CAUSE_IDLE:
        # What ends in order, or has lasted as long as it may, did not fail.
        return METER_LEFT
    if cause == CAUSE_SESSION_LOST:
        return METER_LOST
    if cause == CAUSE_NO_ROUTE or cause == CAUSE_TARGET_UNRESOLVED or cause == CAUSE_WAITED_TOO_LONG \
            or (cause == CAUSE_MARKING and code == CODE_UNREACHABLE):
        # The last one: none of its ways is cleared. What is REFUSED for its marking was under way on this outlet.
        return METER_AWAY
    if cause == CAUSE_TARGET_SILENT:
        # A session that has lost its path is no silence of the far side.
        return METER_AWAY if flow != NULL and flow_lane(flow) == NULL else METER_SILENT
    if cause == CAUSE_BUDGET or cause == CAUSE_LIMIT or cause == CAUSE_DESCRIPTORS or cause == CAUSE_NO_LOCAL_PORT \
            or cause == CAUSE_CONNECT_FORBIDDEN or cause == CAUSE_NO_SOURCE or cause == CAUSE_SHUTDOWN \
            or cause == CAUSE_NOT_ALLOWED or cause == CAUSE_MARKING or cause == CAUSE_DRAINING:
        # The last four are this node's own end, and its own tables: a far edge's rules come as FAR_RESET.
        return METER_LOCAL
    return METER_DENIED if cause == CAUSE_FAR_RESET and code == CODE_REFUSED else METER_REFUSED


cdef void setup_failed(Shard* shard, Setup* setup, uint32_t code, Cause cause, uint32_t rule) noexcept nogil:
    cdef uint32_t outcome = outcome_of(setup.stream, code, cause)
    cdef SetupEvent* told = tell(shard, setup, outcome)
    meter_count(setup_figures(shard, setup), outcome, 1)
    setup.state = SETUP_FAILED
    setup.code = code
    setup.cause = cause
    if setup.first_cause == CAUSE_DONE:
        setup.first_code = code
        setup.first_cause = cause
        setup.first_rule = rule
    told.code = code
    told.cause = cause
    told.rule = rule


cdef void setup_answered(Shard* shard, Stream* stream) noexcept nogil:
    cdef Setup* setup = stream.setup
    stream.unanswered = False
    stream.first_us = <uint32_t>min(max(shard.now_us - stream.opened_us, 1), UINT32_MAX)
    if setup != NULL:
        # UDP sets nothing up, so that both times of datagrams are those of the first answer.
        meter_observe(setup_figures(shard, setup), METER_ANSWER,
                      shard.now_us - (setup.attempt_us if stream.datagram else setup.up_us))


cdef void setup_report(const Shard* shard, const Stream* stream, StreamEndEvent* end) noexcept nogil:
    cdef const Setup* setup = stream.setup
    if setup == NULL:
        return
    end.outlet = setup.outlet
    end.moved = setup.moved
    end.shadow = setup.shadow
    end.up = setup.state == SETUP_UP
    end.setup_us = <uint32_t>((setup.up_us if end.up else shard.now_us) - setup.started_us)


cdef void setup_give(const Setup* setup, StreamOrder* order) noexcept nogil:
    order.begun = True
    order.shadow = setup.shadow
    order.outlet = setup.outlet
    order.tried = setup.tried
    order.moved = setup.moved
    memcpy(order.client, setup.client, sizeof(order.client))
    order.first_code = setup.first_code
    order.first_cause = setup.first_cause
    order.first_rule = setup.first_rule
    order.started_us = setup.started_us


cdef void setup_take(Setup* setup, const StreamOrder* order) noexcept nogil:
    setup.shadow = order.shadow
    setup.outlet = order.outlet
    if not order.begun:
        return
    setup.tried = order.tried
    setup.moved = order.moved
    memcpy(setup.client, order.client, sizeof(setup.client))
    setup.first_code = order.first_code
    setup.first_cause = order.first_cause
    setup.first_rule = order.first_rule
    setup.started_us = order.started_us


cdef void setup_again(Shard* shard, Stream* stream) noexcept nogil:
    timer_clear(&shard.wheel, &stream.timer)
    if stream.association != NULL:
        association_again(shard, stream)
    shard.windows -= stream.rx.limit - stream.rx.consumed
    memset(&stream.tx, 0, sizeof(stream.tx))
    memset(&stream.rx, 0, sizeof(stream.rx))
    if not stream_may(stream, STREAM_AGAIN):
        # An association that was accepted, and was never answered: that is forgotten.
        stream_step(stream, STREAM_FORGET)
    stream_step(stream, STREAM_AGAIN)
    stream.flow = NULL
    stream.id = 0
    stream.session = 0
    stream.say = 0
    stream.far = FAR_OPEN
    stream.rule = NO_RULE
    edge_dirty(shard, stream)


# Take a stream out of its flow. Where the far edge was told of it and does not know the end, a record without a socket
# stays in its place to say RESET. False: no memory for that.
cdef bint setup_leave_flow(Shard* shard, Stream* stream, uint32_t code) noexcept nogil:
    cdef Flow* flow = stream_flow(stream)
    cdef Stream* rest = NULL
    if stream.state != STREAM_IDLE and stream.far == FAR_OPEN:
        rest = stream_new(&shard.pool, 0)
        if rest == NULL:
            return False
    if stream.place == PLACE_READY:
        list_remove(&flow.small, stream)
        list_remove(&flow.bulk, stream)
    map_remove(&flow.streams, stream.id)
    counter_add(&gauge_at(flow_session(flow).gauge, shard.index)[SESSION_GAUGE_STREAMS], -1)
    if rest == NULL:
        return True
    rest.handle.kind = HANDLE_STREAM
    rest.handle.fd = -1
    rest.timer.owner = rest
    rest.opener = True
    rest.number = stream.number
    rest.flow = flow
    rest.id = stream.id
    rest.session = stream.session
    rest.life = LIFE_FINISHED
    rest.datagram = stream.datagram
    rest.code = code
    rest.rule = NO_RULE
    rest.say = TX_RESET
    stream_restore(rest, stream.state)
    if not map_put(&flow.streams, rest.id, rest):
        # Its place was freed just now.
        stream_free(&shard.pool, rest)
        return True
    edge_ready(shard, rest)
    return True
