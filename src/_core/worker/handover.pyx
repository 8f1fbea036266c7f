from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc
from libc.string cimport memcpy, memset

from pcgrelay._core.base.tlv cimport (
    Tlv, tlv_descriptor, tlv_enter, tlv_fail, tlv_next, tlv_number, tlv_open, tlv_raw, tlv_shut,
)
from pcgrelay._core.edge.associations cimport association_leave
from pcgrelay._core.stream.flow cimport Flow, flow_stream_next
from pcgrelay._core.base.handle cimport HANDLE_DATAGRAMS, HANDLE_LISTENER
from pcgrelay._core.handover.shard cimport handover_read, handover_write
from pcgrelay._core.link.shard cimport Lane, Shard, UdpSocket
from pcgrelay._core.base.linux cimport (
    APPLICATION_EVENTS, EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLL_CTL_ADD, monotonic_us,
)
from pcgrelay._core.base.map cimport Map, map_free
from pcgrelay._core.base.ports cimport PORTS_AGAIN_US, PORTS_UNKNOWN
from pcgrelay._core.base.result cimport RESULT_BAD_FIELD, RESULT_NO_MEMORY, RESULT_OK, RESULT_SOCKET
from pcgrelay._core.session.session cimport Session, session_next
from pcgrelay._core.session.stream_walk cimport StreamWalk, stream_walk_next
from pcgrelay._core.base.stats cimport STATS_LISTENERS
from pcgrelay._core.stream.stream cimport Association, Dial, Stream
from pcgrelay._core.worker.datagram_sockets cimport (
    PORTS_QUIET_S, datagram_clients, datagram_port_rests, datagram_restore,
)
from pcgrelay._core.worker.udp_io cimport udp_io_watch
from pcgrelay._core.worker.worker cimport WORKER_EDGE, WORKER_PORTS, Listener, Worker, worker_watch

# Tags in the container of a worker continue those of its shard, and never change their meaning either.
cdef enum:
    WORKER_LISTENER = 32
    LISTENER_NUMBER = 1
    LISTENER_SOCKET = 2
    LISTENER_COUNTS = 3
    LISTENER_SERIAL = 4
    LISTENER_DATAGRAMS = 5
    LISTENER_ORIGIN = 6
    LISTENER_ORIGIN_SERIAL = 7
    LISTENER_OVERFLOWS = 8

cdef enum:
    WORKER_CLOSED_PORTS = 33    # of UDP: the time << 16, and the port

cdef extern from *:
    """
    #define HEIR_NO_LIMIT (1ull << 62)
    """
    const uint64_t HEIR_NO_LIMIT


cdef void worker_handover_write(Tlv* self, Worker* worker) noexcept nogil:
    cdef Listener* listener = worker.listeners
    cdef uint64_t mark
    drop_datagrams(worker)
    handover_write(self, &worker.shard)
    closed_ports_write(self, worker)
    while listener != NULL:
        mark = tlv_open(self, WORKER_LISTENER)
        listener_fields(self, worker, listener)
        listener.handle.shared = True
        tlv_shut(self, mark)
        listener = listener.next


# Datagrams that wait for their flow, or for a target's socket, are not in the record: they are counted before their
# counts are written.
cdef void drop_datagrams(Worker* worker) noexcept nogil:
    cdef StreamWalk walk
    cdef Stream* stream
    memset(&walk, 0, sizeof(walk))
    stream = stream_walk_next(&worker.shard, &walk)
    while stream != NULL:
        association_leave(&worker.shard, stream)
        stream = stream_walk_next(&worker.shard, &walk)
    stream = worker.shard.directs
    while stream != NULL:
        association_leave(&worker.shard, stream)
        stream = stream.next_direct
    stream = worker.shard.waiting
    while stream != NULL:
        association_leave(&worker.shard, stream)
        stream = stream.next


cdef void listener_fields(Tlv* self, Worker* worker, Listener* listener) noexcept nogil:
    cdef uint32_t serial = 0 if listener.clients == NULL else listener.clients.serial
    cdef uint32_t overflows = 0 if listener.clients == NULL else listener.clients.overflows
    cdef bint datagrams = listener.clients != NULL
    tlv_number(self, LISTENER_NUMBER, &listener.number, 4)
    tlv_descriptor(self, LISTENER_SOCKET, &listener.handle.fd)
    tlv_number(self, LISTENER_COUNTS, &listener.counts, 4)
    if not self.reading and not datagrams:
        return
    tlv_number(self, LISTENER_SERIAL, &serial, 4)
    tlv_number(self, LISTENER_DATAGRAMS, &datagrams, sizeof(datagrams))
    tlv_number(self, LISTENER_ORIGIN, &listener.origin, 4)
    tlv_number(self, LISTENER_ORIGIN_SERIAL, &listener.origin_serial, 4)
    tlv_number(self, LISTENER_OVERFLOWS, &overflows, 4)
    if not self.reading or not datagrams:
        return
    listener.handle.kind = HANDLE_DATAGRAMS
    if not datagram_clients(worker, listener):
        tlv_fail(self, RESULT_NO_MEMORY)
        return
    listener.clients.serial = serial
    listener.clients.overflows = overflows
    worker.serials = max(worker.serials, serial)


# Streams were read before their listeners.
cdef bint find_listeners(Worker* worker) noexcept nogil:
    cdef StreamWalk walk
    cdef Stream* stream
    memset(&walk, 0, sizeof(walk))
    stream = stream_walk_next(&worker.shard, &walk)
    while stream != NULL:
        if not find_listener(worker, stream.association):
            return False
        stream = stream_walk_next(&worker.shard, &walk)
    stream = worker.shard.directs
    while stream != NULL:
        if not find_listener(worker, stream.association):
            return False
        stream = stream.next_direct
    stream = worker.shard.waiting
    while stream != NULL:
        if not find_listener(worker, stream.association):
            return False
        stream = stream.next
    return True


# association: NULL, if the stream has none.
cdef bint find_listener(Worker* worker, Association* association) noexcept nogil:
    cdef Listener* listener = worker.listeners
    if association == NULL or association.serial == 0:
        return True
    while listener != NULL and (listener.clients == NULL or listener.clients.serial != association.serial):
        listener = listener.next
    return listener != NULL and datagram_restore(worker, listener, association)


cdef void closed_ports_write(Tlv* self, Worker* worker) noexcept nogil:
    cdef uint64_t mark = tlv_open(self, WORKER_CLOSED_PORTS)
    cdef uint64_t item
    cdef uint32_t port
    for port in range(WORKER_PORTS):
        if not datagram_port_rests(worker, <uint16_t>port, PORTS_QUIET_S):
            item = (<uint64_t>worker.closed_s[port]) << 16 | port
            tlv_raw(self, &item, sizeof(item))
    tlv_shut(self, mark)


cdef void closed_ports_read(Tlv* self, Worker* worker) noexcept nogil:
    cdef uint64_t at = 0, n = 0, item
    cdef uint8_t* p = NULL
    while tlv_next(self, WORKER_CLOSED_PORTS, &at, &p, &n):
        while n >= sizeof(item):
            memcpy(&item, p, sizeof(item))
            p += sizeof(item)
            n -= sizeof(item)
            worker.closed_s[item & 0xffff] = <uint32_t>(item >> 16)


cdef void worker_handover_read(Tlv* self, Worker* worker, Map* link_gauges, Map* session_gauges) noexcept nogil:
    cdef uint64_t limit = worker.shard.pool.limit
    worker.shard.pool.limit = HEIR_NO_LIMIT
    handover_read(self, &worker.shard, link_gauges, session_gauges)
    worker.shard.pool.limit = limit
    if self.result == RESULT_OK:
        listeners_read(self, worker)
        closed_ports_read(self, worker)
    if self.result == RESULT_OK and not find_listeners(worker):
        tlv_fail(self, RESULT_BAD_FIELD)
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
        listener.handle.fd = -1
        listener_fields(&inner, worker, listener)
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
    cdef UdpSocket* udp = worker.shard.udp_sockets
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
    while udp != NULL:
        good = good and udp_io_watch(worker, udp)
        udp = udp.next
    while listener != NULL:
        # Another worker reads that of which this one has a copy.
        good = good and (listener.origin != 0 or worker_watch(worker, &listener.handle, EPOLLIN, EPOLL_CTL_ADD))
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
    return good and worker_watch(worker, &stream.handle, EPOLLIN if stream.datagram else APPLICATION_EVENTS,
                                 EPOLL_CTL_ADD)
