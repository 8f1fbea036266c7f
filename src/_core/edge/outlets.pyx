from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy, memset

from pcgrelay._core.base.atomics cimport atomic_add, counter_add
from pcgrelay._core.base.stats cimport (
    CAUSE_BUDGET, CAUSE_DONE, CAUSE_FAR_RESET, CAUSE_LIMIT, CAUSE_MARKING, CAUSE_NOT_ALLOWED, CAUSE_NO_ROUTE,
    CAUSE_TARGET_UNRESOLVED, COUNT_STREAMS_MOVED, COUNT_STREAMS_WAITED, Cause,
)
from pcgrelay._core.base.timer cimport timer_clear, timer_set
from pcgrelay._core.base.wire cimport CODE_BUSY, CODE_REFUSED, CODE_UNREACHABLE
from pcgrelay._core.edge.choice cimport Elsewhere, choice_flow, choice_join, choice_of_datagrams, choice_session
from pcgrelay._core.edge.clients cimport Clients
from pcgrelay._core.edge.direct cimport direct_begin
from pcgrelay._core.edge.lists cimport edge_dirty, edge_wait
from pcgrelay._core.edge.setups cimport (
    setup_begin, setup_failed, setup_figures, setup_take, setup_try,
)
from pcgrelay._core.edge.streams cimport RULE_NONE, edge_abort, edge_count
from pcgrelay._core.link.mailbox cimport EVENT_IMPORT_WANTED, Event, StreamOrder
from pcgrelay._core.link.shard cimport Shard, shard_event
from pcgrelay._core.session.session cimport Session, session_find
from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.stream.meter cimport METER_ACTIVE, METER_MOVED, meter_count, meter_hold
from pcgrelay._core.stream.service_tables cimport (
    IMPORT_PENDING, OUTLET_DIRECT, OUTLET_ENDED, OUTLET_FORBIDDEN, OUTLET_GATEWAY, TABLES_SLOTS, Import, Outlet,
    OutletKind, Outlets, import_down_cause, import_is_down, tables_import,
)
from pcgrelay._core.stream.stream cimport ASSOCIATION_CLIENT, LIFE_LIVE, SETUP_FAILED, SETUP_UP, Setup, Stream


cdef enum:
    NO_OUTLET = 255
    PORT_AT = 2
    PORT_LENGTH = 2
    SETUP_US = 10000000         # for all attempts, where the tables do not say
    # Clients are forged without effort: most of the places in which streams wait stay free of them.
    WAITING_WITH_DATAGRAMS = 512


cdef bint outlets_begin(Shard* shard, Stream* stream, const Import* entry, const StreamOrder* order,
                        uint32_t session) noexcept nogil:
    cdef Outlets* outlets = entry.outlets
    cdef Setup* setup
    cdef uint32_t outlet
    if not setup_begin(shard, stream, outlets.meter):
        return False
    setup = stream.setup
    if order == NULL or order.handed:
        if stream.association != NULL:
            name_client(setup, stream.association.client, ASSOCIATION_CLIENT)
        elif order == NULL:
            name_client(setup, shard.client, shard.client_length)
        outlet = outlets.slots[<uint32_t>atomic_add(&outlets.meter.turn, 1) % TABLES_SLOTS]
    else:
        if order.shadow != 0:
            # It takes no place of an application.
            edge_count(shard, stream, -1)
        setup_take(setup, order)
        outlet = order.outlet
    setup.deadline_us = setup.started_us + outlets.deadline_us
    if order != NULL and order.begun:
        # It was tried there; here is where the flow is.
        setup.attempt_us = shard.now_us
    else:
        setup_try(shard, setup, outlet)
    go_on(shard, stream, session)
    return True


# The address alone, for a client has many ports: the second field of a socket address of IPv4 and IPv6.
cdef void name_client(Setup* setup, const uint8_t* address, uint32_t length) noexcept nogil:
    if length <= sizeof(setup.client):
        memcpy(setup.client, address, length)
        memset(setup.client + PORT_AT, 0, PORT_LENGTH)


cdef void outlets_lead_on(Shard* shard, Stream* stream) noexcept nogil:
    cdef const Import* entry = tables_import(shard.tables, <uint32_t>stream.number)
    cdef Setup* setup = stream.setup
    cdef uint32_t outlet
    if stream.life != LIFE_LIVE or setup == NULL or setup.state != SETUP_FAILED:
        return
    outlet = next_outlet(shard, setup, entry)
    if outlet == NO_OUTLET:
        stream.rule = setup.first_rule
        edge_abort(shard, stream, setup.first_code, setup.first_cause)
        return
    move_to(shard, setup, outlet)
    go_on(shard, stream, 0)


cdef void move_to(Shard* shard, Setup* setup, uint32_t outlet) noexcept nogil:
    meter_count(setup_figures(shard, setup), METER_MOVED, 1)
    counter_add(&shard.stats.count[COUNT_STREAMS_MOVED], 1)
    setup.moved += 1
    setup_try(shard, setup, outlet)


# What is tried next: the first of the order that was not tried, while time is left.
cdef uint32_t next_outlet(const Shard* shard, const Setup* setup, const Import* entry) noexcept nogil:
    cdef const Outlets* outlets
    cdef uint32_t i
    if entry == NULL or entry.outlets == NULL or setup.shadow != 0 or shard.draining \
            or shard.now_us >= setup.deadline_us:
        return NO_OUTLET
    outlets = entry.outlets
    if setup.cause == CAUSE_FAR_RESET and setup.code == CODE_REFUSED and not outlets.leads_denied:
        return NO_OUTLET
    for i in range(outlets.order_count):
        if setup.tried & (1 << outlets.order[i]) == 0:
            return outlets.order[i]
    return NO_OUTLET


# Begin the attempt on the outlet that the set-up is at, and on the next ones while attempts fail at once.
cdef void go_on(Shard* shard, Stream* stream, uint32_t session) noexcept nogil:
    cdef const Import* entry = tables_import(shard.tables, <uint32_t>stream.number)
    cdef Setup* setup = stream.setup
    cdef uint32_t outlet
    cdef Cause cause
    while True:
        cause = attempt(shard, stream, entry, session)
        if cause == CAUSE_DONE:
            return
        setup_failed(shard, setup, code_of(cause), cause, RULE_NONE)
        outlet = next_outlet(shard, setup, entry)
        if outlet == NO_OUTLET:
            # The worker may not have watched the socket yet, and lets go of it as of any that failed.
            edge_dirty(shard, stream)
            return
        move_to(shard, setup, outlet)


cdef uint32_t code_of(Cause cause) noexcept nogil:
    return CODE_BUSY if cause == CAUSE_LIMIT or cause == CAUSE_BUDGET else CODE_UNREACHABLE


# CAUSE_DONE: the attempt is under way.
cdef Cause attempt(Shard* shard, Stream* stream, const Import* entry, uint32_t session) noexcept nogil:
    cdef const Outlet* outlet
    if entry == NULL or entry.outlets == NULL or stream.setup.outlet >= entry.outlets.count:
        return CAUSE_NO_ROUTE
    outlet = &entry.outlets.outlet[stream.setup.outlet]
    if outlet.kind == OUTLET_GATEWAY:
        if stream.datagram:
            return attempt_association(shard, stream, entry)
        return attempt_gateway(shard, stream, entry, session)
    if outlet.kind != OUTLET_DIRECT:
        return CAUSE_MARKING if outlet.kind == OUTLET_FORBIDDEN else CAUSE_NO_ROUTE
    if outlet.target_count == 0:
        return CAUSE_TARGET_UNRESOLVED
    if stream.datagram:
        # For no answer is due: within this time it may be refused.
        timer_set(&shard.wheel, &stream.timer, due_us(shard, stream.setup, entry))
    return CAUSE_DONE if direct_begin(shard, stream, due_us(shard, stream.setup, entry)) else CAUSE_BUDGET


# Until when an attempt has to be answered: an application's last one has all the time that is left.
cdef uint64_t due_us(const Shard* shard, const Setup* setup, const Import* entry) noexcept nogil:
    cdef uint64_t due = shard.now_us + entry.outlets.outlet[setup.outlet].patience_us
    if (next_outlet(shard, setup, entry) == NO_OUTLET and setup.shadow == 0) or due > setup.deadline_us:
        return setup.deadline_us
    return due


cdef Cause attempt_gateway(Shard* shard, Stream* stream, const Import* entry, uint32_t number) noexcept nogil:
    cdef Session* session = NULL
    cdef Flow* flow
    cdef Elsewhere elsewhere
    cdef Cause cause
    if import_is_down(entry):
        return import_down_cause(entry)
    if number != 0:
        session = session_find(shard, number)
    if session == NULL:
        session = choice_session(shard, entry)
    if session == NULL:
        return wait_for_session(shard, stream, entry)
    flow = choice_flow(shard, session, &elsewhere)
    if flow == NULL:
        stream.session = elsewhere.session
        stream.elsewhere = <uint8_t>(elsewhere.worker + 1)
        edge_dirty(shard, stream)
        return CAUSE_DONE
    cause = choice_join(shard, stream, flow, entry.outlets.careful)
    if cause == CAUSE_DONE:
        timer_set(&shard.wheel, &stream.timer, due_us(shard, stream.setup, entry))
    return cause


cdef Cause attempt_association(Shard* shard, Stream* stream, const Import* entry) noexcept nogil:
    cdef Clients* clients = <Clients*>stream.association.clients
    cdef uint64_t never = 0
    cdef Flow* flow
    cdef Cause cause
    if import_is_down(entry):
        return import_down_cause(entry)
    flow = choice_of_datagrams(shard, entry, &never if clients == NULL else &clients.wanted_us)
    if flow == NULL:
        return wait_with_datagrams(shard, stream, entry)
    cause = choice_join(shard, stream, flow, True)
    if cause == CAUSE_DONE:
        timer_set(&shard.wheel, &stream.timer, due_us(shard, stream.setup, entry))
    return cause


# A client that asks again needs no session to be waited for. But where the tables say that it is, nothing is led to
# another outlet meanwhile; its datagrams grow old.
cdef Cause wait_with_datagrams(Shard* shard, Stream* stream, const Import* entry) noexcept nogil:
    if entry.state != IMPORT_PENDING or entry.outlets.wait_us == 0 or stream.setup.shadow != 0 \
            or shard.waiting_count >= WAITING_WITH_DATAGRAMS:
        return CAUSE_NO_ROUTE
    edge_wait(shard, stream)
    timer_set(&shard.wheel, &stream.timer, shard.now_us + entry.outlets.wait_us)
    return CAUSE_DONE


cdef bint outlets_serve_datagrams(Shard* shard, const Import* entry, uint64_t* wanted_us) noexcept nogil:
    cdef const Outlet* outlet
    cdef uint32_t i
    for i in range(entry.outlets.count):
        outlet = &entry.outlets.outlet[i]
        if outlet.kind == OUTLET_DIRECT and outlet.target_count != 0:
            return True
    return not import_is_down(entry) and choice_of_datagrams(shard, entry, wanted_us) != NULL


# The control plane is asked for a session in any case; it is waited for only where the tables say so, or where nothing
# else is left to an application.
cdef Cause wait_for_session(Shard* shard, Stream* stream, const Import* entry) noexcept nogil:
    cdef Event* event = shard_event(shard, EVENT_IMPORT_WANTED)
    cdef uint64_t due = shard.now_us + entry.outlets.wait_us
    event.data.import_number = entry.number
    if next_outlet(shard, stream.setup, entry) == NO_OUTLET and stream.setup.shadow == 0:
        due = stream.setup.deadline_us
    if due <= shard.now_us:
        return CAUSE_NO_ROUTE
    edge_wait(shard, stream)
    counter_add(&shard.stats.count[COUNT_STREAMS_WAITED], 1)
    timer_set(&shard.wheel, &stream.timer, due)
    return CAUSE_DONE


cdef void outlets_wait_over(Shard* shard, Stream* stream, const Import* entry) noexcept nogil:
    if not import_is_down(entry) and choice_session(shard, entry) == NULL:
        edge_wait(shard, stream)
        return
    timer_clear(&shard.wheel, &stream.timer)
    go_on(shard, stream, 0)


# Whatever state either half is in, half-closed or let go: what waits to be written to a target goes there no more.
cdef void end_both(Shard* shard, Stream* stream, Cause cause) noexcept nogil:
    cdef Stream* partner = stream.partner
    edge_abort(shard, stream, CODE_REFUSED, cause)
    if partner != NULL:
        edge_abort(shard, partner, CODE_REFUSED, cause)


cdef void outlets_tables_changed(Shard* shard) noexcept nogil:
    cdef OutletKind kind
    cdef Setup* setup = shard.setups
    cdef Setup* following
    cdef const Import* entry
    while setup != NULL:
        following = setup.next
        entry = tables_import(shard.tables, <uint32_t>setup.stream.number)
        if entry == NULL:
            edge_abort(shard, setup.stream, CODE_REFUSED, CAUSE_NOT_ALLOWED)
        elif entry.outlets != NULL and setup.outlet < entry.outlets.count:
            if setup.meter == NULL:
                setup.meter = meter_hold(entry.outlets.meter)
                meter_count(setup_figures(shard, setup), METER_ACTIVE, setup.state == SETUP_UP)
            kind = entry.outlets.outlet[setup.outlet].kind
            if kind == OUTLET_FORBIDDEN:
                end_both(shard, setup.stream, CAUSE_MARKING)
            elif kind == OUTLET_ENDED:
                end_both(shard, setup.stream, CAUSE_NOT_ALLOWED)
        setup = following
