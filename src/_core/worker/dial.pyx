from libc.stdint cimport uint16_t, uint32_t, uint8_t
from libc.string cimport memset

from pcgrelay._core.base.buf cimport pool_alloc
from pcgrelay._core.edge.streams cimport edge_abort, edge_break, edge_connected
from pcgrelay._core.edge.targets cimport (
    targets_again, targets_dialled, targets_next, targets_source, targets_source_count, targets_tell_caller,
)
from pcgrelay._core.edge.limits cimport limits_grow_up
from pcgrelay._core.base.handle cimport HANDLE_DIAL, Handle
from pcgrelay._core.edge.proxy_header cimport (
    PROXY_LOCAL, PROXY_MOST, PROXY_TCP4, PROXY_TCP6, ProxyFamily, proxy_header,
)
from pcgrelay._core.link.gauge cimport Gauge
from pcgrelay._core.session.session cimport flow_session
from pcgrelay._core.stream.flow cimport Flow, stream_flow
from pcgrelay._core.base.linux cimport (
    AF_INET, AF_INET6, AF_UNIX, APPLICATION_EVENTS, EACCES, EADDRINUSE, EADDRNOTAVAIL, EAGAIN, ECONNREFUSED,
    ECONNRESET, EMFILE, ENFILE, ENOBUFS, ENOENT, ENOMEM, EPERM, EPIPE, EPOLLERR, EPOLLHUP, EPOLLOUT, EPOLLPRI,
    EPOLLRDHUP, EPOLL_CTL_ADD, EPOLL_CTL_MOD, ETIMEDOUT, MSG_NOSIGNAL, SOL_SOCKET, SO_ERROR, errno, getpeername,
    getsockname, getsockopt, send, sockaddr,
)
from pcgrelay._core.base.ports cimport PORTS_TRIES
from pcgrelay._core.stream.service_tables cimport ROUTE_ADDRESS, Source, Target
from pcgrelay._core.base.stats cimport (
    CAUSE_CONNECT_FORBIDDEN, CAUSE_DESCRIPTORS, CAUSE_NO_LOCAL_PORT, CAUSE_NO_SOURCE, CAUSE_TARGET_REFUSED,
    CAUSE_TARGET_SILENT, CAUSE_TARGET_UNREACHABLE, Cause,
)
from pcgrelay._core.stream.stream cimport (
    BREAK_TAKEN, BREAK_TOLD, LIFE_LIVE, Dial, Stream, stream_hang_up, stream_young_until,
)
from pcgrelay._core.base.wire cimport CODE_BUSY, CODE_TIMEOUT, CODE_UNREACHABLE
from pcgrelay._core.worker.sockets cimport SOCKETS_NO_SOURCE, sockets_keep_alive, sockets_open
from pcgrelay._core.worker.worker cimport Worker, worker_close, worker_watch


cdef int socket_error(int fd) noexcept nogil:
    cdef int error = 0
    cdef uint32_t length = sizeof(error)
    if getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0:
        return errno
    return error


# Failures that are not the target's fault, and that the operator of this node can mend.
cdef Cause cause_of(int error) noexcept nogil:
    if error == SOCKETS_NO_SOURCE:
        return CAUSE_NO_SOURCE
    # The second is of a unix socket that is not there.
    if error == ECONNREFUSED or error == ENOENT:
        return CAUSE_TARGET_REFUSED
    if error == ETIMEDOUT:
        return CAUSE_TARGET_SILENT
    if error == EADDRNOTAVAIL or error == EADDRINUSE or error == EAGAIN:
        return CAUSE_NO_LOCAL_PORT
    if error == EACCES or error == EPERM:
        return CAUSE_CONNECT_FORBIDDEN
    if error == EMFILE or error == ENFILE or error == ENOBUFS or error == ENOMEM:
        return CAUSE_DESCRIPTORS
    return CAUSE_TARGET_UNREACHABLE


cdef void dial_give_up(Worker* self, Stream* stream, int error) noexcept nogil:
    cdef Cause cause = cause_of(error)
    cdef uint32_t code = CODE_UNREACHABLE
    if cause == CAUSE_NO_LOCAL_PORT or cause == CAUSE_DESCRIPTORS:
        code = CODE_BUSY
    elif cause == CAUSE_TARGET_SILENT:
        code = CODE_TIMEOUT
    edge_abort(&self.shard, stream, code, cause)


# A connection that may still come is not reported where the queue of a unix socket is full: it is asked for again.
cdef bint is_crowded(int error, uint16_t family) noexcept nogil:
    return error == EAGAIN and family == <uint16_t>AF_UNIX


# Begin one connection, as the stream's own or in parallel with it; 0, or why not.
cdef int begin(Worker* self, Stream* stream, const Target* target) noexcept nogil:
    cdef uint16_t family = (<const uint16_t*>target.address)[0]
    cdef const Source* source = NULL
    cdef Handle made
    cdef uint32_t sources = 1 if family == <uint16_t>AF_UNIX else targets_source_count(&self.shard, stream)
    cdef int tries = PORTS_TRIES
    cdef int error = EADDRNOTAVAIL
    memset(&made, 0, sizeof(made))
    # A source without a port is followed by the next one.
    while error == EADDRNOTAVAIL and sources != 0 and tries != 0:
        if family != <uint16_t>AF_UNIX and not targets_source(&self.shard, stream, family, &source):
            return SOCKETS_NO_SOURCE
        error = sockets_open(self, target, source, &made, &tries)
        sources -= 1
    if error != 0:
        return error
    return 0 if keep(self, stream, &made) else ENOMEM


cdef void dial_next(Worker* self, Stream* stream, int error) noexcept nogil:
    cdef const Target* target
    while True:
        target = targets_next(&self.shard, stream)
        if target == NULL:
            break
        error = begin(self, stream, target)
        if error == 0:
            break
        if is_crowded(error, (<const uint16_t*>target.address)[0]):
            targets_again(&self.shard, stream)
            return
    if stream.handle.fd < 0 and stream.beside == NULL:
        dial_give_up(self, stream, error)
    else:
        targets_dialled(&self.shard, stream)


cdef void move(Handle* to, Handle* made) noexcept nogil:
    to.fd = made.fd
    to.shared = made.shared
    to.ring = made.ring
    to.port = made.port
    made.fd = -1
    made.ring = NULL


# Watch a socket that is being connected, as the stream's own or in parallel with it.
cdef bint keep(Worker* self, Stream* stream, Handle* made) noexcept nogil:
    cdef Dial* dial
    if stream.handle.fd < 0:
        move(&stream.handle, made)
        if worker_watch(self, &stream.handle, APPLICATION_EVENTS, EPOLL_CTL_ADD):
            return True
        worker_close(self, &stream.handle, True)
        return False
    dial = <Dial*>pool_alloc(&self.shard.pool, sizeof(Dial))
    if dial == NULL:
        worker_close(self, made, True)
        return False
    dial.handle.kind = HANDLE_DIAL
    move(&dial.handle, made)
    dial.stream = stream
    dial.next = stream.beside
    stream.beside = dial
    if worker_watch(self, &dial.handle, APPLICATION_EVENTS, EPOLL_CTL_ADD):
        return True
    forget(self, dial)
    return False


# Close a connection tried in parallel, if it has not become the stream's own, and free its record at the end of the
# turn.
cdef void forget(Worker* self, Dial* dial) noexcept nogil:
    cdef Dial** at = &dial.stream.beside
    while at[0] != dial:
        at = &at[0].next
    at[0] = dial.next
    worker_close(self, &dial.handle, True)
    dial.stream = NULL
    dial.next = self.deferred_dials
    self.deferred_dials = dial


cdef void dial_drop(Worker* self, Stream* stream) noexcept nogil:
    while stream.beside != NULL:
        forget(self, stream.beside)


cdef inline bint is_an_end(uint32_t events) noexcept nogil:
    return events & (EPOLLERR | EPOLLHUP) != 0


# epoll reports a failed connection as writable with an error. It reports a connection that was established and reset
# before this call in the same way, and what the server sent meanwhile can still be read. The error distinguishes them:
# a reset is ECONNREFUSED before the connection is established, ECONNRESET after that, or EPIPE if FIN came before.
cdef inline bint was_made(int error) noexcept nogil:
    return error == 0 or error == ECONNRESET or error == EPIPE


cdef void dial_told(Worker* self, Stream* stream, uint32_t events) noexcept nogil:
    cdef int error = socket_error(stream.handle.fd) if is_an_end(events) else 0
    if not was_made(error):
        worker_close(self, &stream.handle, True)
        dial_next(self, stream, error)
    elif events & (EPOLLOUT | EPOLLERR | EPOLLHUP):
        dial_drop(self, stream)
        connected(self, stream, events, error)


cdef void dial_beside_told(Worker* self, Dial* dial, uint32_t events) noexcept nogil:
    cdef Stream* stream = dial.stream
    cdef int error
    if stream == NULL or stream.life != LIFE_LIVE:
        return
    error = socket_error(dial.handle.fd) if is_an_end(events) else 0
    if not was_made(error):
        forget(self, dial)
        dial_next(self, stream, error)
    elif events & (EPOLLOUT | EPOLLERR | EPOLLHUP):
        # epoll may have reported the other one in this turn too.
        stream.swapped_us = self.shard.now_us
        worker_close(self, &stream.handle, True)
        move(&stream.handle, &dial.handle)
        dial_drop(self, stream)
        if worker_watch(self, &stream.handle, APPLICATION_EVENTS, EPOLL_CTL_MOD):
            connected(self, stream, events, error)
        else:
            dial_give_up(self, stream, errno)


# A target that was slow to answer may have an old stream.
cdef void keep_alive_in_time(Worker* self, Stream* stream) noexcept nogil:
    if stream_young_until(stream) <= self.shard.now_us:
        sockets_keep_alive(self, stream.handle.fd)
    else:
        limits_grow_up(&self.shard, stream)


cdef void connected(Worker* self, Stream* stream, uint32_t events, int error) noexcept nogil:
    # The other end of a unix socket that is closed shows as an end too, and is one in order.
    cdef bint broken = events & EPOLLERR != 0 or error != 0
    if targets_tell_caller(&self.shard, stream) and not broken and not tell_caller(self, stream):
        dial_give_up(self, stream, errno)
        return
    edge_connected(&self.shard, stream)
    keep_alive_in_time(self, stream)
    if broken:
        edge_break(&self.shard, stream, BREAK_TOLD if error == EPIPE else BREAK_TAKEN)
    else:
        # The server sent data and closed before this call: epoll reports its end only this once.
        if events & (EPOLLRDHUP | EPOLLHUP | EPOLLPRI):
            stream_hang_up(stream)


# The buffer of a new connection has room for the header. False: it could not be sent whole.
cdef bint tell_caller(Worker* self, Stream* stream) noexcept nogil:
    cdef uint8_t header[PROXY_MOST]
    cdef uint8_t source[ROUTE_ADDRESS]
    cdef uint8_t destination[ROUTE_ADDRESS]
    cdef uint32_t source_length = sizeof(source)
    cdef uint32_t destination_length = sizeof(destination)
    cdef Flow* flow = stream_flow(stream)
    cdef const Gauge* gauge = flow_session(flow).gauge
    cdef ProxyFamily family = PROXY_LOCAL
    cdef uint32_t length
    if getsockname(stream.handle.fd, <sockaddr*>source, &source_length) != 0 \
            or getpeername(stream.handle.fd, <sockaddr*>destination, &destination_length) != 0:
        return False
    if (<uint16_t*>source)[0] == <uint16_t>AF_INET:
        family = PROXY_TCP4
    elif (<uint16_t*>source)[0] == <uint16_t>AF_INET6:
        family = PROXY_TCP6
    length = proxy_header(header, family, source, destination, gauge.caller, gauge.caller_length, gauge.id_head,
                          flow.index, stream.id)
    return length != 0 and send(stream.handle.fd, header, length, MSG_NOSIGNAL) == <ssize_t>length
