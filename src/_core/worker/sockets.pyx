from libc.stdint cimport uint16_t, uint64_t, uint8_t
from libc.string cimport memcpy, memset

from pcgrelay._core.base.linux cimport (
    AF_UNIX, EACCES, EADDRINUSE, EADDRNOTAVAIL, EINPROGRESS, EMFILE, EPERM, GRND_NONBLOCK, IPPROTO_IP, IPPROTO_TCP,
    IP_BIND_ADDRESS_NO_PORT, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, SO_KEEPALIVE, SO_LINGER,
    SO_OOBINLINE, SO_REUSEADDR, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_NODELAY, bind, close, connect, errno,
    getrandom, linger, setsockopt, sockaddr, socket,
)
from pcgrelay._core.base.ports cimport (
    PORTS_PAUSE_US, PortRing, ports_choose, ports_release, ports_ring, ports_take,
)
from pcgrelay._core.base.wire cimport wire_put16
from pcgrelay._core.stream.service_tables cimport ROUTE_SOURCE
from pcgrelay._core.worker.worker cimport WORKER_CHANCES


cdef enum:
    KEEPALIVE_PROBES = 4        # unanswered ones, spread over keepalive_s, end a connection


cdef void sockets_tune(Worker* self, int fd) noexcept nogil:
    tune_young(fd)
    sockets_keep_alive(self, fd)


# What a connection to a target needs from its first byte on.
cdef void tune_young(int fd) noexcept nogil:
    cdef int one = 1
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one))
    sockets_end_as(fd, True)


# TCP_USER_TIMEOUT is not set: it would also end a connection whose reader is alive but stalled for so long.
cdef void sockets_keep_alive(Worker* self, int fd) noexcept nogil:
    cdef int one = 1
    cdef int count = KEEPALIVE_PROBES
    cdef int idle_s = <int>self.shard.keepalive_s
    cdef int again_s = (idle_s + KEEPALIVE_PROBES - 1) / KEEPALIVE_PROBES
    if setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count)) != 0:
        # A unix socket: the kernel knows at once that the other end is gone.
        return
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &again_s, sizeof(again_s))
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one))
    # The last: set on a connection that is kept alive it counts from the last byte, and not from now.
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s))


cdef void sockets_end_as(int fd, bint hard) noexcept nogil:
    cdef linger how
    how.l_onoff = hard
    how.l_linger = 0
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &how, sizeof(how))


cdef int sockets_open(Worker* self, const Target* target, const Source* source, Handle* made,
                      int* tries) noexcept nogil:
    cdef uint64_t now_us = self.shard.now_us
    cdef PortRing* ring
    cdef int error
    if (<const uint16_t*>target.address)[0] == <uint16_t>AF_UNIX:
        return open_socket(self, target, NULL, 0, made)
    ring = find_ring(self, target, source, False)
    if ring != NULL and now_us < ring.pause_us:
        return EADDRNOTAVAIL
    if ring != NULL and ports_choose(&self.shard.ports, ring, now_us):
        error = open_in_turn(self, target, source, ring, made, tries)
    else:
        error = open_socket(self, target, source, 0, made)
    if error == EADDRNOTAVAIL:
        ring = find_ring(self, target, source, True)
        if ring != NULL:
            ring.pause_us = now_us + PORTS_PAUSE_US
    return error


cdef PortRing* find_ring(Worker* self, const Target* target, const Source* source, bint must) noexcept nogil:
    return ports_ring(&self.shard.ports, &self.shard.pool, NULL if source == NULL else source.address, target.address,
                      self.shard.now_us, must)


# A port that another program has to itself, or that is in use to this target, is passed by. If all that were tried are,
# and some of them are another program's, the system chooses: bind() refuses each port from which anything of this
# machine has connected in the last minute, to whatever target, and connect() only one that is in use to this target.
cdef int open_in_turn(Worker* self, const Target* target, const Source* source, PortRing* ring, Handle* made,
                      int* tries) noexcept nogil:
    cdef uint64_t now_us = self.shard.now_us
    cdef uint16_t port
    cdef int error
    cdef bint is_crowded = False
    while tries[0] != 0:
        port = ports_take(&self.shard.ports, &self.shard.pool, ring, now_us, take_chance(self))
        if port == 0:
            break
        tries[0] -= 1
        error = open_socket(self, target, source, port, made)
        if error == 0:
            made.ring = ring
            made.port = port
            return 0
        ports_release(&self.shard.ports, ring, port, now_us)
        if error == SOCKETS_NO_CHOICE:
            ring.unbound = True
            return open_socket(self, target, source, 0, made)
        if error != EADDRNOTAVAIL and error != EADDRINUSE:
            return error
        is_crowded = is_crowded or error == EADDRINUSE
    return open_socket(self, target, source, 0, made) if is_crowded else EADDRNOTAVAIL


# So many at once, as each call of the system costs more than the number.
cdef uint64_t take_chance(Worker* self) noexcept nogil:
    if self.chances_left == 0:
        if getrandom(self.chances, sizeof(self.chances), GRND_NONBLOCK) < 0:
            # The same chances once more: only who guesses ports has it easier.
            self.chances[0] += 1
        self.chances_left = WORKER_CHANCES
    self.chances_left -= 1
    return self.chances[self.chances_left]


# port: of our own; 0: the system's choice.
cdef int open_socket(Worker* self, const Target* target, const Source* source, uint16_t port,
                     Handle* made) noexcept nogil:
    cdef uint16_t family = (<const uint16_t*>target.address)[0]
    cdef int error = 0
    cdef int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0:
        return errno
    if sockets_is_kept_back(self, fd):
        close(fd)
        return EMFILE
    if source != NULL or port != 0:
        error = bind_to(fd, target, source, port)
    if error == 0:
        if family != <uint16_t>AF_UNIX:
            tune_young(fd)
        if connect(fd, <const sockaddr*>target.address, target.length) == 0 or errno == EINPROGRESS:
            made.fd = fd
            return 0
        error = errno
    close(fd)
    return error


# A port may be in use to several targets, and in TIME-WAIT to this one. If the system is to choose, connect does, which
# sees that another target may have the same one.
cdef int bind_to(int fd, const Target* target, const Source* source, uint16_t port) noexcept nogil:
    cdef uint8_t address[ROUTE_SOURCE]
    cdef int one = 1
    memset(address, 0, sizeof(address))
    if source != NULL:
        memcpy(address, source.address, sizeof(address))
    else:
        memcpy(address, target.address, 2)
    if port == 0:
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one))
    else:
        wire_put16(address + 2, port)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one))
    if bind(fd, <const sockaddr*>address, target.length) == 0:
        return 0
    if port != 0 and (errno == EACCES or errno == EPERM):
        return SOCKETS_NO_CHOICE
    return errno if source == NULL or errno == EADDRINUSE else SOCKETS_NO_SOURCE
