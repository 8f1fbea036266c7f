from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from pcgrelay._core.base.atomics cimport counter32_get, counter32_set, counter_add
from pcgrelay._core.base.handle cimport HANDLE_DATAGRAMS, Handle
from pcgrelay._core.base.linux cimport (
    AF_INET6, AF_UNIX, EADDRNOTAVAIL, EAFNOSUPPORT, EMFILE, EPOLLIN, EPOLL_CTL_ADD, GRND_NONBLOCK, IPPROTO_IP,
    IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT, IPV6_RECVPKTINFO, IP_MTU_DISCOVER, IP_PKTINFO,
    IP_PMTUDISC_DONT, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOL_SOCKET, SK_MEMINFO_DROPS, SO_MEMINFO, SO_RCVBUF,
    bind, close, connect, errno, getrandom, getsockname, getsockopt, setsockopt, sockaddr, socket,
)
from pcgrelay._core.base.stats cimport CAUSE_DRAINING, DROP_QUEUE
from pcgrelay._core.base.wire cimport CODE_DRAINING, wire_get16
from pcgrelay._core.edge.clients cimport (
    CLIENTS_KEYS, Clients, clients_add, clients_find, clients_hash, clients_start, clients_stop,
)
from pcgrelay._core.edge.streams cimport edge_abort, edge_connected
from pcgrelay._core.edge.targets cimport targets_next, targets_source
from pcgrelay._core.stream.service_tables cimport ROUTE_ADDRESS, Source, Target
from pcgrelay._core.worker.dial cimport dial_give_up
from pcgrelay._core.worker.sockets cimport SOCKETS_NO_SOURCE, sockets_is_kept_back
from pcgrelay._core.worker.worker cimport worker_close, worker_watch


cdef enum:
    RECEIVE_BUFFER = 1048576    # of an import; the system may allow less
    PORT_TRIES = 8              # for one association
    SOCKET_FACTS = 16           # that the system tells of a socket, and there may be more one day


# -- of an import -----------------------------------------------------------------------------------------------------

cdef bint datagram_clients(Worker* self, Listener* listener) noexcept nogil:
    cdef uint64_t keys[CLIENTS_KEYS]
    listener.clients = <Clients*>calloc(1, sizeof(Clients))
    # Less than 256 bytes come whole, or not at all.
    if listener.clients == NULL or getrandom(keys, sizeof(keys), GRND_NONBLOCK) != <ssize_t>sizeof(keys):
        free(listener.clients)
        listener.clients = NULL
        return False
    clients_start(listener.clients, listener.number, listener.handle.fd, keys)
    listener.clients.counts = <uint16_t>listener.counts
    self.serials += 1
    listener.clients.serial = self.serials
    return True


cdef void datagram_listen(Worker* self, Order* order) noexcept nogil:
    cdef Listener* listener = <Listener*>calloc(1, sizeof(Listener))
    cdef int size = RECEIVE_BUFFER
    if listener == NULL:
        close(order.fd)
        return
    listener.handle.kind = HANDLE_DATAGRAMS
    listener.handle.fd = order.fd
    listener.number = order.args.listen.import_number
    listener.counts = order.args.listen.listener
    setsockopt(order.fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size))
    if not datagram_clients(self, listener) or not tells_local(order.fd) \
            or not worker_watch(self, &listener.handle, EPOLLIN, EPOLL_CTL_ADD):
        free(listener.clients)
        free(listener)
        close(order.fd)
        return
    listener.next = self.listeners
    self.listeners = listener


# Let a router split what is too long for its next network, as is usual for UDP: a service knows nothing of the paths on
# both sides of the gateway, and what it sends must not be lost because of them.
cdef void let_split(int fd, uint16_t family) noexcept nogil:
    cdef int how
    if family == <uint16_t>AF_INET6:
        how = IPV6_PMTUDISC_DONT
        setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &how, sizeof(how))
    else:
        how = IP_PMTUDISC_DONT
        setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &how, sizeof(how))


# Have each datagram come with the address that it was sent to: the answer leaves from there.
cdef bint tells_local(int fd) noexcept nogil:
    cdef uint8_t address[ROUTE_ADDRESS]
    cdef uint32_t length = sizeof(address)
    cdef int one = 1
    if getsockname(fd, <sockaddr*>address, &length) != 0:
        return False
    let_split(fd, (<uint16_t*>address)[0])
    if (<uint16_t*>address)[0] == <uint16_t>AF_INET6:
        return setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one)) == 0
    return setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one)) == 0


# How many found no room in a socket since it was made, modulo 2^32; *known, if the system does not tell.
cdef uint32_t system_overflows(int fd, uint32_t known) noexcept nogil:
    cdef uint32_t told[SOCKET_FACTS]
    cdef uint32_t length = sizeof(told)
    memset(told, 0, sizeof(told))
    if getsockopt(fd, SOL_SOCKET, SO_MEMINFO, told, &length) != 0 \
            or length < (SK_MEMINFO_DROPS + 1) * sizeof(uint32_t):
        return known
    return told[SK_MEMINFO_DROPS]


cdef void datagram_overflows(Worker* self, Listener* listener) noexcept nogil:
    cdef uint32_t overflows
    if listener.origin != 0 or listener.handle.fd < 0:
        return
    overflows = system_overflows(listener.handle.fd, listener.clients.overflows)
    counter_add(&self.shard.stats.dropped[DROP_QUEUE], <uint32_t>(overflows - listener.clients.overflows))
    listener.clients.overflows = overflows


cdef void datagram_overflows_of(Worker* self, const Stream* stream, Association* association) noexcept nogil:
    cdef uint32_t overflows
    if association == NULL or stream.handle.fd < 0:
        return
    overflows = system_overflows(stream.handle.fd, association.overflows)
    counter_add(&self.shard.stats.dropped[DROP_QUEUE], <uint32_t>(overflows - association.overflows))
    association.dropped[DROP_QUEUE] += <uint32_t>(overflows - association.overflows)
    association.overflows = overflows


cdef void datagram_unlisten(Worker* self, Listener* listener) noexcept nogil:
    datagram_overflows(self, listener)
    while listener.clients.oldest != NULL:
        edge_abort(&self.shard, listener.clients.oldest.stream, CODE_DRAINING, CAUSE_DRAINING)
    clients_stop(listener.clients)
    free(listener.clients)
    listener.clients = NULL


cdef bint datagram_restore(Worker* self, Listener* listener, Association* association) noexcept nogil:
    association.hash = clients_hash(listener.clients, association.client, association.local)
    if clients_find(listener.clients, association.client, association.local, association.hash) != NULL:
        return False
    return clients_add(listener.clients, &self.shard.pool, association)


# -- to a target ------------------------------------------------------------------------------------------------------

cdef inline uint32_t second(const Worker* self) noexcept nogil:
    return <uint32_t>(self.shard.now_us / 1000000) + PORTS_QUIET_S + 1


# Whether no worker of this node has closed this port within so many seconds.
cdef bint port_rests(Worker* self, uint16_t port, uint32_t seconds) noexcept nogil:
    cdef uint32_t i
    # Each has its own clock, which the others must not read.
    for i in range(self.shard.workers):
        if counter32_get(&self.siblings[i].closed_s[port]) + seconds > second(self):
            return False
    return True


cdef bint datagram_port_rests(const Worker* self, uint16_t port, uint32_t seconds) noexcept nogil:
    return counter32_get(&self.closed_s[port]) + seconds <= second(self)


cdef uint16_t local_port(int fd) noexcept nogil:
    cdef uint8_t address[ROUTE_ADDRESS]
    cdef uint32_t length = sizeof(address)
    # That of a shadow has neither address nor port.
    memset(address, 0, sizeof(address))
    return wire_get16(address + 2) if getsockname(fd, <sockaddr*>address, &length) == 0 else 0


cdef int open_socket(Worker* self, const Target* target, const Source* source, int* made) noexcept nogil:
    cdef uint16_t family = (<const uint16_t*>target.address)[0]
    cdef int error
    cdef int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0:
        return errno
    if sockets_is_kept_back(self, fd):
        close(fd)
        return EMFILE
    let_split(fd, family)
    if source != NULL and bind(fd, <const sockaddr*>source.address, source.length) != 0:
        close(fd)
        return SOCKETS_NO_SOURCE
    if connect(fd, <const sockaddr*>target.address, target.length) != 0:
        error = errno
        close(fd)
        return error
    made[0] = fd
    return 0


# Ports that must not be used yet stay taken until there is another, or they would be chosen again. Once none was quiet
# it is for a second enough that one has rested a little: to look for more each time would cost as much as all the rest.
cdef int open_quiet(Worker* self, const Target* target, const Source* source, Handle* made) noexcept nogil:
    cdef int held[PORT_TRIES]
    cdef uint32_t wanted_s = PORTS_LEAST_S if self.crowded_s == second(self) else PORTS_QUIET_S
    cdef int n = 0
    cdef int error
    while True:
        error = open_socket(self, target, source, &made.fd)
        if error != 0:
            break
        made.port = local_port(made.fd)
        if port_rests(self, made.port, wanted_s):
            break
        held[n] = made.fd
        n += 1
        if n == PORT_TRIES:
            error = EADDRNOTAVAIL
            break
    if error != 0 and n != 0:
        # Or the system has no more.
        self.crowded_s = second(self)
        if take_rested(self, held, n, made):
            error = 0
    while n != 0:
        n -= 1
        if held[n] >= 0:
            close(held[n])
    return error


# Take the first of them whose port has rested a little. False: there is none.
cdef bint take_rested(Worker* self, int* held, int n, Handle* made) noexcept nogil:
    cdef int i
    for i in range(n):
        made.port = local_port(held[i])
        if port_rests(self, made.port, PORTS_LEAST_S):
            made.fd = held[i]
            held[i] = -1
            return True
    return False


cdef int dial(Worker* self, Stream* stream, const Target* target) noexcept nogil:
    cdef uint16_t family = (<const uint16_t*>target.address)[0]
    cdef const Source* source = NULL
    cdef int error
    if family == <uint16_t>AF_UNIX:
        return EAFNOSUPPORT
    if not targets_source(&self.shard, stream, family, &source):
        return SOCKETS_NO_SOURCE
    error = open_quiet(self, target, source, &stream.handle)
    if error != 0:
        stream.handle.fd = -1
        return error
    if worker_watch(self, &stream.handle, EPOLLIN, EPOLL_CTL_ADD):
        return 0
    error = errno
    worker_close(self, &stream.handle, True)
    return error


cdef void datagram_dial(Worker* self, Stream* stream) noexcept nogil:
    cdef const Target* target
    cdef int error = 0
    while True:
        target = targets_next(&self.shard, stream)
        if target == NULL:
            dial_give_up(self, stream, error)
            return
        error = dial(self, stream, target)
        if error == 0:
            edge_connected(&self.shard, stream)
            return


cdef void datagram_close(Worker* self, Stream* stream) noexcept nogil:
    if stream.handle.fd < 0:
        return
    if stream.handle.port == 0:
        # It was opened by another process.
        stream.handle.port = local_port(stream.handle.fd)
    counter32_set(&self.closed_s[stream.handle.port], second(self))
    worker_close(self, &stream.handle, True)
