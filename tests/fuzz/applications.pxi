# Part of fuzzface.pyx: the sockets of applications, and what becomes of them.


# -- applications -----------------------------------------------------------------------------------------------------

cdef void keep_application(World* self, int fd) noexcept nogil:
    if self.application_count == APPLICATIONS:
        close(self.applications[0])
        self.applications[0] = fd
        return
    self.applications[self.application_count] = fd
    self.application_count += 1


# What exports connected to.
cdef void take_applications(World* self) noexcept nogil:
    cdef int fd
    while True:
        fd = accept4(target_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd < 0:
            return
        keep_application(self, fd)


cdef void world_listen(void* world, uint32_t number) noexcept nogil:
    cdef World* self = <World*>world
    cdef Order* order = order_new(ORDER_LISTEN)
    order.args.listen.import_number = <uint32_t>number
    global listeners
    if number == 3:
        order.args.listen.datagrams = True
        order.fd = datagram_socket(self.import_address)
        put(self, order)
        return
    listeners += 1
    self.listener_length = unix_address(self.listener_address, b"L", listeners)
    order.fd = unix_listener(self.listener_address, self.listener_length)
    put(self, order)


cdef void world_connect(void* world) noexcept nogil:
    cdef World* self = <World*>world
    cdef int fd
    if self.listener_length == 0:
        return
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if connect(fd, <const sockaddr*>self.listener_address, self.listener_length) == 0:
        keep_application(self, fd)
    else:
        close(fd)


cdef void world_application(void* world, uint32_t number) noexcept nogil:
    cdef World* self = <World*>world
    cdef int pair[2]
    if socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0:
        broken(b"no pair of sockets")
    keep_application(self, pair[0])
    app_adopt(self.worker, number, pair[1], NULL)


cdef uint32_t world_applications(void* world) noexcept nogil:
    return (<World*>world).application_count


# 0: write, 1: read, 2: end writing, 3: close.
cdef void world_application_act(void* world, uint32_t at, int what, const uint8_t* p, uint32_t n) noexcept nogil:
    cdef World* self = <World*>world
    cdef uint8_t room[4096]
    if at >= self.application_count:
        return
    if what == 0:
        send(self.applications[at], p, n, MSG_NOSIGNAL)
    elif what == 1:
        while n > 4096 and read(self.applications[at], room, 4096) > 0:
            n -= 4096
        read(self.applications[at], room, n if n < 4096 else 4096)
    elif what == 2:
        shutdown(self.applications[at], SHUT_WR)
    else:
        close(self.applications[at])
        self.application_count -= 1
        self.applications[at] = self.applications[self.application_count]


# -- datagrams --------------------------------------------------------------------------------------------------------

# A socket on loopback, with a port of its own.
cdef int datagram_socket(uint8_t* address) noexcept nogil:
    cdef int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    cdef uint32_t length = 28
    memset(address, 0, 28)
    (<uint16_t*>address)[0] = <uint16_t>AF_INET
    wire_put32(address + 4, 0x7f000001)
    if fd < 0 or bind(fd, <const sockaddr*>address, 16) != 0 or getsockname(fd, <sockaddr*>address, &length) != 0:
        broken(b"no socket for datagrams")
    return fd


cdef void open_datagrams() noexcept nogil:
    cdef uint8_t unused[28]
    cdef uint32_t i
    global datagram_fd
    datagram_fd = datagram_socket(datagram_address)
    for i in range(CLIENTS):
        client_fds[i] = datagram_socket(unused)


# A client says something, and reads what it is told; or the target answers whoever spoke.
cdef void world_client(void* world, uint32_t choice, const uint8_t* p, uint32_t n) noexcept nogil:
    cdef World* self = <World*>world
    cdef uint8_t room[4096]
    cdef uint8_t address[28]
    cdef uint32_t length = 28
    cdef int fd = client_fds[choice % CLIENTS]
    if choice & 0x40:
        if recvfrom(datagram_fd, room, sizeof(room), 0, <sockaddr*>address, &length) >= 0:
            sendto(datagram_fd, p, n, 0, <const sockaddr*>address, length)
        return
    while read(fd, room, sizeof(room)) >= 0:
        pass
    if self.import_address[0] != 0:
        sendto(fd, p, n, 0, <const sockaddr*>self.import_address, 16)


# What the worlds before have left unread.
cdef void forget_datagrams() noexcept nogil:
    cdef uint8_t room[4096]
    cdef uint32_t i
    while read(datagram_fd, room, sizeof(room)) >= 0:
        pass
    for i in range(CLIENTS):
        while read(client_fds[i], room, sizeof(room)) >= 0:
            pass
