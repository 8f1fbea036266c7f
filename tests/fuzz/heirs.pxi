# Part of fuzzface.pyx: a whole state record, read as the process does that takes another's place.


cdef enum:
    HEIR_ENDS = 12              # descriptors that come with a record
    HEIR_TURNS = 6
    HEIR_GROWTH = 4096          # bytes of memory that a byte of a record may cost


# A worker that read only a part of a record belongs to nobody: no word may leave it.
cdef void mute(Shard* shard) noexcept nogil:
    cdef Lane* lane = shard.lanes
    cdef Session* session
    cdef uint32_t at = 0, i
    while lane != NULL:
        lane.writable = False
        lane = lane.next
    session = <Session*>map_next(&shard.sessions, &at)
    while session != NULL:
        for i in range(session.flow_count):
            if session.flows[i] != NULL:
                session.flows[i].lane = NULL
        session = <Session*>map_next(&shard.sessions, &at)


cdef void drop_events(Workers crew):
    cdef Event batch[64]
    cdef uint64_t lost = 0, lost_kept = 0
    while outbox_drain(&crew._outbox, batch, 64, &lost, &lost_kept) == 64:
        pass


# What lies beyond the sockets says something, takes what it is told, or leaves.
cdef void ends_act(int* ends, uint32_t turn, uint8_t choice) noexcept nogil:
    cdef uint8_t rest[4096]
    cdef uint32_t i
    memset(rest, turn, 64)
    for i in range(HEIR_ENDS):
        if ends[i] < 0:
            continue
        while read(ends[i], rest, sizeof(rest)) > 0:
            pass
        if choice & 1 and turn == 1:
            send(ends[i], rest, 64, MSG_NOSIGNAL)
        if choice & 2 and turn == 3:
            close(ends[i])
            ends[i] = -1


cdef void workers_turns(Workers crew, int* ends, uint8_t choice) noexcept:
    cdef uint64_t bound[2]
    cdef Shard* shard
    cdef Order* order
    cdef uint32_t i, turn
    cdef uint32_t which = 2 if choice & 8 else choice >> 2 & 1
    for i in range(crew._count):
        shard = &crew._workers[i].shard
        bound[i] = shard.pool.limit + shard.pool.reserve
        if shard.pool.used > bound[i]:
            bound[i] = shard.pool.used
        order = order_new(ORDER_TABLES)
        tables_hold(tables[which])
        order.args.tables = tables[which]
        if mailbox_put(&crew._workers[i].mailbox, order):
            worker_wake(crew._workers[i].mailbox.wake_fd)
    crew.settle()
    for turn in range(HEIR_TURNS):
        ends_act(ends, turn, choice)
        for i in range(crew._count):
            shard = &crew._workers[i].shard
            crew._workers[i].next_tick_us = 0 if turn & 1 else <uint64_t>-1
            loop_turn(&crew._workers[i], 0)
            if shard.pool.used > bound[i]:
                broken(b"a worker that took over went past its budget")
        drop_events(crew)


cdef int worker_handover_run(const uint8_t* p, uint32_t n, int role, uint32_t workers, uint8_t choice) noexcept:
    cdef Workers crew
    cdef int near[HEIR_ENDS]
    cdef int ends[HEIR_ENDS]
    cdef int pair[2]
    cdef uint64_t limit
    cdef uint32_t i
    cdef bint taken = True
    cdef set unused = set()
    once()
    for i in range(HEIR_ENDS):
        if socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0:
            broken(b"no pair of sockets")
        near[i], ends[i] = pair[0], pair[1]
    crew = Workers(workers=workers, memory_bytes=1 << 24, role=role)
    limit = crew._workers[0].shard.pool.limit
    try:
        unused = set(crew.handover_read(bytearray(p[:n]), [near[i] for i in range(HEIR_ENDS)]))
    except CoreError:
        taken = False
    for i in range(workers):
        if crew._workers[i].shard.pool.limit != limit:
            broken(b"the budget is not what it was")
        if crew._workers[i].shard.pool.used > <uint64_t>n * HEIR_GROWTH:
            broken(b"a small record took much memory")
        if not taken:
            mute(&crew._workers[i].shard)
    if taken:
        workers_turns(crew, ends, choice)
    crew.stop()
    drop_events(crew)
    for i in range(workers):
        if crew._workers[i].shard.pool.used != 0 or crew._workers[i].shard.pool.cached != 0:
            fprintf(stderr, "fuzzface: %llu bytes used, taken: %d\n",
                    <unsigned long long>crew._workers[i].shard.pool.used, taken)
            broken(b"what a record brought was not given back")
    for i in range(HEIR_ENDS):
        if taken and near[i] not in unused and is_open(near[i]):
            broken(b"a descriptor that came with a record was left open")
        close(near[i])
        if ends[i] >= 0:
            close(ends[i])
    while True:
        pair[0] = accept4(target_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if pair[0] < 0:
            return taken
        close(pair[0])


cdef extern from *:
    """
    #include <fcntl.h>
    static int is_open(int fd) { return fcntl(fd, F_GETFD) != -1; }
    """
    bint is_open(int fd) nogil
