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
