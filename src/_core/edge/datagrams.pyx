from libc.stdint cimport uint32_t, uint8_t
from libc.string cimport memcpy

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.buf cimport buf_drop
from pcgrelay._core.base.queue cimport queue_pop, queue_push
from pcgrelay._core.base.result cimport RESULT_OK
from pcgrelay._core.base.stats cimport (
    CAUSE_BUDGET, CAUSE_DONE, CAUSE_LIMIT, DROP_LIMIT, DROP_NO_ROUTE, DROP_NO_STREAM, DROP_QUEUE, DROP_RATE,
    DROP_SOURCE,
)
from pcgrelay._core.base.wire cimport CODE_BUSY, CODE_LIMIT
from pcgrelay._core.edge.associations cimport (
    ASSOCIATION_BYTES, ASSOCIATION_MOST, association_begin, association_drop, association_use,
)
from pcgrelay._core.edge.choice cimport choice_join, choice_of_datagrams
from pcgrelay._core.edge.clients cimport ClientSource, clients_add, clients_serves, clients_source
from pcgrelay._core.edge.limits cimport limits_is_full, limits_may_associate, limits_rests, limits_watch
from pcgrelay._core.edge.lists cimport edge_dirty
from pcgrelay._core.edge.rates cimport rates_have_room, rates_to_socket
from pcgrelay._core.edge.setups cimport setup_answered
from pcgrelay._core.edge.outlets cimport outlets_begin, outlets_serve_datagrams
from pcgrelay._core.edge.streams cimport edge_abort, edge_associated, edge_count, edge_stream, edge_watch_association
from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.stream.service_tables cimport DatagramImport, import_is_down, tables_import
from pcgrelay._core.stream.stream cimport ASSOCIATION_CLIENT, ASSOCIATION_LOCAL, LIFE_LIVE, stream_is_pending


cdef enum:
    DATAGRAM_NUMBER = 8         # bytes of a record before the datagram


# -- clients ----------------------------------------------------------------------------------------------------------

cdef Association* datagrams_admit(Shard* shard, Clients* clients, const uint8_t* client, const uint8_t* local,
                                  uint32_t hash, uint32_t n) noexcept nogil:
    cdef const Import* entry = tables_import(shard.tables, clients.number)
    cdef Flow* flow = NULL
    if clients.counts != 0:
        # Whoever comes is counted, as a connection that is refused is: an old address must not seem to be quiet.
        counter_add(&shard.stats.of_listener[clients.counts].accepted, 1)
    if entry == NULL or entry.datagrams == NULL or shard.draining \
            or (import_is_down(entry) and entry.outlets == NULL):
        association_drop(shard, NULL, DROP_NO_ROUTE)
        return NULL
    if not clients_serves(entry.datagrams, client):
        association_drop(shard, NULL, DROP_SOURCE)
        return NULL
    if limits_rests(shard, clients):
        # Most of a flood ends here: before anything is looked up for it.
        association_drop(shard, NULL, DROP_LIMIT)
        return NULL
    if not rates_have_room(shard, clients.number, n):
        # It would begin with nothing to send, and take a place and a socket at the target for that.
        association_drop(shard, NULL, DROP_RATE)
        return NULL
    if entry.outlets == NULL:
        flow = choice_of_datagrams(shard, entry, &clients.wanted_us)
    if flow == NULL and (entry.outlets == NULL or not outlets_serve_datagrams(shard, entry, &clients.wanted_us)):
        association_drop(shard, NULL, DROP_NO_ROUTE)
        return NULL
    if not make_room(shard, clients, entry.datagrams, client):
        association_drop(shard, NULL, DROP_LIMIT)
        return NULL
    return begin(shard, clients, entry, flow, client, local, hash)


# The association that was used least recently goes: of the client's address if that has all it may have, else of all.
# False: none of them is this worker's, or there were too many new ones.
cdef bint make_room(Shard* shard, Clients* clients, const DatagramImport* terms, const uint8_t* client) noexcept nogil:
    cdef ClientSource* source
    if not limits_may_associate(shard, clients, terms.each_second):
        return False
    source = clients_source(clients, client)
    if terms.of_source != 0 and source != NULL and source.count >= terms.of_source:
        edge_abort(shard, source.oldest.stream, CODE_LIMIT, CAUSE_LIMIT)
    elif limits_is_full(shard, clients.number, terms.associations, clients.count):
        if clients.oldest == NULL:
            return False
        edge_abort(shard, clients.oldest.stream, CODE_LIMIT, CAUSE_LIMIT)
    return True


cdef Association* begin(Shard* shard, Clients* clients, const Import* entry, Flow* flow, const uint8_t* client,
                        const uint8_t* local, uint32_t hash) noexcept nogil:
    cdef Association* fresh
    cdef Stream* stream = edge_stream(shard, -1, True, entry.service, entry.service_length)
    cdef uint32_t cause
    if stream == NULL:
        association_drop(shard, NULL, DROP_QUEUE)
        return NULL
    stream.datagram = True
    stream.number = <int>entry.number
    stream.writable = True
    stream.listener = clients.counts
    edge_count(shard, stream, 1)
    cause = CAUSE_BUDGET
    if association_begin(shard, stream, &entry.datagrams.terms):
        fresh = stream.association
        memcpy(fresh.client, client, ASSOCIATION_CLIENT)
        memcpy(fresh.local, local, ASSOCIATION_LOCAL)
        fresh.hash = hash
        fresh.serial = clients.serial
        if clients_add(clients, &shard.pool, fresh):
            if flow != NULL:
                cause = choice_join(shard, stream, flow, True)
            elif outlets_begin(shard, stream, entry, NULL, 0):
                cause = CAUSE_DONE
    if cause != CAUSE_DONE:
        edge_abort(shard, stream, CODE_LIMIT if cause == CAUSE_LIMIT else CODE_BUSY, cause)
        association_drop(shard, NULL, DROP_LIMIT if cause == CAUSE_LIMIT else DROP_QUEUE)
        return NULL
    if flow != NULL:
        edge_watch_association(shard, stream)
    limits_watch(shard, stream)
    return stream.association


cdef bint datagrams_shadow(Shard* shard, Stream* stream, const Import* entry) noexcept nogil:
    stream.datagram = True
    # It is read as its socket says, and not with the bytes of streams when frames are made.
    stream.readable = False
    return association_begin(shard, stream, &entry.datagrams.terms)


# -- received records -------------------------------------------------------------------------------------------------

cdef void datagrams_answered(Shard* shard, Association* association) noexcept nogil:
    cdef Stream* stream = association.stream
    if not association.answered:
        association.answered = True
        if stream_is_pending(stream):
            edge_associated(shard, stream)
        # It may end sooner now.
        edge_watch_association(shard, stream)
    if stream.unanswered:
        setup_answered(shard, stream)


cdef void datagrams_rx(Shard* shard, Stream* stream, const Record* record, Buf* owner) noexcept nogil:
    cdef Association* association = stream.association
    cdef uint32_t n = record.length - DATAGRAM_NUMBER
    if association == NULL or stream.life != LIFE_LIVE:
        association_drop(shard, NULL, DROP_NO_STREAM)
        return
    association_use(shard, association)
    if stream.opener:
        datagrams_answered(shard, association)
    if not rates_to_socket(shard, stream, n):
        association_drop(shard, association, DROP_RATE)
        return
    while stream.out.count != 0 \
            and (stream.out.count >= ASSOCIATION_MOST or stream.out.bytes + n > ASSOCIATION_BYTES):
        buf_drop(&shard.pool, queue_pop(&stream.out).buf)
        association_drop(shard, association, DROP_QUEUE)
    if queue_push(&stream.out, &shard.pool, <uint8_t*>record.data + DATAGRAM_NUMBER, n, NULL, NULL) != RESULT_OK:
        association_drop(shard, association, DROP_QUEUE)
        return
    shard.lent = True
    edge_dirty(shard, stream)
