"""Associations as Python sees them: the clients of a listener, and what waits for a flow. For tests only."""
cimport cython
from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from pcgrelay._core.base.buf cimport pool_start, pool_stop
from pcgrelay._core.base.stats cimport COUNT_DATAGRAMS_SENT, DROP_CAUSES
from pcgrelay._core.edge.associations cimport (
    association_begin, association_end, association_leave, association_push, associations_expire, associations_fill,
    associations_room,
)
from pcgrelay._core.edge.clients cimport (
    CLIENTS_KEYS, Clients, ClientSource, clients_add, clients_find, clients_hash, clients_name, clients_serves,
    clients_source, clients_start, clients_stop, clients_use,
)
from pcgrelay._core.edge.limits cimport limits_may_associate
from pcgrelay._core.face.workers cimport Workers
from pcgrelay._core.link.mailbox cimport DatagramBatch, StreamEndEvent
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.stream.service_tables cimport DatagramImport, DatagramTerms
from pcgrelay._core.stream.stream cimport (
    ASSOCIATION_CLIENT, ASSOCIATION_LOCAL, STREAM_OPEN, Association, Stream, stream_free, stream_new,
    stream_restore,
)
from pcgrelay._core.worker.datagram_batches cimport (
    Handings, batches_bytes, batches_fill, batches_is_late, batches_next, batches_unlisten,
)
from pcgrelay._core.worker.event_loop cimport loop_turn
from pcgrelay._core.worker.worker cimport WORKER_DATAGRAMS, Worker
from tests.native.probe cimport exactly

DROPS = DROP_CAUSES

CLIENT = ASSOCIATION_CLIENT
LOCAL = ASSOCIATION_LOCAL


def turn(Workers core, int worker) -> None:
    """Have one worker of a node that stands still take one turn, with what is there now."""
    core._frozen()
    with nogil:
        loop_turn(&core._workers[worker], 0)


def client_name(address: bytes) -> bytes:
    """A socket address of 28 bytes as a client is known by it."""
    cdef uint8_t name[ASSOCIATION_CLIENT]
    clients_name(exactly(address, ASSOCIATION_CLIENT), name)
    return name[:ASSOCIATION_CLIENT]


def serves(prefixes: list, client: bytes) -> bool:
    """Whether an import with these prefixes, each (family, 16 bytes, bits), serves a client."""
    cdef DatagramImport terms
    memset(&terms, 0, sizeof(terms))
    for family, address, bits in prefixes:
        terms.prefixes[terms.prefix_count].family = <uint16_t>family
        terms.prefixes[terms.prefix_count].bits = <uint16_t>bits
        memcpy(terms.prefixes[terms.prefix_count].address, exactly(address, 16), 16)
        terms.prefix_count += 1
    return clients_serves(&terms, exactly(client, ASSOCIATION_CLIENT))


def is_late(unlistened: list, at: int, number: int) -> bool:
    """Whether a batch of import `number`, read when `at` orders UNLISTEN were carried out, is late after these."""
    cdef Worker* worker = <Worker*>calloc(1, sizeof(Worker))
    cdef DatagramBatch batch
    if worker == NULL:
        raise MemoryError
    for each in unlistened:
        batches_unlisten(worker, each)
    memset(&batch, 0, sizeof(batch))
    batch.import_number = number
    batch.unlistens = at
    late = batches_is_late(worker, &batch)
    free(worker)
    return late


def batched(handings: list, worker: int) -> list:
    """What a worker finds in a batch of these, each (worker, client, local, datagram): client, local, datagram, place.

    place: the address of the client's name, modulo 4.
    """
    cdef Handings* given = <Handings*>calloc(1, sizeof(Handings))
    cdef DatagramBatch* made = NULL
    cdef const uint8_t* client = NULL
    cdef const uint8_t* local = NULL
    cdef const uint8_t* p = NULL
    cdef uint32_t at = 0
    cdef uint32_t n = 0
    cdef uint32_t size = 0
    if given == NULL or len(handings) > WORKER_DATAGRAMS:
        free(given)
        raise MemoryError
    for i, (number, name, address, datagram) in enumerate(handings):
        given.each[i].worker = number
        given.each[i].n = len(datagram)
        given.each[i].p = datagram
        memcpy(given.each[i].client, exactly(name, ASSOCIATION_CLIENT), ASSOCIATION_CLIENT)
        memcpy(given.each[i].local, exactly(address, ASSOCIATION_LOCAL), ASSOCIATION_LOCAL)
        given.count += 1
        if number == worker:
            size += batches_bytes(len(datagram))
    made = <DatagramBatch*>calloc(1, sizeof(DatagramBatch) + size)
    if made == NULL:
        free(given)
        raise MemoryError
    made.size = size
    batches_fill(made, worker, given)
    found = []
    while True:
        p = batches_next(made, &at, &client, &local, &n)
        if p == NULL:
            break
        found.append((client[:ASSOCIATION_CLIENT], local[:ASSOCIATION_LOCAL], p[:n], <size_t>client % 4))
    assert len(found) == made.count
    free(made)
    free(given)
    return found


# What __dealloc__ needs must still be there.
@cython.no_gc_clear
cdef class Associations:
    """Those of one listener, with open streams of one flow. Each has a number, which is that of its stream."""

    cdef Shard* shard
    cdef Flow* flow
    cdef Clients clients
    cdef dict streams           # number -> address of the Stream

    def __cinit__(self, *, limit: int = 1 << 24, collide: bool = False) -> None:
        cdef uint64_t keys[CLIENTS_KEYS]
        cdef uint32_t i
        self.shard = <Shard*>calloc(1, sizeof(Shard))
        self.flow = <Flow*>calloc(1, sizeof(Flow))
        if self.shard == NULL or self.flow == NULL:
            raise MemoryError
        pool_start(&self.shard.pool, limit, 0)
        for i in range(CLIENTS_KEYS):
            # All names have one hash, if they are to collide.
            keys[i] = 0 if collide else <uint64_t>0x9e3779b97f4a7c15 * (i + 1)
        clients_start(&self.clients, 0, -1, keys)
        self.streams = {}

    def __dealloc__(self):
        for number in list(self.streams or ()):
            self.end(number)
        clients_stop(&self.clients)
        pool_stop(&self.shard.pool)
        free(self.flow)
        free(self.shard)

    cdef Stream* stream(self, number) except NULL:
        return <Stream*><size_t>self.streams[number]

    @property
    def used(self) -> int:
        return self.shard.pool.used

    def at(self, now_us: int) -> None:
        """Set the time."""
        self.shard.now_us = now_us

    def begin(self, number: int, client: bytes, local: bytes, wait_us: int = 200_000) -> bool:
        cdef DatagramTerms terms
        cdef Stream* stream = stream_new(&self.shard.pool, 0)
        if stream == NULL:
            return False
        terms.idle_us = terms.silent_us = 1000000
        terms.wait_us = wait_us
        stream.id = number
        stream.flow = self.flow
        stream.datagram = True
        stream_restore(stream, STREAM_OPEN)
        self.streams[number] = <size_t>stream
        if association_begin(self.shard, stream, &terms):
            memcpy(stream.association.client, exactly(client, ASSOCIATION_CLIENT), ASSOCIATION_CLIENT)
            memcpy(stream.association.local, exactly(local, ASSOCIATION_LOCAL), ASSOCIATION_LOCAL)
            stream.association.hash = clients_hash(&self.clients, stream.association.client, stream.association.local)
            if clients_add(&self.clients, &self.shard.pool, stream.association):
                return True
        self.end(number)
        return False

    def end(self, number: int) -> tuple:
        """Datagrams sent and received, and those that were dropped by cause."""
        cdef StreamEndEvent end
        cdef Stream* stream = self.stream(number)
        memset(&end, 0, sizeof(end))
        association_leave(self.shard, stream)
        association_end(self.shard, stream, &end)
        stream_free(&self.shard.pool, stream)
        del self.streams[number]
        return end.sent_datagrams, end.received_datagrams, tuple(end.dropped[i] for i in range(DROP_CAUSES))

    def find(self, client: bytes, local: bytes) -> int | None:
        cdef const uint8_t* name = exactly(client, ASSOCIATION_CLIENT)
        cdef const uint8_t* asked = exactly(local, ASSOCIATION_LOCAL)
        cdef Association* found = clients_find(&self.clients, name, asked, clients_hash(&self.clients, name, asked))
        return None if found == NULL else found.stream.id

    def use(self, number: int) -> None:
        clients_use(self.stream(number).association)

    def by_use(self) -> list:
        """The numbers of all, the one used last first; and so backwards, turned round."""
        cdef Association* at = self.clients.newest
        forward, backward = [], []
        while at != NULL:
            forward.append(at.stream.id)
            at = at.older
        at = self.clients.oldest
        while at != NULL:
            backward.append(at.stream.id)
            at = at.newer
        assert forward == backward[::-1] and len(forward) == self.clients.count
        return forward

    def of_source(self, client: bytes) -> list:
        """The same of the clients with the address of this one."""
        cdef ClientSource* source = clients_source(&self.clients, exactly(client, ASSOCIATION_CLIENT))
        cdef Association* at
        forward, backward = [], []
        if source == NULL:
            return forward
        at = source.newest
        while at != NULL:
            forward.append(at.stream.id)
            at = at.older_of_source
        at = source.oldest
        while at != NULL:
            backward.append(at.stream.id)
            at = at.newer_of_source
        assert forward == backward[::-1] and len(forward) == source.count
        return forward

    def may_begin(self, each_second: int) -> bool:
        """Whether a new one is within this rate now; it is then counted."""
        return limits_may_associate(self.shard, &self.clients, each_second)

    # -- what waits

    def push(self, number: int, data: bytes) -> None:
        association_push(self.shard, self.stream(number).association, <const uint8_t*>data, len(data))

    def waiting(self, number: int) -> tuple:
        """Datagrams, and their bytes."""
        return self.stream(number).association.waiting, self.stream(number).association.waiting_bytes

    def expire(self) -> None:
        associations_expire(self.shard, self.flow)

    def room(self, most: int) -> int:
        return associations_room(self.flow, most)

    def fill(self, room: int) -> tuple:
        """The records of a frame, and how many there are."""
        cdef bytearray body = bytearray(room)
        cdef uint64_t before = self.shard.stats.count[COUNT_DATAGRAMS_SENT]
        cdef uint32_t used = associations_fill(self.shard, self.flow, body, room)
        return bytes(body[:used]), self.shard.stats.count[COUNT_DATAGRAMS_SENT] - before
