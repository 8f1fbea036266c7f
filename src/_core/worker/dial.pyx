from libc.stdint cimport uint16_t, uint32_t, uint8_t

from pcgrelay._core.base.buf cimport pool_alloc
from pcgrelay._core.edge.streams cimport edge_abort, edge_break, edge_connected
from pcgrelay._core.edge.targets cimport (
    targets_again, targets_dialled, targets_next, targets_source, targets_tell_caller,
)
from pcgrelay._core.base.handle cimport HANDLE_DIAL
from pcgrelay._core.edge.proxy_header cimport (
    PROXY_LOCAL, PROXY_MOST, PROXY_TCP4, PROXY_TCP6, ProxyFamily, proxy_header,
)
from pcgrelay._core.link.gauge cimport Gauge
from pcgrelay._core.session.session cimport flow_session
from pcgrelay._core.stream.flow cimport Flow, stream_flow
from pcgrelay._core.base.linux cimport (
    AF_INET, AF_INET6, AF_UNIX, APPLICATION_EVENTS, EACCES, EADDRINUSE, EADDRNOTAVAIL, EAGAIN, ECONNREFUSED,
    ECONNRESET, EINPROGRESS, EMFILE, ENFILE, ENOBUFS, ENOENT, ENOMEM, EPERM, EPIPE, EPOLLERR, EPOLLHUP, EPOLLOUT,
    EPOLLPRI, EPOLLRDHUP, EPOLL_CTL_ADD, EPOLL_CTL_MOD, ETIMEDOUT, IPPROTO_IP, IPPROTO_TCP, IP_BIND_ADDRESS_NO_PORT,
    MSG_NOSIGNAL, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, SO_ERROR, SO_KEEPALIVE, SO_LINGER,
    SO_OOBINLINE, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_NODELAY, bind, close, connect, errno, getpeername,
    getsockname, getsockopt, linger, send, setsockopt, sockaddr, socket,
)
from pcgrelay._core.stream.service_tables cimport ROUTE_ADDRESS, Source, Target
from pcgrelay._core.base.stats cimport (
    CAUSE_CONNECT_FORBIDDEN, CAUSE_DESCRIPTORS, CAUSE_NO_LOCAL_PORT, CAUSE_NO_SOURCE, CAUSE_TARGET_REFUSED,
    CAUSE_TARGET_SILENT, CAUSE_TARGET_UNREACHABLE, Cause,
)
from pcgrelay._core.stream.stream cimport BREAK_TAKEN, BREAK_TOLD, LIFE_LIVE, Dial, Stream, stream_hang_up
from pcgrelay._core.base.wire cimport CODE_BUSY, CODE_TIMEOUT, CODE_UNREACHABLE
from pcgrelay._core.worker.worker cimport Worker, worker_close, worker_watch


cdef enum:
    KEEPALIVE_PROBES = 4        # unanswered ones, spread over keepalive_s, end a connection
    NO_SOURCE = -1              # beside the system's errors: the address to connect from is not there, or of no use


# TCP_USER_TIMEOUT is not set: it would also end a connection whose reader is alive but stalled for so long.
cdef void dial_tune(Worker* self, int fd) noexcept nogil:
    cdef int one = 1
    cdef int count = KEEPALIVE_PROBES
    cdef int idle_s = <int>self.shard.keepalive_s
    cdef int again_s = (idle_s + KEEPALIVE_PROBES - 1) / KEEPALIVE_PROBES
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s))
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &again_s, sizeof(again_s))
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count))
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one))
    setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one))
    dial_end_as(fd, True)


cdef void dial_end_as(int fd, bint hard) noexcept nogil:
    cdef linger how
    how.l_onoff = hard
    how.l_linger = 0
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &how, sizeof(how))


cdef int socket_error(int fd) noexcept nogil:
    cdef int error = 0
    cdef uint32_t length = sizeof(error)
    if getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0:
        return errno
    return error


# Failures that are not the target's fault, and that the operator of this node can mend.
cdef Cause cause_of(int error) noexcept nogil:
    if error == NO_SOURCE:
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


cdef void give_up(Worker* self, Stream* stream, int error) noexcept nogil:
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
    cdef const Source* source
    cdef int error
    cdef int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0:
        return errno
    if dial_is_kept_back(self, fd):
        close(fd)
        return EMFILE
    if family != <uint16_t>AF_UNIX:
        dial_tune(self, fd)
        if not targets_source(&self.shard, stream, family, &source) or (source != NULL and not bind_to(fd, source)):
            close(fd)
            return NO_SOURCE
    if connect(fd, <const sockaddr*>target.address, target.length) != 0 and errno != EINPROGRESS:
        error = errno
        close(fd)
        return error
    return 0 if keep(self, stream, fd) else ENOMEM


# The port is chosen by connect, which sees that another target may have the same one.
cdef bint bind_to(int fd, const Source* source) noexcept nogil:
    cdef int one = 1
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one))
    return bind(fd, <const sockaddr*>source.address, source.length) == 0


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
        give_up(self, stream, error)
    else:
        targets_dialled(&self.shard, stream)


# Watch a socket that is being connected, as the stream's own or in parallel with it.
cdef bint keep(Worker* self, Stream* stream, int fd) noexcept nogil:
    cdef Dial* dial
    if stream.handle.fd < 0:
        stream.handle.fd = fd
        if worker_watch(self, &stream.handle, APPLICATION_EVENTS, EPOLL_CTL_ADD):
            return True
        worker_close(self, &stream.handle, True)
        return False
    dial = <Dial*>pool_alloc(&self.shard.pool, sizeof(Dial))
    if dial == NULL:
        close(fd)
        return False
    dial.handle.kind = HANDLE_DIAL
    dial.handle.fd = fd
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
        stream.handle.fd = dial.handle.fd
        stream.handle.shared = dial.handle.shared
        dial.handle.fd = -1
        dial_drop(self, stream)
        if worker_watch(self, &stream.handle, APPLICATION_EVENTS, EPOLL_CTL_MOD):
            connected(self, stream, events, error)
        else:
            give_up(self, stream, errno)


cdef void connected(Worker* self, Stream* stream, uint32_t events, int error) noexcept nogil:
    # The other end of a unix socket that is closed shows as an end too, and is one in order.
    cdef bint broken = events & EPOLLERR != 0 or error != 0
    if targets_tell_caller(&self.shard, stream) and not broken and not tell_caller(self, stream):
        give_up(self, stream, errno)
        return
    edge_connected(&self.shard, stream)
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
