from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc

from pcgrelay._core.base.tlv cimport (
    Tlv, tlv_descriptor, tlv_enter, tlv_fail, tlv_number, tlv_open, tlv_shut,
)
from pcgrelay._core.stream.flow cimport Flow, flow_stream_next
from pcgrelay._core.base.handle cimport HANDLE_LISTENER
from pcgrelay._core.handover.shard cimport handover_read, handover_write
from pcgrelay._core.link.shard cimport Lane, Shard
from pcgrelay._core.base.linux cimport (
    APPLICATION_EVENTS, EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLL_CTL_ADD, monotonic_us,
)
from pcgrelay._core.base.map cimport Map, map_free
from pcgrelay._core.base.ports cimport PORTS_AGAIN_US, PORTS_UNKNOWN
from pcgrelay._core.base.result cimport RESULT_BAD_FIELD, RESULT_NO_MEMORY, RESULT_OK, RESULT_SOCKET
from pcgrelay._core.session.session cimport Session, session_next
from pcgrelay._core.base.stats cimport STATS_LISTENERS
from pcgrelay._core.stream.stream cimport Dial, Stream
from pcgrelay._core.worker.worker cimport WORKER_EDGE, Listener, Worker, worker_watch

# Tags in the container of a worker continue those of its shard, and never change their meaning either.
cdef enum:
    WORKER_LISTENER = 32
    LISTENER_NUMBER = 1
    LISTENER_SOCKET = 2
    LISTENER_COUNTS = 3

cdef extern from *:
    """
    #define HEIR_NO_LIMIT (1ull << 62)
    """
    const uint64_t HEIR_NO_LIMIT


cdef void worker_handover_write(Tlv* self, Worker* worker) noexcept nogil:
    cdef Listener* listener = worker.listeners
    cdef uint64_t mark
    handover_write(self, &worker.shard)
    while listener != NULL:
        mark = tlv_open(self, WORKER_LISTENER)
        tlv_number(self, LISTENER_NUMBER, &listener.number, 4)
        tlv_descriptor(self, LISTENER_SOCKET, &listener.handle.fd)
        tlv_number(self, LISTENER_COUNTS, &listener.counts, 4)
        listener.handle.shared = True
        tlv_shut(self, mark)
        listener = listener.next


cdef void worker_handover_read(Tlv* self, Worker* worker, Map* link_gauges, Map* session_gauges) noexcept nogil:
    cdef uint64_t limit = worker.shard.pool.limit
    worker.shard.pool.limit = HEIR_NO_LIMIT
    handover_read(self, &worker.shard, link_gauges, session_gauges)
    worker.shard.pool.limit = limit
    if self.result == RESULT_OK:
        listeners_read(self, worker)
    if worker.shard.ports.from_us == PORTS_UNKNOWN:
        # One that the other process has just closed could be taken here.
        worker.shard.ports.from_us = monotonic_us() + 2 * PORTS_AGAIN_US
    map_free(&worker.shard.ports.by_number)
    if not is_of_its_role(worker):
        tlv_fail(self, RESULT_BAD_FIELD)
    if self.result == RESULT_OK and not watch_all(worker):
        tlv_fail(self, RESULT_SOCKET)


# An edge's labels refer to sessions and a relay's to paths: one must never be mistaken for the other.
cdef bint is_of_its_role(Worker* worker) noexcept nogil:
    cdef Shard* shard = &worker.shard
    if worker.role == WORKER_EDGE:
        return shard.paths.count == 0
    return shard.sessions.count == 0 and shard.waiting == NULL and shard.directs == NULL and worker.listeners == NULL


cdef void listeners_read(Tlv* self, Worker* worker) noexcept nogil:
    cdef Tlv inner
    cdef uint64_t at = 0
    cdef Listener* listener
    while tlv_enter(self, WORKER_LISTENER, &at, &inner):
        listener = <Listener*>calloc(1, sizeof(Listener))
        if listener == NULL:
            tlv_fail(self, RESULT_NO_MEMORY)
            return
        listener.handle.kind = HANDLE_LISTENER
        tlv_number(&inner, LISTENER_NUMBER, &listener.number, 4)
        tlv_descriptor(&inner, LISTENER_SOCKET, &listener.handle.fd)
        tlv_number(&inner, LISTENER_COUNTS, &listener.counts, 4)
        listener.handle.shared = True
        listener.next = worker.listeners
        worker.listeners = listener
        if inner.result != RESULT_OK or listener.handle.fd < 0 or listener.counts >= STATS_LISTENERS:
            tlv_fail(self, RESULT_BAD_FIELD)
            return


# epoll reports readiness again when a descriptor is first watched, so nothing that waits in a socket is missed.
cdef bint watch_all(Worker* worker) noexcept nogil:
    cdef Lane* lane = worker.shard.lanes
    cdef Session* session
    cdef Stream* stream = worker.shard.waiting
    cdef Listener* listener = worker.listeners
    cdef bint good = True
    cdef uint32_t at = 0
    cdef uint32_t i
    while lane != NULL:
        good = good and worker_watch(worker, &lane.handle, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, EPOLL_CTL_ADD)
        lane = lane.next
    while stream != NULL:
        good = good and watch_stream(worker, stream)
        stream = stream.next
    stream = worker.shard.directs
    while stream != NULL:
        good = good and watch_stream(worker, stream)
        stream = stream.next_direct
    session = session_next(&worker.shard, &at)
    while session != NULL:
        for i in range(session.flow_count):
            if session.flows[i] != NULL:
                good = good and watch_flow(worker, session.flows[i])
        session = session_next(&worker.shard, &at)
    while listener != NULL:
        good = good and worker_watch(worker, &listener.handle, EPOLLIN, EPOLL_CTL_ADD)
        listener = listener.next
    return good


cdef bint watch_flow(Worker* worker, Flow* flow) noexcept nogil:
    cdef uint32_t at = 0
    cdef Stream* stream = flow_stream_next(flow, &at)
    cdef bint good = True
    while stream != NULL:
        good = good and watch_stream(worker, stream)
        stream = flow_stream_next(flow, &at)
    return good


cdef bint watch_stream(Worker* worker, Stream* stream) noexcept nogil:
    cdef Dial* dial = stream.beside
    cdef bint good = True
    while dial != NULL:
        good = good and worker_watch(worker, &dial.handle, APPLICATION_EVENTS, EPOLL_CTL_ADD)
        dial = dial.next
    if stream.handle.fd < 0:
        return good
    return good and worker_watch(worker, &stream.handle, APPLICATION_EVENTS, EPOLL_CTL_ADD)
