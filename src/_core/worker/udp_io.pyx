from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.buf cimport Buf, buf_data
from pcgrelay._core.base.handle cimport HANDLE_UDP_LANES
from pcgrelay._core.base.libcrypto cimport crypto_bind, OPENSSL_cleanse
from pcgrelay._core.base.linux cimport (
    CMSG_DATA, CMSG_FIRSTHDR, CMSG_LEN, CMSG_NXTHDR, CMSG_SPACE, EINTR, EINVAL, EIO, EMSGSIZE, EOPNOTSUPP, EPOLLIN,
    EPOLL_CTL_ADD, EPOLL_CTL_DEL, IPPROTO_IP, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE, IP_MTU_DISCOVER,
    IP_PMTUDISC_PROBE, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_TRUNC, UDP_GRO, UDP_LEVEL, UDP_SEGMENT, close, cmsghdr, errno,
    mmsghdr, msghdr, sendmmsg, setsockopt,
)
from pcgrelay._core.base.queue cimport iovec
from pcgrelay._core.base.result cimport RESULT_DUPLICATE, RESULT_OK, RESULT_UNKNOWN_FLOW, Result
from pcgrelay._core.base.stats cimport (
    COUNT_SYSTEM_CALLS, COUNT_UDP_BAD_LENGTH, COUNT_UDP_BYTES_SENT, COUNT_UDP_PACKETS_SENT, COUNT_UDP_SENDS,
)
from pcgrelay._core.base.wire cimport WIRE_PREFIX, WIRE_UDP_HEAD
from pcgrelay._core.edge.records cimport records_rx_datagrams
from pcgrelay._core.edge.sessions cimport edge_session_fail
from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.link.link cimport link_find
from pcgrelay._core.link.mailbox cimport UdpLaneOrder
from pcgrelay._core.link.relay cimport relay_packet
from pcgrelay._core.link.shard cimport Link, UdpLane
from pcgrelay._core.link.udp_lane cimport (
    UDP_LINK, UDP_PACKETS, UDP_PLACES, udp_lane_begin, udp_lane_count_not_sent, udp_lane_drop_out, udp_lane_end,
    udp_lane_end_all, udp_lane_find, udp_lane_lengths, udp_lane_rx, udp_lane_start, udp_lane_tell_refused,
)
from pcgrelay._core.link.udp_probes cimport probes_shorten
from pcgrelay._core.session.datagrams cimport session_rx_packet
from pcgrelay._core.session.session cimport flow_session
from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.worker.app_io cimport app_deliver_lent
from pcgrelay._core.worker.datagram_io cimport datagram_io_fill
from pcgrelay._core.worker.worker cimport WORKER_EDGE, Worker, worker_watch

crypto_bind()


cdef enum:
    SEGMENT_CONTROL = 32        # room for the control message with the length of segments

# Messages for one call, each with a run of packets of one length, the last of which may be shorter.
cdef struct Runs:
    mmsghdr messages[UDP_PACKETS]
    iovec vectors[UDP_PACKETS]
    uint8_t controls[UDP_PACKETS][SEGMENT_CONTROL]
    uint32_t packets[UDP_PACKETS]  # of each message,
    uint32_t longest[UDP_PACKETS]  # and the bytes of the longest of these
    uint32_t count


# -- sockets ----------------------------------------------------------------------------------------------------------

cdef UdpSocket* find_socket(Worker* self, uint32_t number) noexcept nogil:
    cdef UdpSocket* socket = self.shard.udp_sockets
    while socket != NULL and socket.number != number:
        socket = socket.next
    return socket


# Without such options each packet comes and goes by itself, and a network may cut those that are too long for it.
cdef void set_options(int fd) noexcept nogil:
    cdef int probe = IP_PMTUDISC_PROBE
    cdef int probe6 = IPV6_PMTUDISC_PROBE
    cdef int one = 1
    # Packets are never cut, and no message of the network, which anybody could forge, says how long they may be.
    setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &probe, sizeof(probe))
    setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &probe6, sizeof(probe6))
    setsockopt(fd, UDP_LEVEL, UDP_GRO, &one, sizeof(one))


cdef bint udp_io_watch(Worker* self, UdpSocket* socket) noexcept nogil:
    return worker_watch(self, &socket.handle, EPOLLIN, EPOLL_CTL_ADD)


cdef void udp_io_socket(Worker* self, Order* order) noexcept nogil:
    cdef UdpSocket* socket = <UdpSocket*>calloc(1, sizeof(UdpSocket))
    if socket == NULL:
        # Its UDP lanes will be refused.
        close(order.fd)
        return
    socket.handle.kind = HANDLE_UDP_LANES
    socket.handle.fd = order.fd
    socket.number = order.args.udp_socket
    set_options(order.fd)
    if not udp_io_watch(self, socket):
        close(order.fd)
        free(socket)
        return
    socket.next = self.shard.udp_sockets
    self.shard.udp_sockets = socket


cdef void udp_io_socket_close(Worker* self, Order* order) noexcept nogil:
    cdef UdpSocket** at = &self.shard.udp_sockets
    cdef UdpSocket* socket = find_socket(self, order.args.udp_socket)
    if socket == NULL:
        return
    udp_lane_end_all(&self.shard, NULL, socket, UDP_LINK)
    while at[0] != socket:
        at = &at[0].next
    at[0] = socket.next
    # If another process has a copy, epoll would still tell of it.
    worker_watch(self, &socket.handle, 0, EPOLL_CTL_DEL)
    close(socket.handle.fd)
    # Orders are carried out before what epoll has told of this turn: that may name it.
    socket.handle.fd = -1
    socket.next = self.closed_udp_sockets
    self.closed_udp_sockets = socket


cdef void udp_io_stop(Worker* self) noexcept nogil:
    cdef UdpSocket* socket
    udp_lane_end_all(&self.shard, NULL, NULL, UDP_LINK)
    while self.shard.udp_sockets != NULL:
        socket = self.shard.udp_sockets
        self.shard.udp_sockets = socket.next
        close(socket.handle.fd)
        free(socket)


# -- orders -----------------------------------------------------------------------------------------------------------

cdef void udp_io_lane(Worker* self, Order* order) noexcept nogil:
    cdef UdpLaneOrder* args = &order.args.udp_lane
    cdef Link* link = link_find(&self.shard, args.link)
    cdef UdpSocket* socket = find_socket(self, args.socket)
    cdef UdpLane* lane = NULL
    if link != NULL and socket != NULL and args.index < link.lane_count:
        lane = udp_lane_start(&self.shard, link, socket, args.index, args.number, args.token, order.secret)
    OPENSSL_cleanse(order.secret, 32)
    if lane == NULL:
        udp_lane_tell_refused(&self.shard, args.link, args.index, args.number)
    elif args.peer_token != 0:
        udp_lane_begin(&self.shard, lane, args.peer_token, args.address, args.address_length)


cdef void udp_io_begin(Worker* self, const Order* order) noexcept nogil:
    cdef UdpLane* lane = udp_lane_find(&self.shard, order.args.udp_lane.link, order.args.udp_lane.number)
    if lane != NULL:
        udp_lane_begin(&self.shard, lane, order.args.udp_lane.peer_token, order.args.udp_lane.address,
                       order.args.udp_lane.address_length)


cdef void udp_io_close(Worker* self, const Order* order) noexcept nogil:
    cdef UdpLane* lane = udp_lane_find(&self.shard, order.args.udp_lane.link, order.args.udp_lane.number)
    if lane != NULL:
        udp_lane_end(&self.shard, lane, UDP_LINK)


# -- reading ----------------------------------------------------------------------------------------------------------

# The length of the packets in a message, of which the last may be shorter; 0: it is one packet.
cdef uint32_t segment_of(msghdr* message) noexcept nogil:
    cdef cmsghdr* item = CMSG_FIRSTHDR(message)
    cdef int length = 0
    while item != NULL:
        if item.cmsg_level == UDP_LEVEL and item.cmsg_type == UDP_GRO:
            memcpy(&length, CMSG_DATA(item), sizeof(length))
            return <uint32_t>length if length > 0 else 0
        item = CMSG_NXTHDR(message, item)
    return 0


cdef void udp_io_event(Worker* self, UdpSocket* socket) noexcept nogil:
    cdef msghdr* message
    cdef uint8_t* p
    cdef uint32_t left, part, segment
    cdef int i, n
    if socket.handle.fd < 0:
        return
    n = datagram_io_fill(self, socket.handle.fd)
    for i in range(n):
        message = &self.datagrams.inward[i].msg_hdr
        if message.msg_flags & MSG_TRUNC:
            counter_add(&self.shard.stats.count[COUNT_UDP_BAD_LENGTH], 1)
            continue
        p = <uint8_t*>self.datagrams.in_vectors[i].iov_base
        left = self.datagrams.inward[i].msg_len
        segment = segment_of(message)
        if segment == 0:
            segment = left
        while True:
            part = segment if segment < left else left
            # One that is empty is a packet too, and counted.
            rx_packet(self, p, part, <const uint8_t*>message.msg_name, message.msg_namelen)
            p += part
            left -= part
            if left == 0:
                break


cdef void rx_packet(Worker* self, uint8_t* p, uint32_t n, const uint8_t* address, uint32_t length) noexcept nogil:
    cdef Frame frame
    cdef UdpLane* lane = udp_lane_rx(&self.shard, p, n, address, length, &frame)
    if lane == NULL:
        return
    if self.role == WORKER_EDGE:
        rx_datagrams(self, lane, &frame, p + WIRE_UDP_HEAD)
    else:
        relay_packet(&self.shard, lane, &frame, p + WIRE_UDP_HEAD)


cdef void rx_datagrams(Worker* self, const UdpLane* lane, const Frame* frame, uint8_t* wire) noexcept nogil:
    cdef Flow* flow = NULL
    cdef Result answer = session_rx_packet(&self.shard, lane, frame, wire, &flow)
    if answer == RESULT_OK:
        answer = records_rx_datagrams(&self.shard, flow, wire + WIRE_PREFIX, frame.length, NULL)
        # Before the space of packets is used again.
        app_deliver_lent(self)
    if answer != RESULT_OK and answer != RESULT_DUPLICATE and answer != RESULT_UNKNOWN_FLOW:
        edge_session_fail(&self.shard, flow_session(flow), answer)


# -- writing ----------------------------------------------------------------------------------------------------------

cdef void udp_io_flush(Worker* self) noexcept nogil:
    cdef UdpLane* lane
    cdef Buf* buf
    while self.shard.dirty_udp_lanes != NULL:
        lane = self.shard.dirty_udp_lanes
        self.shard.dirty_udp_lanes = lane.next_dirty
        lane.dirty = False
        buf = lane.out_first
        while buf != NULL:
            send(self, lane, buf)
            buf = buf.next
        udp_lane_drop_out(&self.shard, lane)


# Send the packets of one buffer.
cdef void send(Worker* self, UdpLane* lane, Buf* buf) noexcept nogil:
    cdef Runs runs
    cdef uint32_t total = <uint32_t>buf.number
    cdef uint32_t first = 0         # of the packets that are left
    cdef uint32_t at, i
    cdef bint plain = lane.socket.uncut
    cdef int n
    while first < total:
        make_runs(&runs, lane, buf, first, plain)
        at = 0
        while at < runs.count:
            counter_add(&self.shard.stats.count[COUNT_SYSTEM_CALLS], 1)
            n = sendmmsg(lane.socket.handle.fd, &runs.messages[at], runs.count - at, MSG_DONTWAIT | MSG_NOSIGNAL)
            if n < 0 and errno == EINTR:
                continue
            for i in range(<uint32_t>n if n > 0 else 0):
                count_sent(self, &runs, at + i)
                first += runs.packets[at + i]
            at += <uint32_t>n if n > 0 else 0
            if n > 0:
                continue
            # The first one was refused.
            if errno == EMSGSIZE:
                # Once for all that were sealed before it was known.
                if runs.longest[at] <= WIRE_UDP_HEAD + WIRE_PREFIX + lane.probes.longest:
                    probes_shorten(&lane.probes)
            elif runs.packets[at] > 1 and (errno == EINVAL or errno == EIO or errno == EOPNOTSUPP):
                # This system, or the interface, does not cut it; or a packet is too long, which shows then.
                lane.socket.uncut = plain = True
                break
            udp_lane_count_not_sent(&self.shard, runs.packets[at])
            first += runs.packets[at]
            at += 1


cdef void count_sent(Worker* self, const Runs* runs, uint32_t i) noexcept nogil:
    counter_add(&self.shard.stats.count[COUNT_UDP_SENDS], 1)
    counter_add(&self.shard.stats.count[COUNT_UDP_PACKETS_SENT], runs.packets[i])
    counter_add(&self.shard.stats.count[COUNT_UDP_BYTES_SENT], runs.vectors[i].iov_len)


# Make messages of the packets of a buffer from the first on; plain: one of each.
cdef void make_runs(Runs* runs, UdpLane* lane, Buf* buf, uint32_t first, bint plain) noexcept nogil:
    cdef const uint16_t* lengths = udp_lane_lengths(buf)
    cdef uint8_t* p = buf_data(buf) + UDP_PLACES
    cdef uint32_t i, n
    cdef uint64_t run
    runs.count = 0
    for i in range(first):
        p += lengths[i]
    i = first
    while i < buf.number:
        n = 1
        run = lengths[i]
        while not plain and i + n < buf.number and lengths[i + n] <= lengths[i] and lengths[i + n - 1] == lengths[i]:
            run += lengths[i + n]
            n += 1
        make_run(runs, lane, p, run, n, lengths[i])
        p += run
        i += n


cdef void make_run(Runs* runs, UdpLane* lane, uint8_t* p, uint64_t length, uint32_t packets,
                   uint16_t segment) noexcept nogil:
    cdef uint32_t i = runs.count
    cdef msghdr* message = &runs.messages[i].msg_hdr
    cdef cmsghdr* item
    runs.vectors[i].iov_base = p
    runs.vectors[i].iov_len = length
    runs.packets[i] = packets
    runs.longest[i] = segment
    runs.count += 1
    memset(message, 0, sizeof(msghdr))
    message.msg_name = lane.peer
    message.msg_namelen = lane.peer_length
    message.msg_iov = &runs.vectors[i]
    message.msg_iovlen = 1
    if packets == 1:
        return
    memset(runs.controls[i], 0, SEGMENT_CONTROL)
    message.msg_control = runs.controls[i]
    message.msg_controllen = CMSG_SPACE(sizeof(segment))
    item = CMSG_FIRSTHDR(message)
    item.cmsg_level = UDP_LEVEL
    item.cmsg_type = UDP_SEGMENT
    item.cmsg_len = CMSG_LEN(sizeof(segment))
    memcpy(CMSG_DATA(item), &segment, sizeof(segment))
