from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.buf cimport Buf, buf_alloc, buf_data, buf_drop, pool_alloc, pool_free
from pcgrelay._core.base.stats cimport (
    COUNT_APPLICATION_RECEIVED, COUNT_APPLICATION_SENT, COUNT_DATAGRAMS_RECEIVED, COUNT_DATAGRAMS_SENT, DROP_AGE,
    DROP_CAUSES, DROP_NO_STREAM, DROP_QUEUE, DROP_RATE, DROP_TOO_LONG, DROP_UNREACHABLE,
)
from pcgrelay._core.base.wire cimport WIRE_BODY_MAX, WIRE_RECORD
from pcgrelay._core.edge.clients cimport clients_remove, clients_use
from pcgrelay._core.edge.lists cimport edge_activate, edge_dirty
from pcgrelay._core.edge.rates cimport rates_from_socket
from pcgrelay._core.frame.record cimport record_datagram
from pcgrelay._core.stream.flow cimport stream_flow
from pcgrelay._core.stream.stream cimport SETUP_FAILED, SETUP_TRYING, AssociationList, Setup


cdef enum:
    RECORD_DATAGRAM_HEAD = WIRE_RECORD + 8


cdef bint association_begin(Shard* shard, Stream* stream, const DatagramTerms* terms) noexcept nogil:
    cdef Association* self = <Association*>pool_alloc(&shard.pool, sizeof(Association))
    if self == NULL:
        return False
    self.stream = stream
    self.traffic_us = shard.now_us
    association_terms(self, terms)
    stream.association = self
    return True


# What waits for its flow, or for its socket, goes nowhere any more. Who has no socket has not reached its target.
cdef void association_leave(Shard* shard, Stream* stream) noexcept nogil:
    cdef Association* self = stream.association
    cdef uint32_t cause = DROP_NO_STREAM if stream.opener or stream.handle.fd >= 0 else DROP_UNREACHABLE
    # No outlet took them.
    cdef bint refused = stream.setup != NULL and stream.setup.state == SETUP_FAILED
    cdef uint32_t _
    if self == NULL:
        return
    while self.first != NULL:
        drop_oldest(shard, self, DROP_UNREACHABLE if refused else DROP_NO_STREAM)
    for _ in range(stream.out.count):
        association_drop(shard, self, cause)


cdef void association_end(Shard* shard, Stream* stream, StreamEndEvent* end) noexcept nogil:
    cdef Association* self = stream.association
    cdef uint32_t i
    if self == NULL:
        return
    if self.listed:
        unlist(&stream_flow(stream).datagrams, self)
    association_forget(shard, self)
    if end != NULL:
        end.sent_datagrams = self.sent
        end.received_datagrams = self.received
        for i in range(DROP_CAUSES):
            end.dropped[i] = self.dropped[i]
    clients_remove(&shard.pool, self)
    stream.association = NULL
    pool_free(&shard.pool, self, sizeof(Association))


# -- the list of a flow -----------------------------------------------------------------------------------------------

cdef void enlist(AssociationList* of, Association* self) noexcept nogil:
    self.listed = True
    self.following = NULL
    self.previous = of.tail
    if of.tail == NULL:
        of.head = self
    else:
        of.tail.following = self
    of.tail = self


cdef void unlist(AssociationList* of, Association* self) noexcept nogil:
    self.listed = False
    if self.previous == NULL:
        of.head = self.following
    else:
        self.previous.following = self.following
    if self.following == NULL:
        of.tail = self.previous
    else:
        self.following.previous = self.previous


cdef void association_opened(Shard* shard, Stream* stream) noexcept nogil:
    cdef Association* self = stream.association
    if self == NULL or self.first == NULL or self.listed or not association_may_send(stream):
        return
    if stream.flow == NULL:
        if stream.partner != NULL:
            edge_dirty(shard, stream.partner)
        return
    enlist(&stream_flow(stream).datagrams, self)
    edge_activate(shard, stream_flow(stream))


# -- the queue --------------------------------------------------------------------------------------------------------

cdef Buf* pop(Association* self) noexcept nogil:
    cdef Buf* buf = self.first
    self.first = buf.next
    if self.first == NULL:
        self.last = NULL
    buf.next = NULL
    self.waiting -= 1
    self.waiting_bytes -= buf.length
    return buf


cdef void drop_oldest(Shard* shard, Association* self, uint32_t cause) noexcept nogil:
    buf_drop(&shard.pool, pop(self))
    association_drop(shard, self, cause)


cdef void association_drop(Shard* shard, Association* self, uint32_t cause) noexcept nogil:
    counter_add(&shard.stats.dropped[cause], 1)
    if self != NULL:
        self.dropped[cause] += 1


cdef void expire(Shard* shard, Association* self) noexcept nogil:
    while self.first != NULL and shard.now_us > self.first.number + self.wait_us:
        drop_oldest(shard, self, DROP_AGE)


cdef void association_push(Shard* shard, Association* self, const uint8_t* p, uint32_t n) noexcept nogil:
    cdef Buf* buf
    association_use(shard, self)
    if n > WIRE_BODY_MAX - RECORD_DATAGRAM_HEAD:
        association_drop(shard, self, DROP_TOO_LONG)
        return
    if not rates_from_socket(shard, self.stream, n):
        association_drop(shard, self, DROP_RATE)
        return
    expire(shard, self)
    while self.first != NULL and (self.waiting >= ASSOCIATION_MOST or self.waiting_bytes + n > ASSOCIATION_BYTES):
        drop_oldest(shard, self, DROP_QUEUE)
    buf = buf_alloc(&shard.pool, n, False)
    if buf == NULL:
        association_drop(shard, self, DROP_QUEUE)
        return
    memcpy(buf_data(buf), p, n)
    buf.length = n
    buf.number = shard.now_us
    if self.last == NULL:
        self.first = buf
    else:
        self.last.next = buf
    self.last = buf
    self.waiting += 1
    self.waiting_bytes += n
    association_opened(shard, self.stream)


cdef Buf* association_take(Shard* shard, Association* self) noexcept nogil:
    expire(shard, self)
    return NULL if self.first == NULL else pop(self)


cdef void association_sent(Shard* shard, Association* self, Buf* buf) noexcept nogil:
    self.sent += 1
    self.stream.tx.sent += buf.length
    counter_add(&shard.stats.count[COUNT_APPLICATION_SENT], buf.length)
    counter_add(&shard.stats.count[COUNT_DATAGRAMS_SENT], 1)
    keep_or_drop(shard, self, buf)


cdef void association_put_back(Association* self, Buf* buf) noexcept nogil:
    buf.next = self.first
    self.first = buf
    if self.last == NULL:
        self.last = buf
    self.waiting += 1
    self.waiting_bytes += buf.length


# While another outlet may still have to be tried, it gets the first of what was sent: a client may say it only once.
cdef void keep_or_drop(Shard* shard, Association* self, Buf* buf) noexcept nogil:
    cdef Setup* setup = self.stream.setup
    if setup != NULL and setup.state == SETUP_TRYING and self.kept == NULL and setup.shadow == 0 \
            and buf.length <= ASSOCIATION_KEPT:
        self.kept = buf
    else:
        buf_drop(&shard.pool, buf)


cdef void association_forget(Shard* shard, Association* self) noexcept nogil:
    if self.kept != NULL:
        buf_drop(&shard.pool, self.kept)
        self.kept = NULL


cdef void association_again(Shard* shard, Stream* stream) noexcept nogil:
    cdef Association* self = stream.association
    cdef Buf* kept = self.kept
    cdef uint64_t lost = self.sent
    if self.listed:
        unlist(&stream_flow(stream).datagrams, self)
    if kept != NULL:
        self.kept = NULL
        # Its age counts from now: it did not wait for its flow.
        kept.number = shard.now_us
        association_put_back(self, kept)
        lost -= 1
    counter_add(&shard.stats.dropped[DROP_UNREACHABLE], lost)
    self.dropped[DROP_UNREACHABLE] += <uint32_t>lost
    self.sent = 0
    self.tx_number = 0
    # The socket of the next attempt has lost nothing yet.
    self.overflows = 0


cdef void association_use(Shard* shard, Association* self) noexcept nogil:
    self.traffic_us = shard.now_us
    clients_use(self)


cdef void associations_expire(Shard* shard, Flow* flow) noexcept nogil:
    cdef Association* self = flow.datagrams.head
    cdef Association* following
    while self != NULL:
        following = self.following
        expire(shard, self)
        if self.first == NULL:
            unlist(&flow.datagrams, self)
        self = following


# -- frames -----------------------------------------------------------------------------------------------------------

cdef uint32_t associations_room(const Flow* flow, uint32_t most) noexcept nogil:
    cdef const Association* self = flow.datagrams.head
    cdef uint64_t room = 0
    while self != NULL and room < most:
        room += self.waiting_bytes + self.waiting * RECORD_DATAGRAM_HEAD
        self = self.following
    return most if room > most else <uint32_t>room


# Encode at most ASSOCIATION_TURN datagrams of one association; *full: the next one has no room.
cdef uint32_t fill(Shard* shard, Association* self, uint8_t* p, uint32_t room, bint* full) noexcept nogil:
    cdef Stream* stream = self.stream
    cdef uint32_t used = 0
    cdef uint32_t taken = 0
    cdef Buf* buf
    while self.first != NULL and taken < ASSOCIATION_TURN:
        if used + RECORD_DATAGRAM_HEAD + self.first.length > room:
            full[0] = True
            break
        buf = pop(self)
        used += record_datagram(p + used, stream.id, self.tx_number, buf.length)
        memcpy(p + used, buf_data(buf), buf.length)
        used += buf.length
        taken += 1
        self.tx_number += 1
        stream.tx.sent += buf.length
        counter_add(&shard.stats.count[COUNT_APPLICATION_SENT], buf.length)
        keep_or_drop(shard, self, buf)
    self.sent += taken
    counter_add(&shard.stats.count[COUNT_DATAGRAMS_SENT], taken)
    return used


cdef uint32_t associations_fill(Shard* shard, Flow* flow, uint8_t* p, uint32_t room) noexcept nogil:
    cdef Association* self = flow.datagrams.head
    cdef uint32_t used = 0
    cdef bint full = False
    while self != NULL and not full:
        expire(shard, self)
        used += fill(shard, self, p + used, room - used, &full)
        if full:
            # It goes on with its own first one in the next frame.
            break
        unlist(&flow.datagrams, self)
        if self.first != NULL:
            enlist(&flow.datagrams, self)
        self = flow.datagrams.head
    return used


cdef uint32_t associations_pack(Shard* shard, Flow* flow, uint8_t* p, uint32_t room) noexcept nogil:
    cdef Association* self = flow.datagrams.head
    cdef Association* following
    cdef uint32_t used = 0
    cdef bint full = False
    while self != NULL:
        following = self.following
        if self.stream.state == STREAM_OPEN:
            expire(shard, self)
            # What has no room here, and would have some in a frame of its own, goes with the next one.
            used += fill(shard, self, p + used, room - used, &full)
            if self.first == NULL:
                unlist(&flow.datagrams, self)
        self = following
    return used


# Nothing is granted on a stream of datagrams: its limit is what was received.
cdef void association_wrote(Shard* shard, Stream* stream, uint32_t n) noexcept nogil:
    stream.rx.received += n
    stream.rx.consumed += n
    stream.rx.limit += n
    counter_add(&shard.stats.count[COUNT_APPLICATION_RECEIVED], n)
    counter_add(&shard.stats.count[COUNT_DATAGRAMS_RECEIVED], 1)
    if stream.association != NULL:
        stream.association.received += 1
