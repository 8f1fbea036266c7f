from libc.stdint cimport uint16_t, uint32_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.linux cimport (
    AF_INET, CMSG_DATA, CMSG_FIRSTHDR, CMSG_LEN, CMSG_NXTHDR, CMSG_SPACE, EAGAIN, EINTR, EMSGSIZE, ENOBUFS, ENOMEM,
    IPPROTO_IP, IPPROTO_IPV6, IPV6_PKTINFO, IP_PKTINFO, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_TRUNC, aligned_alloc,
    cmsghdr, errno, msghdr, recvmmsg, sendmmsg,
)
from pcgrelay._core.base.queue cimport Span, queue_pop
from pcgrelay._core.base.stats cimport (
    CAUSE_DONE, COUNT_DATAGRAM_READS, COUNT_DATAGRAM_WRITES, COUNT_SYSTEM_CALLS, DROP_NO_ROUTE, DROP_QUEUE,
    DROP_TOO_LONG, DROP_UNREACHABLE,
)
from pcgrelay._core.base.wire cimport CODE_DONE
from pcgrelay._core.edge.associations cimport association_drop, association_push, association_wrote
from pcgrelay._core.edge.clients cimport Clients, clients_find, clients_hash, clients_name
from pcgrelay._core.edge.datagrams cimport datagrams_admit, datagrams_answered
from pcgrelay._core.edge.streams cimport edge_abort
from pcgrelay._core.stream.stream cimport (
    ASSOCIATION_CLIENT, ASSOCIATION_LOCAL, LIFE_LIVE, Association, stream_is_shadow,
)
from pcgrelay._core.worker.datagram_batches cimport (
    Handing, Handings, batches_drop, batches_is_late, batches_listener, batches_next, batches_send, batches_worker,
)
from pcgrelay._core.worker.datagram_sockets cimport datagram_close, datagram_dial, datagram_overflows_of
from pcgrelay._core.worker.dial cimport dial_give_up
from pcgrelay._core.worker.worker cimport WORKER_CONTROL, WORKER_DATAGRAM, WORKER_DATAGRAMS, DatagramSpace


cdef enum:
    PAGE = 4096
    # The size of a socket address, and of what tells and sets the local address (ip(7), ipv6(7)).
    IPV4_ADDRESS = 16
    IPV4_LOCAL = 12             # struct in_pktinfo: interface, local address, address in the header
    IPV4_LOCAL_AT = 4
    IPV6_LOCAL = 20             # struct in6_pktinfo: address, interface
    LEAST_ROOM = 16             # datagrams that one call may read at least


# -- space ------------------------------------------------------------------------------------------------------------

cdef DatagramSpace* space_of(Worker* self) noexcept nogil:
    cdef DatagramSpace* space = self.datagrams
    cdef uint32_t i
    if space != NULL:
        return space
    space = <DatagramSpace*>calloc(1, sizeof(DatagramSpace))
    if space == NULL:
        return NULL
    space.bytes = <uint8_t*>aligned_alloc(PAGE, WORKER_DATAGRAMS * WORKER_DATAGRAM)
    if space.bytes == NULL:
        free(space)
        return NULL
    for i in range(WORKER_DATAGRAMS):
        space.in_vectors[i].iov_base = space.bytes + i * WORKER_DATAGRAM
        space.in_vectors[i].iov_len = WORKER_DATAGRAM
        space.inward[i].msg_hdr.msg_iov = &space.in_vectors[i]
        space.inward[i].msg_hdr.msg_iovlen = 1
        space.inward[i].msg_hdr.msg_name = space.in_names[i]
        space.inward[i].msg_hdr.msg_control = space.in_controls[i]
        space.outward[i].msg_hdr.msg_iov = &space.out_vectors[i]
        space.outward[i].msg_hdr.msg_iovlen = 1
    space.in_used = WORKER_DATAGRAMS
    self.datagrams = space
    return space


cdef void datagram_io_stop(Worker* self) noexcept nogil:
    if self.datagrams != NULL:
        free(self.datagrams.bytes)
    free(self.datagrams)
    self.datagrams = NULL


# -- reading ----------------------------------------------------------------------------------------------------------

cdef int datagram_io_receive(Worker* self, int fd) noexcept nogil:
    return counted(self, datagram_io_fill(self, fd))


cdef int datagram_io_fill(Worker* self, int fd) noexcept nogil:
    datagram_io_flush(self)
    return receive(self, fd, 0)


cdef int datagram_io_receive_more(Worker* self, int fd, uint32_t* first) noexcept nogil:
    cdef const DatagramSpace* space = self.datagrams
    first[0] = 0
    if space != NULL and space.out_count != 0:
        if space.in_used + LEAST_ROOM > WORKER_DATAGRAMS:
            datagram_io_flush(self)
        else:
            first[0] = space.in_used
    return counted(self, receive(self, fd, first[0]))


# Count a read of datagrams of clients or targets.
cdef inline int counted(Worker* self, int n) noexcept nogil:
    if n > 0:
        counter_add(&self.shard.stats.count[COUNT_DATAGRAM_READS], 1)
    return n


cdef int receive(Worker* self, int fd, uint32_t first) noexcept nogil:
    cdef DatagramSpace* space = space_of(self)
    cdef uint32_t i
    cdef int n
    if space == NULL:
        return 0
    for i in range(first, space.in_used):
        # The system has changed those of the calls before.
        space.inward[i].msg_hdr.msg_namelen = ASSOCIATION_CLIENT
        space.inward[i].msg_hdr.msg_controllen = WORKER_CONTROL
    counter_add(&self.shard.stats.count[COUNT_SYSTEM_CALLS], 1)
    n = recvmmsg(fd, &space.inward[first], WORKER_DATAGRAMS - first, MSG_DONTWAIT, NULL)
    space.in_used = first + (<uint32_t>n if n > 0 else 0)
    return n


cdef void datagram_io_clients(Worker* self, Listener* listener) noexcept nogil:
    cdef Handings handings
    cdef int i, n
    if listener.handle.fd < 0 or listener.clients == NULL:
        return
    handings.count = 0
    n = datagram_io_receive(self, listener.handle.fd)
    for i in range(n):
        rx_of_client(self, listener.clients, <uint32_t>i, &handings)
    if handings.count != 0:
        batches_send(self, listener, &handings)


cdef void rx_of_client(Worker* self, Clients* clients, uint32_t i, Handings* handings) noexcept nogil:
    cdef DatagramSpace* space = self.datagrams
    cdef Handing* item = &handings.each[handings.count]
    cdef Association* association
    cdef uint32_t hash
    clients_name(space.in_names[i], item.client)
    read_local(&space.inward[i].msg_hdr, item.local)
    hash = clients_hash(clients, item.client, item.local)
    association = clients_find(clients, item.client, item.local, hash)
    if association == NULL:
        item.worker = batches_worker(self, clients.number, hash)
        if item.worker != self.shard.index:
            item.p = <const uint8_t*>space.in_vectors[i].iov_base
            item.n = space.inward[i].msg_len
            handings.count += 1
            return
        association = datagrams_admit(&self.shard, clients, item.client, item.local, hash, space.inward[i].msg_len)
    if association != NULL:
        put_in(self, association, i)


cdef void datagram_io_batch(Worker* self, Order* order) noexcept nogil:
    cdef bint late = batches_is_late(self, order.args.datagrams)
    cdef Listener* listener = NULL if late else batches_listener(self, order)
    cdef const uint8_t* client = NULL
    cdef const uint8_t* local = NULL
    cdef const uint8_t* p
    cdef uint32_t at = 0
    cdef uint32_t n = 0
    cdef uint32_t hash
    cdef Association* association
    while True:
        p = batches_next(order.args.datagrams, &at, &client, &local, &n)
        if p == NULL:
            break
        if listener == NULL:
            association_drop(&self.shard, NULL, DROP_NO_ROUTE if late else DROP_QUEUE)
            continue
        hash = clients_hash(listener.clients, client, local)
        association = clients_find(listener.clients, client, local, hash)
        if association == NULL:
            association = datagrams_admit(&self.shard, listener.clients, client, local, hash, n)
        if association != NULL:
            association_push(&self.shard, association, p, n)
    batches_drop(self, order)


cdef void put_in(Worker* self, Association* association, uint32_t i) noexcept nogil:
    if self.datagrams.inward[i].msg_hdr.msg_flags & MSG_TRUNC:
        association_drop(&self.shard, association, DROP_TOO_LONG)
    else:
        association_push(&self.shard, association, <uint8_t*>self.datagrams.in_vectors[i].iov_base,
                         self.datagrams.inward[i].msg_len)


cdef void datagram_io_event(Worker* self, Stream* stream) noexcept nogil:
    cdef int i, n
    if stream.association == NULL:
        return
    n = datagram_io_receive(self, stream.handle.fd)
    if stream_is_shadow(stream):
        rx_of_shadow(self, stream, n)
        return
    if n < 0:
        if errno == EMSGSIZE:
            association_drop(&self.shard, stream.association, DROP_TOO_LONG)
        elif errno != EAGAIN and errno != EINTR:
            # ICMP has told of the target.
            dial_give_up(self, stream, errno)
        return
    if n > 0:
        datagrams_answered(&self.shard, stream.association)
    for i in range(n):
        put_in(self, stream.association, <uint32_t>i)
    if n > 1:
        # Some waited there: perhaps more came than it had room for.
        datagram_overflows_of(self, stream, stream.association)


# Its maker's end of the socket pair keeps records apart, and is closed when it wants no more: that reads as none.
cdef void rx_of_shadow(Worker* self, Stream* stream, int n) noexcept nogil:
    cdef int i
    if n < 0 and (errno == EAGAIN or errno == EINTR):
        return
    for i in range(n):
        if self.datagrams.inward[i].msg_len != 0:
            put_in(self, stream.association, <uint32_t>i)
    if n <= 0 or self.datagrams.inward[n - 1].msg_len == 0:
        edge_abort(&self.shard, stream, CODE_DONE, CAUSE_DONE)


# -- local addresses --------------------------------------------------------------------------------------------------

cdef inline bint is_of_link(const uint8_t* address) noexcept nogil:
    return address[0] == 0xfe and address[1] & 0xc0 == 0x80


# The local address that a datagram was sent to; zeros: unknown.
cdef void read_local(msghdr* message, uint8_t* local) noexcept nogil:
    cdef cmsghdr* item = CMSG_FIRSTHDR(message)
    cdef const uint8_t* data
    memset(local, 0, ASSOCIATION_LOCAL)
    while item != NULL:
        data = CMSG_DATA(item)
        if item.cmsg_level == IPPROTO_IP and item.cmsg_type == IP_PKTINFO:
            memcpy(local, data + IPV4_LOCAL_AT, 4)
        elif item.cmsg_level == IPPROTO_IPV6 and item.cmsg_type == IPV6_PKTINFO:
            memcpy(local, data, ASSOCIATION_LOCAL if is_of_link(data) else 16)
        item = CMSG_NXTHDR(message, item)


# Have a datagram leave from the address that was asked.
cdef void write_local(msghdr* message, uint8_t* control, const Association* association) noexcept nogil:
    cdef bint is_ipv4 = (<const uint16_t*>association.client)[0] == <uint16_t>AF_INET
    cdef uint32_t n = IPV4_LOCAL if is_ipv4 else IPV6_LOCAL
    cdef cmsghdr* item
    memset(control, 0, WORKER_CONTROL)
    message.msg_control = control
    message.msg_controllen = CMSG_SPACE(n)
    item = CMSG_FIRSTHDR(message)
    item.cmsg_len = CMSG_LEN(n)
    item.cmsg_level = IPPROTO_IP if is_ipv4 else IPPROTO_IPV6
    item.cmsg_type = IP_PKTINFO if is_ipv4 else IPV6_PKTINFO
    if is_ipv4:
        memcpy(CMSG_DATA(item) + IPV4_LOCAL_AT, association.local, 4)
    else:
        memcpy(CMSG_DATA(item), association.local, IPV6_LOCAL)


# -- writing ----------------------------------------------------------------------------------------------------------

cdef void datagram_io_deliver(Worker* self, Stream* stream) noexcept nogil:
    cdef Span span
    if not stream.opener and stream.handle.fd < 0:
        datagram_dial(self, stream)
    while stream.life == LIFE_LIVE and stream.out.count != 0:
        # It is borrowed: what a frame brings is written before the next one is read.
        span = queue_pop(&stream.out)
        datagram_io_put(self, stream, span.p, span.n)


cdef void datagram_io_put(Worker* self, Stream* stream, const uint8_t* p, uint32_t n) noexcept nogil:
    cdef DatagramSpace* space = space_of(self)
    cdef Association* association = stream.association
    cdef Clients* clients = <Clients*>association.clients
    cdef int fd = stream.handle.fd if clients == NULL else clients.fd
    cdef msghdr* message
    cdef uint32_t i
    if space == NULL:
        association_drop(&self.shard, association, DROP_QUEUE)
        return
    if space.out_count == WORKER_DATAGRAMS or space.out_fd != fd:
        datagram_io_flush(self)
        space.out_fd = fd
    i = space.out_count
    space.out_count += 1
    space.out_streams[i] = stream
    space.out_vectors[i].iov_base = <void*>p
    space.out_vectors[i].iov_len = n
    message = &space.outward[i].msg_hdr
    message.msg_name = NULL
    message.msg_namelen = 0
    message.msg_control = NULL
    message.msg_controllen = 0
    if clients == NULL:
        return
    # The association may be gone before the call.
    memcpy(space.out_names[i], association.client, ASSOCIATION_CLIENT)
    message.msg_name = space.out_names[i]
    message.msg_namelen = IPV4_ADDRESS if (<uint16_t*>association.client)[0] == <uint16_t>AF_INET \
        else ASSOCIATION_CLIENT
    write_local(message, space.out_controls[i], association)


cdef void datagram_io_flush(Worker* self) noexcept nogil:
    cdef DatagramSpace* space = self.datagrams
    cdef uint32_t at = 0
    cdef int _, n
    if space == NULL:
        return
    while at < space.out_count:
        counter_add(&self.shard.stats.count[COUNT_SYSTEM_CALLS], 1)
        n = sendmmsg(space.out_fd, &space.outward[at], space.out_count - at, MSG_DONTWAIT | MSG_NOSIGNAL)
        if n < 0 and errno == EINTR:
            continue
        if n <= 0:
            # The first one was refused. What ICMP has told is met by the datagram that is sent next: behind one that
            # was sent, the call stops there and forgets why. So that one goes with the next call, and is sent; the
            # target's machine answers as before, and the last answer is read with the socket.
            refused(self, space.out_streams[at], errno)
            at += 1
            continue
        counter_add(&self.shard.stats.count[COUNT_DATAGRAM_WRITES], 1)
        for _ in range(n):
            association_wrote(&self.shard, space.out_streams[at], <uint32_t>space.out_vectors[at].iov_len)
            at += 1
    space.out_count = 0


cdef void refused(Worker* self, Stream* stream, int error) noexcept nogil:
    cdef uint32_t cause = DROP_UNREACHABLE
    if error == EAGAIN or error == ENOBUFS or error == ENOMEM:
        cause = DROP_QUEUE
    elif error == EMSGSIZE:
        cause = DROP_TOO_LONG
    association_drop(&self.shard, stream.association, cause)
    if cause == DROP_UNREACHABLE and not stream.opener and stream.life == LIFE_LIVE:
        # ICMP has told of the target, or this node's own rules forbid it.
        dial_give_up(self, stream, error)


cdef void datagram_io_close(Worker* self, Stream* stream) noexcept nogil:
    datagram_io_flush(self)
    datagram_close(self, stream)
