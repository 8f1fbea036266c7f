"""What the core keeps things in, as Python sees it: pool, map, queue, timers, ports, tables. For tests and benches."""
cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from pcgrelay._core.base.buf cimport (
    buf_data, buf_drop, buf_alloc, pool_alloc, pool_free, pool_start, pool_stop,
)
from pcgrelay._core.link.mailbox cimport (
    EVENT_STREAM_END, Event, Outbox as CoreOutbox, outbox_drain, outbox_put, outbox_start, outbox_stop,
)
from pcgrelay._core.base.map cimport Map as CoreMap, map_any, map_find, map_free, map_next, map_put, map_remove
from pcgrelay._core.base.ports cimport (
    PORTS_ADDRESS, PORTS_ALL, PORTS_FORGET_US, PORTS_AGAIN_US, PORTS_RINGS, PortRing, Ports as CorePorts, ports_choose,
    ports_closed, ports_free, ports_range, ports_release, ports_restore, ports_ring, ports_set, ports_take, ports_tick,
)
from tests.native.probe cimport check
from pcgrelay._core.base.queue cimport (
    Account as CoreAccount, Queue as CoreQueue, Span, iovec, queue_cut, queue_free, queue_pop, queue_push, queue_sent,
    queue_own, queue_rest, queue_vectors,
)
from pcgrelay._core.base.result cimport RESULT_OK
from pcgrelay._core.stream.service_tables cimport (
    Export as CoreExport, Import as CoreImport, Tables as CoreTables, tables_drop, tables_export, tables_grants,
    tables_hold, tables_import, tables_index, tables_new,
)
from pcgrelay._core.base.timer cimport (
    Timer as CoreTimer, Wheel as CoreWheel, timer_clear, timer_set, wheel_pop, wheel_start,
)


# What __dealloc__ needs must still be there.
@cython.no_gc_clear
cdef class Pool:
    """A budget and what was taken from it. Buffers and blocks are named by numbers."""

    def __cinit__(self, limit: int, reserve: int = 0) -> None:
        pool_start(&self.pool, limit, reserve)
        self.buffers = {}

    def __dealloc__(self):
        cdef size_t handle
        for handle, references in self.buffers.items():
            for _ in range(references):
                buf_drop(&self.pool, <Buf*>handle)
        pool_stop(&self.pool)

    @property
    def used(self) -> int:
        return self.pool.used

    @property
    def cached(self) -> int:
        return self.pool.cached

    @property
    def high_water(self) -> int:
        return self.pool.high_water

    cdef Buf* buffer(self, size_t handle) except NULL:
        if handle not in self.buffers:
            raise KeyError(handle)
        return <Buf*>handle

    def take(self, n: int, *, must: bool = False) -> int | None:
        cdef Buf* buf = buf_alloc(&self.pool, n, must)
        if buf == NULL:
            return None
        self.buffers[<size_t>buf] = 1
        return <size_t>buf

    def capacity(self, handle: int) -> int:
        return self.buffer(handle).capacity

    def fill(self, handle: int, data: bytes) -> None:
        cdef Buf* buf = self.buffer(handle)
        if len(data) > buf.capacity:
            raise ValueError("the buffer is smaller")
        memcpy(buf_data(buf), <const char*>data, len(data))
        buf.length = <uint32_t>len(data)

    def hold(self, handle: int) -> None:
        self.buffer(handle).refs += 1
        self.buffers[handle] += 1

    def drop(self, handle: int) -> None:
        cdef Buf* buf = self.buffer(handle)
        self.buffers[handle] -= 1
        if not self.buffers[handle]:
            del self.buffers[handle]
        buf_drop(&self.pool, buf)

    def alloc(self, size: int) -> int | None:
        cdef void* block = pool_alloc(&self.pool, size)
        return None if block == NULL else <size_t>block

    def free(self, block: int, size: int) -> None:
        pool_free(&self.pool, <void*><size_t>block, size)


cdef class Map:
    """The table from 32-bit numbers to values, which here are numbers above 0."""

    cdef CoreMap map

    def __dealloc__(self):
        map_free(&self.map)

    def __len__(self) -> int:
        return self.map.count

    def find(self, key: int) -> int:
        return <size_t>map_find(&self.map, key)

    def put(self, key: int, value: int) -> bool:
        return map_put(&self.map, key, <void*><size_t>value)

    def take(self, key: int) -> int:
        return <size_t>map_remove(&self.map, key)

    def any(self) -> int:
        return <size_t>map_any(&self.map)

    def values(self) -> list[int]:
        cdef uint32_t at = 0
        cdef size_t value
        found = []
        while True:
            value = <size_t>map_next(&self.map, &at)
            if value == 0:
                return found
            found.append(value)


cdef class Account:
    """What one flow has waiting."""

    cdef CoreAccount account

    @property
    def queued(self) -> int:
        return self.account.queued

    @property
    def items(self) -> int:
        return self.account.items


@cython.no_gc_clear
cdef class Queue:
    """Spans that wait for a socket. Borrowed ones lie in bytearrays; once settled, these may be overwritten."""

    cdef CoreQueue queue
    cdef Pool pool
    cdef list held

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.held = []

    def __dealloc__(self):
        if self.pool is not None:
            queue_free(&self.queue, &self.pool.pool)

    def __len__(self) -> int:
        return self.queue.count

    @property
    def octets(self) -> int:
        return self.queue.bytes

    @property
    def borrowed(self) -> int:
        return self.queue.borrowed

    @property
    def owned(self) -> int:
        return self.queue.owned

    def borrow(self, data: bytearray, account: Account | None = None) -> None:
        self.held.append((data, account))
        check(queue_push(&self.queue, &self.pool.pool, <uint8_t*><char*>data, <uint32_t>len(data), NULL,
                         NULL if account is None else &account.account))

    def own(self, data: bytes, account: Account | None = None) -> None:
        cdef Buf* buf = buf_alloc(&self.pool.pool, len(data), False)
        if buf == NULL:
            raise MemoryError
        memcpy(buf_data(buf), <const char*>data, len(data))
        buf.length = <uint32_t>len(data)
        self.held.append(account)
        answer = queue_push(&self.queue, &self.pool.pool, buf_data(buf), buf.length, buf,
                            NULL if account is None else &account.account)
        if answer != RESULT_OK:
            buf_drop(&self.pool.pool, buf)
        check(answer)

    def peek(self, vectors: int = 64) -> list[bytes]:
        cdef iovec parts[64]
        n = queue_vectors(&self.queue, parts, min(vectors, 64))
        return [(<char*>parts[i].iov_base)[:parts[i].iov_len] for i in range(n)]

    def sent(self, n: int) -> None:
        if n > self.queue.bytes:
            raise ValueError("so much is not there")
        queue_sent(&self.queue, &self.pool.pool, n)

    def pop(self) -> bytes:
        cdef Span span
        if self.queue.count == 0:
            raise IndexError("the queue is empty")
        span = queue_pop(&self.queue)
        data = (<char*>span.p)[:span.n]
        if span.account != NULL:
            if span.buf != NULL:
                span.account.queued -= span.n
            span.account.items -= 1
        buf_drop(&self.pool.pool, span.buf)
        return data

    def settle(self, *, must: bool = False) -> int | None:
        """None, or the index of the first span for which there was no memory."""
        cdef uint32_t first = 0
        if queue_own(&self.queue, &self.pool.pool, must, &first) == RESULT_OK:
            return None
        return first

    def cut(self, first: int) -> None:
        queue_cut(&self.queue, &self.pool.pool, first)

    def rest(self) -> None:
        queue_rest(&self.queue, &self.pool.pool)


cdef class Outbox:
    """Events for the control plane. An event is known by its code."""

    cdef CoreOutbox box

    def __cinit__(self) -> None:
        if not outbox_start(&self.box, -1):
            raise MemoryError

    def __dealloc__(self):
        outbox_stop(&self.box)

    @property
    def place(self) -> int:
        """Where the next event will be put."""
        return self.box.head + self.box.count

    def put(self, code: int) -> bool:
        cdef Event event
        memset(&event, 0, sizeof(event))
        event.kind = EVENT_STREAM_END
        event.data.stream.code = code
        return outbox_put(&self.box, &event, 1)

    def drain(self, limit: int) -> list[int]:
        cdef Event events[64]
        cdef uint64_t lost, lost_kept
        n = outbox_drain(&self.box, events, min(limit, 64), &lost, &lost_kept)
        return [events[i].data.stream.code for i in range(n)]


@cython.no_gc_clear
cdef class Wheel:
    """Deadlines, named by numbers."""

    cdef CoreWheel* wheel
    cdef dict timers

    def __cinit__(self, now_us: int) -> None:
        self.timers = {}
        self.wheel = <CoreWheel*>calloc(1, sizeof(CoreWheel))
        if self.wheel == NULL:
            raise MemoryError
        wheel_start(self.wheel, now_us)

    def __dealloc__(self):
        cdef size_t at
        for at in self.timers.values():
            free(<void*>at)
        free(self.wheel)

    def __len__(self) -> int:
        return self.wheel.count

    def set(self, name: int, due_us: int) -> None:
        cdef CoreTimer* timer
        if name not in self.timers:
            timer = <CoreTimer*>calloc(1, sizeof(CoreTimer))
            if timer == NULL:
                raise MemoryError
            timer.owner = <void*><size_t>name
            self.timers[name] = <size_t>timer
        timer_set(self.wheel, <CoreTimer*><size_t>self.timers[name], due_us)

    def clear(self, name: int) -> None:
        timer_clear(self.wheel, <CoreTimer*><size_t>self.timers[name])

    def pop(self, now_us: int) -> int | None:
        cdef CoreTimer* timer = wheel_pop(self.wheel, now_us)
        return None if timer == NULL else <size_t>timer.owner


PORTS = {"all": PORTS_ALL, "again_us": PORTS_AGAIN_US, "forget_us": PORTS_FORGET_US, "rings": PORTS_RINGS}


@cython.no_gc_clear
cdef class Ports:
    """The local ports of one worker. A ring is named by a target, and a source of no bytes or more."""

    cdef CorePorts ports
    cdef Pool pool

    def __cinit__(self, pool: Pool, worker: int = 0, workers: int = 1) -> None:
        memset(&self.ports, 0, sizeof(self.ports))
        self.pool = pool
        self.ports.worker = worker
        self.ports.workers = workers

    def __dealloc__(self):
        if self.pool is not None:
            ports_free(&self.ports, &self.pool.pool)

    cdef PortRing* ring(self, bytes target, bytes source, uint64_t now_us) except? NULL:
        cdef uint8_t where[PORTS_ADDRESS]
        cdef uint8_t here[PORTS_ADDRESS]
        memset(where, 0, sizeof(where))
        memset(here, 0, sizeof(here))
        memcpy(where, <const char*>target, min(len(target), PORTS_ADDRESS))
        memcpy(here, <const char*>source, min(len(source), PORTS_ADDRESS))
        return ports_ring(&self.ports, &self.pool.pool, here if source else NULL, where, now_us, True)

    @property
    def rings(self) -> int:
        return self.ports.count

    def set(self, allowed: bytes, first_half: int = 1) -> None:
        ports_set(&self.ports, ports_range(<const uint8_t*><const char*>allowed, first_half, self.ports.worker,
                                           self.ports.workers) if allowed else NULL)

    def chooses(self, target: bytes, now_us: int, source: bytes = b"") -> bool:
        cdef PortRing* ring = self.ring(target, source, now_us)
        return ring != NULL and ports_choose(&self.ports, ring, now_us)

    def take(self, target: bytes, now_us: int, chance: int = 0, source: bytes = b"") -> int | None:
        cdef PortRing* ring = self.ring(target, source, now_us)
        if ring == NULL or not ports_choose(&self.ports, ring, now_us):
            return None
        return ports_take(&self.ports, &self.pool.pool, ring, now_us, chance)

    def release(self, target: bytes, port: int, now_us: int, source: bytes = b"") -> None:
        ports_release(&self.ports, self.ring(target, source, now_us), port, now_us)

    def restore(self, target: bytes, port: int, closed_us: int, *, used: bool) -> bool:
        return ports_restore(&self.ports, &self.pool.pool, self.ring(target, b"", closed_us), port, closed_us, used)

    def closed(self, target: bytes, half: int) -> list[tuple[int, int]]:
        cdef uint64_t closed_us = 0
        cdef uint16_t port
        found: list[tuple[int, int]] = []
        while True:
            port = ports_closed(&self.ports, self.ring(target, b"", 0), half, <uint32_t>len(found), &closed_us)
            if port == 0:
                return found
            found.append((port, closed_us))

    def tick(self, now_us: int) -> None:
        ports_tick(&self.ports, &self.pool.pool, now_us)


cdef class Tables:
    """A snapshot: exports [(number, service)], imports [(number, service)], grants [(session, export)] ascending."""

    cdef CoreTables* tables

    def __cinit__(self, exports: list[tuple[int, bytes]], imports: list[tuple[int, bytes]],
                  grants: list[tuple[int, int]]) -> None:
        cdef CoreExport* export
        cdef CoreImport* entry
        cdef uint64_t session
        self.tables = tables_new(<uint32_t>len(exports), <uint32_t>len(imports), <uint32_t>len(grants))
        if self.tables == NULL:
            raise MemoryError
        for at, (number, service) in enumerate(exports):
            export = &self.tables.exports[<size_t>at]
            export.number = number
            export.service_length = <uint32_t>len(service)
            memcpy(export.service, <const char*>service, len(service))
        for at, (number, service) in enumerate(imports):
            entry = &self.tables.imports[<size_t>at]
            entry.number = number
            entry.service_length = <uint32_t>len(service)
            memcpy(entry.service, <const char*>service, len(service))
        for at, (session, number) in enumerate(grants):
            self.tables.grants[<size_t>at] = session << 16 | <uint64_t>number
        if not tables_index(self.tables):
            raise MemoryError

    def __dealloc__(self):
        tables_drop(self.tables)

    @property
    def references(self) -> int:
        return self.tables.references

    def hold(self) -> None:
        tables_hold(self.tables)

    def drop(self) -> None:
        """Give back what hold took."""
        if self.tables.references < 2:
            raise ValueError("the last reference is the object's own")
        tables_drop(self.tables)

    def export(self, service: bytes) -> int | None:
        cdef const CoreExport* found = tables_export(self.tables, <const uint8_t*>service, <uint32_t>len(service))
        return None if found == NULL else found.number

    def imported(self, number: int) -> bytes | None:
        cdef const CoreImport* found = tables_import(self.tables, number)
        return None if found == NULL else (<const char*>found.service)[:found.service_length]

    def grants(self, session: int, export: int) -> bool:
        return tables_grants(self.tables, session, export)
