from libc.stdint cimport uint32_t, uint8_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from pcgrelay._core.base.atomics cimport atomic_add, counter_add
from pcgrelay._core.base.handle cimport HANDLE_DATAGRAMS
from pcgrelay._core.base.linux cimport F_DUPFD_CLOEXEC, close, fcntl
from pcgrelay._core.base.stats cimport COUNT_DATAGRAMS_HANDED, DROP_QUEUE
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.link.mailbox cimport ORDER_DATAGRAMS, mailbox_put, order_free, order_new
from pcgrelay._core.session.session cimport Session, session_find
from pcgrelay._core.stream.service_tables cimport Import, tables_import
from pcgrelay._core.worker.datagram_sockets cimport datagram_clients
from pcgrelay._core.worker.worker cimport WORKER_BATCHES, WORKER_UNLISTENED, worker_wake


cdef enum:
    ITEM_HEAD = ASSOCIATION_CLIENT + ASSOCIATION_LOCAL + 4
    ITEM_ALIGN = 4


# Each begins with a socket address, whose family is read as a number.
cdef uint32_t batches_bytes(uint32_t n) noexcept nogil:
    return (ITEM_HEAD + n + ITEM_ALIGN - 1) / ITEM_ALIGN * ITEM_ALIGN


cdef uint32_t batches_worker(const Worker* self, uint32_t number, uint32_t hash) noexcept nogil:
    cdef const Import* entry = tables_import(self.shard.tables, number)
    cdef const Session* session
    cdef uint32_t least = 0xffffffff
    cdef uint32_t i
    if entry != NULL:
        for i in range(entry.route_count):
            session = session_find(<Shard*>&self.shard, entry.routes[i].session)
            if session != NULL and session.flow_count < least:
                least = session.flow_count
    return self.shard.index if self.shard.index < least else hash % least


# -- to another worker ------------------------------------------------------------------------------------------------

cdef void batches_send(Worker* self, const Listener* listener, const Handings* handings) noexcept nogil:
    cdef uint32_t worker
    for worker in range(self.shard.workers):
        if worker != self.shard.index:
            send_to(self, &self.siblings[worker], listener, handings)


cdef void send_to(Worker* self, Worker* other, const Listener* listener, const Handings* handings) noexcept nogil:
    cdef uint32_t count = 0
    cdef uint32_t size = 0
    cdef uint32_t i
    cdef Order* order
    for i in range(handings.count):
        if handings.each[i].worker == other.shard.index:
            count += 1
            size += batches_bytes(handings.each[i].n)
    if count == 0:
        return
    order = make_order(self, other, listener, size)
    if order == NULL:
        counter_add(&self.shard.stats.dropped[DROP_QUEUE], count)
        return
    batches_fill(order.args.datagrams, other.shard.index, handings)
    counter_add(&self.shard.stats.count[COUNT_DATAGRAMS_HANDED], count)
    if mailbox_put(&other.mailbox, order):
        worker_wake(other.mailbox.wake_fd)


# NULL: the other worker has as much to do as it may, or there is no memory or descriptor.
cdef Order* make_order(Worker* self, Worker* other, const Listener* listener, uint32_t size) noexcept nogil:
    cdef Order* order
    if atomic_add(&other.batches, 1) > WORKER_BATCHES:
        atomic_add(&other.batches, -1)
        return NULL
    order = order_new(ORDER_DATAGRAMS)
    if order == NULL:
        atomic_add(&other.batches, -1)
        return NULL
    order.fd = fcntl(listener.handle.fd, F_DUPFD_CLOEXEC, 0)
    order.args.datagrams = <DatagramBatch*>malloc(sizeof(DatagramBatch) + size)
    if order.fd < 0 or order.args.datagrams == NULL:
        batches_drop(other, order)
        order_free(order)
        return NULL
    order.args.datagrams.import_number = listener.number
    order.args.datagrams.origin = self.shard.index
    order.args.datagrams.serial = listener.clients.serial
    order.args.datagrams.counts = listener.counts
    order.args.datagrams.unlistens = self.unlistens
    order.args.datagrams.count = 0
    order.args.datagrams.size = size
    return order


cdef void batches_fill(DatagramBatch* batch, uint32_t worker, const Handings* handings) noexcept nogil:
    cdef uint8_t* p = <uint8_t*>batch + sizeof(DatagramBatch)
    cdef const Handing* item
    cdef uint32_t i
    for i in range(handings.count):
        item = &handings.each[i]
        if item.worker != worker:
            continue
        memcpy(p, item.client, ASSOCIATION_CLIENT)
        memcpy(p + ASSOCIATION_CLIENT, item.local, ASSOCIATION_LOCAL)
        memcpy(p + ASSOCIATION_CLIENT + ASSOCIATION_LOCAL, &item.n, 4)
        memcpy(p + ITEM_HEAD, item.p, item.n)
        p += batches_bytes(item.n)
        batch.count += 1


# -- from another worker ----------------------------------------------------------------------------------------------

cdef void batches_unlisten(Worker* self, uint32_t number) noexcept nogil:
    self.unlistened[self.unlistens % WORKER_UNLISTENED] = number
    self.unlistens += 1


# All workers get these orders, and in one order. A batch may also come before one that its worker has carried out.
cdef bint batches_is_late(const Worker* self, const DatagramBatch* batch) noexcept nogil:
    cdef int behind = <int>(self.unlistens - batch.unlistens)
    cdef int i
    if behind > WORKER_UNLISTENED:
        return True
    for i in range(1, behind + 1):
        if self.unlistened[(self.unlistens - <uint32_t>i) % WORKER_UNLISTENED] == batch.import_number:
            return True
    return False


cdef Listener* batches_listener(Worker* self, Order* order) noexcept nogil:
    cdef const DatagramBatch* batch = order.args.datagrams
    cdef Listener* listener = self.listeners
    while listener != NULL and (listener.origin != batch.origin + 1 or listener.origin_serial != batch.serial
                                or listener.number != batch.import_number):
        listener = listener.next
    if listener != NULL:
        return listener
    listener = <Listener*>calloc(1, sizeof(Listener))
    if listener == NULL:
        return NULL
    listener.handle.kind = HANDLE_DATAGRAMS
    listener.handle.fd = order.fd
    listener.number = batch.import_number
    listener.counts = batch.counts
    listener.origin = batch.origin + 1
    listener.origin_serial = batch.serial
    if not datagram_clients(self, listener):
        free(listener)
        return NULL
    order.fd = -1
    listener.next = self.listeners
    self.listeners = listener
    return listener


cdef const uint8_t* batches_next(const DatagramBatch* batch, uint32_t* at, const uint8_t** client,
                                 const uint8_t** local, uint32_t* n) noexcept nogil:
    cdef const uint8_t* p = <const uint8_t*>batch + sizeof(DatagramBatch) + at[0]
    if at[0] == batch.size:
        return NULL
    client[0] = p
    local[0] = p + ASSOCIATION_CLIENT
    memcpy(n, p + ASSOCIATION_CLIENT + ASSOCIATION_LOCAL, 4)
    at[0] += batches_bytes(n[0])
    return p + ITEM_HEAD


cdef void batches_drop(Worker* self, Order* order) noexcept nogil:
    if order.fd >= 0:
        close(order.fd)
        order.fd = -1
    free(order.args.datagrams)
    order.args.datagrams = NULL
    atomic_add(&self.batches, -1)
