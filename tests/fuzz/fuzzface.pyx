"""What harnesses in C need of the core and cannot have from there: a worker without a thread, and its surroundings.

Far ends of lanes, a far edge and applications are sockets of this process. Secrets are known, so the fuzzer's bytes
become frames with good tags. What no input may ever bring about ends the program here, with a line that says what.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport fprintf, snprintf, stderr
from libc.stdlib cimport abort, calloc, free, malloc
from libc.string cimport memcpy, memmove, memset

from pcgrelay._core.aead cimport Aead, aead_load
from pcgrelay._core.buf cimport Pool, pool_start, pool_stop
from pcgrelay._core.bundle cimport bundle_data, bundle_fin, bundle_may_read, bundle_say, bundle_take
from pcgrelay._core.edge cimport (
    ACCEPT_TAKEN, edge_abort, edge_accept, edge_bury, edge_check_done, edge_connected, edge_session_end, edge_wrote,
)
from pcgrelay._core.epoch cimport Epoch, epoch_settle, epoch_start, epoch_step, epoch_wipe, key_expand_number
from pcgrelay._core.flow cimport FLOW_UP, Flow, flow_open, flow_start, flow_stop, flow_take_rekey, list_pop
from pcgrelay._core.frame cimport (
    Frame, Scope, body_open, body_seal, frame_is_lane, frame_is_numbered, frame_open, frame_pack, frame_seal,
)
from pcgrelay._core.link cimport (
    GAUGE_LANES_UP, GAUGE_ROUND_TRIP, Gauge, Lane, Link, Shard, gauge_at, gauge_new, link_find,
)
from pcgrelay._core.linux cimport (
    MSG_NOSIGNAL, SHUT_WR, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, accept4, close, connect, monotonic_us, read,
    shutdown, sockaddr, socket,
)
from pcgrelay._core.loop cimport loop_start, loop_stop, loop_turn
from pcgrelay._core.mailbox cimport (
    EVENT_LANE_DOWN, EVENT_STREAM_END, ORDER_DRAIN, ORDER_LANE_ADD, ORDER_LINK_ADD, ORDER_LINK_CLOSE,
    ORDER_LINK_DRAIN, ORDER_LISTEN, ORDER_PATH_ADD, ORDER_PATH_REMOVE, ORDER_SESSION_ADD, ORDER_SESSION_CLOSE,
    ORDER_SESSION_PATH, ORDER_TABLES, ORDER_UNLISTEN, Event, Order, OrderKind, Outbox, mailbox_put, order_new,
    outbox_start, outbox_take,
)
from pcgrelay._core.map cimport map_next
from pcgrelay._core.port cimport port_adopt
from pcgrelay._core.queue cimport queue_sent, queue_settle
from pcgrelay._core.record cimport Record, record_read
from pcgrelay._core.relay cimport Path
from pcgrelay._core.result cimport (
    RESULT_DUPLICATE, RESULT_GAP, RESULT_LOCAL_CLOSE, RESULT_OK, RESULT_PEER_CLOSED, RESULT_SOCKET, Result,
)
from pcgrelay._core.route cimport (
    EXPORT_DRAIN, EXPORT_READY, EXPORT_UNRESOLVED, IMPORT_DOWN, IMPORT_LIVE, IMPORT_PENDING, Export, Import, Tables,
    tables_hold, tables_index, tables_new,
)
from pcgrelay._core.session cimport Session, session_find
from pcgrelay._core.stats cimport (
    CAUSE_APPLICATION_RESET, CAUSE_BUDGET, CAUSE_COUNT, CAUSE_TARGET_REFUSED, COUNT_BYTES_RECEIVED,
    COUNT_LANES_CLOSED, COUNT_LANES_OPENED, COUNT_STREAMS_CLOSED, COUNT_STREAMS_OPENED,
)
from pcgrelay._core.stream cimport Stream
from pcgrelay._core.trunk cimport trunk_end
from pcgrelay._core.wire cimport (
    CODE_ABORTED, CODE_BUSY, CODE_DONE, CODE_UNREACHABLE, CODE_VIOLATION, FRAME_BUNDLE, FRAME_CONFIRM,
    FRAME_FLOW_CONFIRM, FRAME_FLOW_REKEY, FRAME_REKEY, PURPOSE_HOP_HEADER, WIRE_BODY_MAX, WIRE_PREFIX, WIRE_VERSION,
    wire_get32, wire_put16, wire_put24, wire_put32,
)
from pcgrelay._core.worker cimport Worker, worker_wake


cdef extern from "sys/socket.h" nogil:
    int AF_UNIX
    int socketpair(int family, int kind, int protocol, int* pair)
    int bind(int fd, const sockaddr* address, uint32_t length)
    int listen(int fd, int backlog)
    ssize_t send(int fd, const void* p, size_t n, int flags)

cdef extern from "unistd.h" nogil:
    int getpid()

cdef enum:
    PEERS = 16
    APPLICATIONS = 64
    HELD = 1 << 20
    QUIET = 1 << 40             # us: nothing rings by itself while an input runs
    SESSION = 1
    OUR_LABEL = 101
    THEIR_LABEL = 201

# The far end of a lane.
cdef struct Peer:
    Epoch tx
    Epoch rx
    uint64_t tx_number
    uint64_t rx_number
    uint8_t* held               # what the worker sent: all of it, until half of the room is used
    uint32_t held_n
    uint32_t opened             # so much of it was whole frames
    uint32_t link
    uint16_t index
    int fd                      # -1: broken
    bint mute                   # the worker's bytes need not make sense any more: we wrote only a part of a frame

cdef struct World:
    Worker* worker
    Peer peers[PEERS]
    int peer_count
    int applications[APPLICATIONS]
    uint32_t application_count
    Flow far                    # the far edge's side of the session's flow
    Pool far_pool
    Gauge* session_gauge
    uint32_t suite
    uint32_t lane_numbers
    uint64_t events
    uint64_t stream_ends
    uint8_t listener_address[28]
    uint32_t listener_length
    bint edge_alone
    bint honest                 # the far edge acknowledged only what it has
    bint has_far
    bint ended_by_peer

cdef Outbox outbox
cdef Tables* tables[2]
cdef int target_fd              # where exports lead to
cdef uint8_t target_address[28]
cdef uint32_t target_length
cdef uint32_t listeners
cdef uint8_t scratch[WIRE_BODY_MAX + WIRE_PREFIX]


# Large blocks go from one input to the next: fresh pages would be half of the time of a run.
cdef void* spare_workers
cdef void* spare_held


cdef void* kept(size_t size, void** spare) noexcept nogil:
    cdef void* block = spare[0]
    if block == NULL:
        return malloc(size)
    spare[0] = (<void**>block)[0]
    return block


cdef void keep(void* block, void** spare) noexcept nogil:
    (<void**>block)[0] = spare[0]
    spare[0] = block


cdef void broken(const char* what) noexcept nogil:
    fprintf(stderr, "fuzzface: %s\n", what)
    abort()


# -- once in a process ------------------------------------------------------------------------------------------------

# An abstract unix address: no file stays behind, and no port is used up.
cdef uint32_t unix_address(uint8_t* out, const char* kind, uint32_t number) noexcept nogil:
    memset(out, 0, 28)
    (<uint16_t*>out)[0] = <uint16_t>AF_UNIX
    return 3 + <uint32_t>snprintf(<char*>out + 3, 24, "pcg%s%d-%u", kind, getpid(), number)


cdef int unix_listener(const uint8_t* address, uint32_t length) noexcept nogil:
    cdef int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
    if fd < 0 or bind(fd, <const sockaddr*>address, length) != 0 or listen(fd, 4096) != 0:
        broken(b"no listening socket")
    return fd


cdef void fill_export(Export* out, uint32_t number, const char* name, uint32_t state, uint32_t marking) noexcept nogil:
    out.number = number
    out.service_length = 4
    memcpy(out.service, name, 4)
    out.state = state
    out.marking = marking
    out.connect_us = QUIET
    out.target_count = 2
    # The first address of one of them refuses, so that the second is tried.
    memcpy(out.targets[0].address, target_address, 28)
    out.targets[0].length = target_length
    out.targets[1] = out.targets[0]
    if number == 1:
        out.targets[0].length -= 1


cdef void fill_import(Import* out, uint32_t number, uint32_t state, uint32_t routes) noexcept nogil:
    out.number = number
    out.service_length = 4
    memcpy(out.service, <const char*>b"echo", 4)
    out.marking = 1
    out.priority = number % 3
    out.state = state
    out.route_count = routes
    out.routes[0].session = SESSION
    out.routes[0].precedence = 2
    out.routes[0].weight = 100 * (number & 1)


cdef Tables* make_tables(uint32_t which) noexcept nogil:
    cdef Tables* made = tables_new(6, 3, 5)
    cdef uint32_t i
    fill_export(&made.exports[0], 0, b"echo", EXPORT_READY, 1)
    fill_export(&made.exports[1], 1, b"next", EXPORT_READY, 1)
    fill_export(&made.exports[2], 2, b"away", EXPORT_UNRESOLVED, 1)
    fill_export(&made.exports[3], 3, b"gone", EXPORT_DRAIN, 1)
    fill_export(&made.exports[4], 4, b"high", EXPORT_READY, 3)
    fill_export(&made.exports[5], 5, b"deny", EXPORT_READY, 1)
    fill_import(&made.imports[0], 0, IMPORT_LIVE, 1)
    fill_import(&made.imports[1], 1, IMPORT_PENDING if which == 0 else IMPORT_LIVE, which)
    fill_import(&made.imports[2], 2, IMPORT_DOWN if which == 0 else IMPORT_PENDING, 0)
    for i in range(5):
        made.grants[i] = (<uint64_t>SESSION << 16) | i
    if not tables_index(made):
        broken(b"no memory")
    return made


cdef void once() noexcept nogil:
    global target_fd, target_length
    if target_fd > 0:
        return
    if aead_load() != RESULT_OK or not outbox_start(&outbox, -1):
        broken(b"libcrypto or memory is missing")
    target_length = unix_address(target_address, b"T", 0)
    target_fd = unix_listener(target_address, target_length)
    tables[0] = make_tables(0)
    tables[1] = make_tables(1)


# -- a world ----------------------------------------------------------------------------------------------------------

cdef void* world_start(int role, uint32_t suite, uint64_t budget, uint64_t rekey_frames) noexcept nogil:
    cdef World* self = <World*>calloc(1, sizeof(World))
    once()
    self.worker = <Worker*>kept(sizeof(Worker), &spare_workers)
    self.suite = suite
    self.honest = True
    if not loop_start(self.worker, self.worker, 0, 1, <uint32_t>role, budget, &outbox, -1):
        broken(b"a worker did not start")
    self.worker.shard.probe_us = QUIET
    self.worker.shard.handshake_us = QUIET
    self.worker.shard.wait_us = QUIET
    self.worker.shard.linger_us = QUIET
    self.worker.shard.limits.frames = rekey_frames
    self.worker.shard.limits.bytes = QUIET
    self.worker.shard.limits.us = QUIET
    self.worker.next_tick_us = <uint64_t>-1
    return self


cdef void take_events(World* self) noexcept nogil:
    cdef Event batch[64]
    cdef uint64_t lost = 0
    cdef uint32_t i, n = 64
    while n == 64:
        n = outbox_take(&outbox, batch, 64, &lost)
        for i in range(n):
            self.events = (self.events ^ batch[i].kind ^ <uint64_t>batch[i].a << 8 ^ <uint64_t>batch[i].b << 16
                           ^ <uint64_t>batch[i].c << 24 ^ <uint64_t>batch[i].d << 32) * <uint64_t>1099511628211
            if batch[i].kind == EVENT_STREAM_END:
                self.stream_ends += 1
            elif batch[i].kind == EVENT_LANE_DOWN and batch[i].e == RESULT_PEER_CLOSED:
                self.ended_by_peer = True
    if lost != 0:
        broken(b"events were lost")


# Gauges and sums that hold between any two turns.
cdef void check(World* self) noexcept nogil:
    cdef Shard* shard = &self.worker.shard
    cdef uint64_t causes = 0
    cdef uint32_t i
    cdef Session* session = session_find(shard, SESSION)
    if shard.pool.used > shard.pool.high_water:
        broken(b"more is used than ever was")
    if shard.stats.streams != shard.stats.count[COUNT_STREAMS_OPENED] - shard.stats.count[COUNT_STREAMS_CLOSED]:
        broken(b"streams ended more or less than once")
    for i in range(CAUSE_COUNT):
        causes += shard.stats.cause[i]
    if causes != self.stream_ends:
        broken(b"a stream's end was not told once")
    if shard.buried_streams != NULL or (shard.buried_lanes != NULL and shard.unread == NULL):
        broken(b"what has ended is not freed with the turn")
    if shard.windows > <uint64_t>1 << 60:
        broken(b"more credit was used than was given")
    if session != NULL:
        if gauge_at(session.gauge, 0)[GAUGE_LANES_UP] != (session.flows[0].state == FLOW_UP):
            broken(b"the gauge of flows that are up is wrong")
        if gauge_at(session.gauge, 0)[GAUGE_ROUND_TRIP] > shard.stats.streams:
            broken(b"the gauge of streams is wrong")
        if session.flows[0].retained_bytes > session.flows[0].cap + WIRE_BODY_MAX + 2 * WIRE_PREFIX + 64:
            broken(b"more is retained than the cap allows")


cdef void world_turn(void* world, bint beat) noexcept nogil:
    cdef World* self = <World*>world
    cdef Lane* lane = self.worker.shard.lanes
    # Buckets refill by the clock; an input is to mean the same however long it takes.
    while lane != NULL:
        lane.pings_us = monotonic_us()
        lane.losts_us = lane.pings_us
        lane = lane.next
    self.worker.next_tick_us = 0 if beat else <uint64_t>-1
    loop_turn(self.worker, 0)
    self.worker.next_tick_us = <uint64_t>-1
    take_events(self)
    take_applications(self)
    check(self)


# Turns until nothing comes in any more.
cdef void world_rest(void* world) noexcept nogil:
    cdef World* self = <World*>world
    cdef uint64_t before
    while True:
        before = self.worker.shard.stats.count[COUNT_BYTES_RECEIVED]
        world_turn(self, False)
        if before == self.worker.shard.stats.count[COUNT_BYTES_RECEIVED] and self.worker.shard.unread == NULL:
            return


cdef uint64_t world_end(void* world) noexcept nogil:
    cdef World* self = <World*>world
    cdef Shard* shard = &self.worker.shard
    cdef Session* session
    cdef uint64_t answer
    cdef int i
    cdef uint8_t rest[512]
    cdef ssize_t got
    if self.edge_alone:
        session = session_find(shard, SESSION)
        if session != NULL:
            edge_session_end(shard, session, CODE_DONE, RESULT_LOCAL_CLOSE, True, True, False)
        world_deliver(self, 0)
    else:
        world_order(self, ORDER_SESSION_CLOSE, SESSION, CODE_DONE, 0, 0, 0, 0, 0, 0)
    world_turn(self, True)
    # What waited for a route ends only here, and is told to nobody.
    loop_stop(self.worker)
    if shard.pool.used != 0 or shard.pool.cached != 0:
        fprintf(stderr, "fuzzface: %llu bytes used, %llu cached\n", <unsigned long long>shard.pool.used,
                <unsigned long long>shard.pool.cached)
        broken(b"memory was not given back")
    if shard.windows != 0:
        broken(b"credit was not given back")
    if shard.stats.streams != 0 or shard.stats.count[COUNT_STREAMS_OPENED] != shard.stats.count[COUNT_STREAMS_CLOSED]:
        broken(b"a stream never ended")
    if shard.stats.count[COUNT_LANES_OPENED] != shard.stats.count[COUNT_LANES_CLOSED]:
        broken(b"a lane never ended")
    answer = shard.stats.count[COUNT_LANES_OPENED] + shard.stats.count[COUNT_STREAMS_OPENED]
    for i in range(self.peer_count):
        if self.peers[i].fd >= 0:
            world_break(self, i)
        epoch_wipe(&self.peers[i].tx)
        epoch_wipe(&self.peers[i].rx)
        keep(self.peers[i].held, &spare_held)
    for i in range(<int>self.application_count):
        # Its socket was closed by the worker: there is an end, however far away.
        got = 1
        while got > 0:
            got = read(self.applications[i], rest, sizeof(rest))
        if got < 0 and not closed_hard():
            broken(b"an application's socket was left open")
        close(self.applications[i])
    if self.has_far:
        flow_stop(&self.far, &self.far_pool)
        pool_stop(&self.far_pool)
    keep(self.worker, &spare_workers)
    free(self)
    return answer


cdef extern from *:
    """
    #include <errno.h>
    static int closed_hard(void) { return errno == ECONNRESET; }
    """
    bint closed_hard() nogil


cdef void world_limit(void* world, uint64_t budget) noexcept nogil:
    (<World*>world).worker.shard.pool.limit = budget


# -- orders -----------------------------------------------------------------------------------------------------------

cdef bint world_orders(const int* kinds) noexcept nogil:
    return kinds[0] == ORDER_LINK_CLOSE and kinds[1] == ORDER_LINK_DRAIN and kinds[2] == ORDER_PATH_ADD \
        and kinds[3] == ORDER_PATH_REMOVE and kinds[4] == ORDER_SESSION_PATH and kinds[5] == ORDER_SESSION_CLOSE \
        and kinds[6] == ORDER_UNLISTEN and kinds[7] == ORDER_DRAIN


cdef void put(World* self, Order* order) noexcept nogil:
    if mailbox_put(&self.worker.mailbox, order):
        worker_wake(self.worker.mailbox.wake_fd)


cdef Order* new_order(int kind, uint64_t a, uint64_t b, uint64_t c, uint64_t d) noexcept nogil:
    cdef Order* order = order_new(<OrderKind>kind)
    order.a, order.b, order.c, order.d = a, b, c, d
    return order


cdef void world_order(void* world, int kind, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f,
                      uint64_t g, uint64_t h) noexcept nogil:
    cdef Order* order = new_order(kind, a, b, c, d)
    order.e, order.f, order.g, order.h = e, f, g, h
    put(<World*>world, order)


cdef void world_link(void* world, uint32_t link, uint32_t lanes, bint dialler) noexcept nogil:
    cdef World* self = <World*>world
    cdef Order* order
    if link_find(&self.worker.shard, link) != NULL:
        return
    order = new_order(ORDER_LINK_ADD, link, self.suite, dialler, lanes)
    order.pointer = gauge_new(1, 1)
    put(self, order)
    world_turn(self, False)


cdef void world_tables(void* world, int which) noexcept nogil:
    cdef Order* order = new_order(ORDER_TABLES, 0, 0, 0, 0)
    tables_hold(tables[which & 1])
    order.pointer = tables[which & 1]
    put(<World*>world, order)


# -- lanes and their far ends -----------------------------------------------------------------------------------------

cdef int world_lane(void* world, uint32_t link, uint16_t index, bint greet) noexcept nogil:
    cdef World* self = <World*>world
    cdef Link* known = link_find(&self.worker.shard, link)
    cdef Peer* peer
    cdef Order* order
    cdef int pair[2]
    cdef int at = self.peer_count
    if at == PEERS or known == NULL:
        return -1
    if socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0:
        broken(b"no pair of sockets")
    self.peer_count += 1
    peer = &self.peers[at]
    peer.fd = pair[0]
    peer.link = link
    peer.index = index
    peer.held = <uint8_t*>kept(HELD, &spare_held)
    order = new_order(ORDER_LANE_ADD, link, index, self.lane_numbers, 0)
    order.fd = pair[1]
    memset(order.secret, <int>self.lane_numbers + 1, 32)
    epoch_start(&peer.tx, order.secret, 1 if known.dialler else 0, self.suite, PURPOSE_HOP_HEADER, True)
    epoch_start(&peer.rx, order.secret, 0 if known.dialler else 1, self.suite, PURPOSE_HOP_HEADER, False)
    put(self, order)
    world_turn(self, False)
    if greet:
        say_confirm(self, at)
    self.lane_numbers += 1
    return at


cdef void say_confirm(World* self, int at) noexcept nogil:
    cdef uint8_t header[16]
    cdef uint8_t body[40]
    cdef uint8_t wire[40 + WIRE_PREFIX]
    memset(header, 0, 16)
    header[3] = FRAME_CONFIRM
    memset(body, 0, 40)
    wire_put16(body, WIRE_VERSION)
    wire_put16(body + 2, self.peers[at].index)
    wire_put32(body + 4, self.lane_numbers)
    world_write(self, at, wire, world_seal(self, at, header, True, body, 40, 0, wire))
    world_turn(self, False)


cdef bint world_has_lane(void* world, int peer) noexcept nogil:
    cdef World* self = <World*>world
    return 0 <= peer < self.peer_count and self.peers[peer].fd >= 0


# The fuzzer may have a frame sealed twice under one number; nobody but it would.
cdef void seal_body(Aead* key, const Scope* scope, uint32_t type, uint64_t number, uint8_t* wire,
                    uint32_t n) noexcept nogil:
    key.floor = 0
    if key.ctx != NULL and body_seal(key, scope, type, number, wire, n) != RESULT_OK:
        broken(b"a body could not be sealed")


cdef uint32_t world_seal(void* world, int at, const uint8_t* header, bint fit, const uint8_t* body, uint32_t n,
                         int flaw, uint8_t* out) noexcept nogil:
    cdef World* self = <World*>world
    cdef Peer* peer = &self.peers[at]
    cdef Scope scope
    cdef uint32_t type = header[3]
    cdef uint64_t number
    memcpy(out, header, 16)
    memset(out + 16, 0, 32)
    if fit:
        wire_put24(out, n)
    memcpy(out + WIRE_PREFIX, body, n)
    if frame_is_lane(type):
        scope.direction = peer.tx.direction
        scope.index = peer.index
        scope.epoch = peer.tx.number
        seal_body(&peer.tx.side, &scope, type, peer.tx_number, out, n)
    elif self.has_far:
        number = (<uint64_t>out[10] << 40) | (<uint64_t>out[11] << 32) | wire_get32(out + 12)
        scope.direction = self.far.tx.direction
        scope.index = 0
        if frame_is_numbered(type):
            scope.epoch = self.far.tx.number
            seal_body(&self.far.tx.main, &scope, type, number, out, n)
            if number == self.far.tx_next:
                self.far.tx_next += 1
        else:
            scope.epoch = self.far.tx.side_number
            seal_body(&self.far.tx.side, &scope, type, number, out, n)
            if number >= self.far.tx_control:
                self.far.tx_control = number + 1
        out[8] = <uint8_t>scope.epoch
    if flaw & 1:
        out[32] ^= 1
    if frame_seal(&peer.tx.main, peer.tx_number, out) != RESULT_OK:
        broken(b"a header could not be sealed")
    peer.tx_number += 1
    if flaw & 2:
        out[16] ^= 1
    if type == FRAME_REKEY and n == 12 and wire_get32(body) == peer.tx.number + 1:
        epoch_step(&peer.tx, NULL)
    elif type == FRAME_FLOW_REKEY and self.has_far and n == 12 and wire_get32(body) == self.far.tx.number + 1:
        epoch_step(&self.far.tx, NULL)
    return WIRE_PREFIX + n


cdef void world_write(void* world, int at, const uint8_t* p, uint32_t n) noexcept nogil:
    cdef World* self = <World*>world
    cdef Peer* peer = &self.peers[at]
    cdef ssize_t sent
    cdef uint32_t idle = 0
    while n != 0 and peer.fd >= 0 and not peer.mute:
        sent = send(peer.fd, p, n, MSG_NOSIGNAL)
        if sent > 0:
            p += sent
            n -= <uint32_t>sent
            idle = 0
            continue
        idle += 1
        if idle == 4:
            # The worker does not read it, or has closed it: nothing that follows can be understood.
            peer.mute = True
            return
        world_turn(self, False)


cdef void world_break(void* world, int at) noexcept nogil:
    cdef World* self = <World*>world
    if self.peers[at].fd >= 0:
        close(self.peers[at].fd)
        self.peers[at].fd = -1


# As if the lane had its share of a turn with bytes left: a socket here holds less than such a share. ends: and as if
# its socket failed later in the same turn.
cdef void world_mark_unread(void* world, bint ends) noexcept nogil:
    cdef World* self = <World*>world
    cdef Shard* shard = &self.worker.shard
    cdef Lane* lane = shard.lanes
    if lane != NULL and not lane.unread:
        lane.unread = True
        lane.next_unread = shard.unread
        shard.unread = lane
        if ends:
            trunk_end(self.worker, lane, RESULT_SOCKET, CODE_UNREACHABLE)


cdef void world_read(void* world, int at, uint32_t limit) noexcept nogil:
    cdef World* self = <World*>world
    cdef Peer* peer = &self.peers[at]
    cdef Frame frame
    cdef ssize_t got
    if peer.fd < 0:
        return
    if peer.held_n > HELD / 2:
        memmove(peer.held, peer.held + peer.opened, peer.held_n - peer.opened)
        peer.held_n -= peer.opened
        peer.opened = 0
    got = read(peer.fd, peer.held + peer.held_n, limit if limit < HELD / 2 else HELD / 2)
    if got <= 0:
        return
    peer.held_n += <uint32_t>got
    while peer.held_n - peer.opened >= WIRE_PREFIX:
        # Open a copy: the frame may not be whole yet.
        memcpy(scratch, peer.held + peer.opened, WIRE_PREFIX)
        if frame_open(&peer.rx.main, peer.rx_number, scratch, &frame) != RESULT_OK:
            broken(b"the worker's next frame does not open at the far end of the lane")
        if peer.held_n - peer.opened < WIRE_PREFIX + frame.length:
            return
        memcpy(scratch + WIRE_PREFIX, peer.held + peer.opened + WIRE_PREFIX, frame.length)
        peer.rx_number += 1
        peer.opened += WIRE_PREFIX + frame.length
        take_frame(self, peer, &frame, scratch)


cdef void take_frame(World* self, Peer* peer, Frame* frame, uint8_t* wire) noexcept nogil:
    cdef Scope scope
    cdef Result answer
    if frame_is_lane(frame.type):
        scope.direction = peer.rx.direction
        scope.index = peer.index
        scope.epoch = peer.rx.number
        if body_open(&peer.rx.side, &scope, frame.type, peer.rx_number - 1, wire, frame.length) != RESULT_OK:
            broken(b"the body of the worker's frame does not open at the far end of the lane")
        if frame.type == FRAME_REKEY:
            if wire_get32(wire + WIRE_PREFIX) != peer.rx.number + 1:
                broken(b"the worker steps to an epoch that is not the next")
            epoch_step(&peer.rx, NULL)
        return
    if not self.has_far:
        return
    if frame.flow != THEIR_LABEL:
        broken(b"a frame of the flow has a label that nobody gave")
    answer = flow_open(&self.far, frame, wire, self.worker.shard.now_us)
    if answer == RESULT_DUPLICATE or answer == RESULT_GAP:
        return
    if answer != RESULT_OK:
        if self.honest:
            broken(b"the far edge refuses a frame of the flow")
        self.honest = False
        return
    if frame.type == FRAME_FLOW_REKEY:
        answer = flow_take_rekey(&self.far, wire + WIRE_PREFIX)
    elif frame.type == FRAME_BUNDLE:
        answer = read_records(wire + WIRE_PREFIX, frame.length)
    if answer != RESULT_OK:
        broken(b"the far edge refuses what is in a frame of the flow")


cdef Result read_records(const uint8_t* p, uint32_t n) noexcept nogil:
    cdef Record record
    cdef uint32_t used = 0
    cdef Result answer
    while n != 0:
        answer = record_read(p, n, &record, &used)
        if answer != RESULT_OK:
            return answer
        p += used
        n -= used
    return RESULT_OK


cdef const uint8_t* world_sent(void* world, int peer, uint32_t* n) noexcept nogil:
    n[0] = (<World*>world).peers[peer].held_n
    return (<World*>world).peers[peer].held


cdef uint64_t world_events(void* world) noexcept nogil:
    return (<World*>world).events


cdef bint world_ended_by_peer(void* world) noexcept nogil:
    return (<World*>world).ended_by_peer


# -- a session and its far edge ---------------------------------------------------------------------------------------

cdef void world_session(void* world, uint32_t link, bint initiator, uint64_t cap, bint up, int peer) noexcept nogil:
    cdef World* self = <World*>world
    cdef Order* order = new_order(ORDER_SESSION_ADD, SESSION, self.suite, initiator, 1)
    cdef uint8_t secret[32]
    cdef uint8_t binding[32]
    cdef Session* session
    memset(order.secret, 0xee, 32)
    order.e, order.f, order.g = cap, 1, 0
    order.pointer = gauge_new(1, 1)
    put(self, order)
    world_turn(self, False)
    if self.edge_alone:
        session = session_find(&self.worker.shard, SESSION)
        session.flows[0].state = FLOW_UP
        session.flows[0].rx_next = 1
        session.flows[0].confirmed_tx = True
        gauge_at(session.gauge, 0)[GAUGE_LANES_UP] = 1
        return
    memset(binding, 0, 32)
    memset(secret, 0xee, 32)
    if key_expand_number(secret, b"flow", 0, 2, secret) != RESULT_OK:
        broken(b"no secret for a flow")
    pool_start(&self.far_pool, <uint64_t>1 << 40, 0)
    if flow_start(&self.far, 0, secret, self.suite, not initiator, binding, 1 << 20) != RESULT_OK:
        broken(b"no keys for a flow")
    self.has_far = True
    world_order(self, ORDER_SESSION_PATH, SESSION, link, OUR_LABEL, THEIR_LABEL, 0, 0, 0, 0)
    world_turn(self, False)
    if up and peer >= 0:
        world_read(self, peer, HELD)
        say_flow_confirm(self, peer)
        world_turn(self, False)
        world_read(self, peer, HELD)
        session = session_find(&self.worker.shard, SESSION)
        if session == NULL or session.flows[0].state != FLOW_UP:
            broken(b"a session that nobody disturbed did not come up")


cdef void say_flow_confirm(World* self, int at) noexcept nogil:
    cdef Frame frame
    cdef uint8_t header[16]
    cdef uint8_t body[40]
    cdef uint8_t wire[40 + WIRE_PREFIX]
    memset(body, 0, 40)
    wire_put16(body, WIRE_VERSION)
    frame.length, frame.type, frame.flow, frame.epoch, frame.number = 40, FRAME_FLOW_CONFIRM, OUR_LABEL, 0, 0
    frame_pack(&frame, header)
    world_write(self, at, wire, world_seal(self, at, header, True, body, 40, 0, wire))


cdef uint64_t world_number(void* world, uint32_t type) noexcept nogil:
    cdef World* self = <World*>world
    return self.far.tx_next if frame_is_numbered(type) else self.far.tx_control


cdef uint64_t world_expected(void* world) noexcept nogil:
    return (<World*>world).far.rx_next


cdef uint32_t world_resume_id(void* world) noexcept nogil:
    cdef World* self = <World*>world
    cdef Session* session = session_find(&self.worker.shard, SESSION)
    return 0 if session == NULL else session.flows[0].resume_id


cdef void world_settle(void* world) noexcept nogil:
    epoch_settle(&(<World*>world).far.tx)


cdef void world_dishonest(void* world) noexcept nogil:
    (<World*>world).honest = False


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
    cdef Order* order = new_order(ORDER_LISTEN, number, 0, 0, 0)
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
    port_adopt(self.worker, number, pair[1], 0)


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


# -- an edge alone: this file in the place of port --------------------------------------------------------------------

cdef void world_alone(void* world) noexcept nogil:
    cdef World* self = <World*>world
    self.edge_alone = True
    world_tables(self, 1)
    world_session(self, 0, False, 1 << 20, True, -1)


cdef int world_bundle(void* world, uint8_t* body, uint32_t n) noexcept nogil:
    cdef World* self = <World*>world
    cdef Shard* shard = &self.worker.shard
    cdef Session* session = session_find(shard, SESSION)
    cdef Result answer
    if session == NULL:
        return -1
    answer = bundle_take(shard, session.flows[0], body, n, NULL)
    if answer != RESULT_OK:
        edge_session_end(shard, session, CODE_VIOLATION, answer, True, True, False)
    return <int>answer


cdef void world_open(void* world, uint32_t number) noexcept nogil:
    cdef World* self = <World*>world
    cdef Stream* stream = NULL
    cdef uint32_t elsewhere = 0
    if edge_accept(&self.worker.shard, number, -1, 0, &stream, &elsewhere) == ACCEPT_TAKEN and stream != NULL:
        stream.readable = True


# What port_deliver does, with sockets that take as much as choice says. It copies what is left, as that does: the
# bytes of a bundle are there for this turn only.
cdef void world_deliver(void* world, uint8_t choice) noexcept nogil:
    cdef Shard* shard = &(<World*>world).worker.shard
    cdef Stream* stream
    cdef uint32_t first = 0
    cdef uint64_t n
    while shard.dirty_streams != NULL:
        stream = shard.dirty_streams
        shard.dirty_streams = stream.next_dirty
        stream.dirty = False
        if stream.finished:
            continue
        if stream.connecting:
            if choice & 3 == 0:
                edge_abort(shard, stream, CODE_UNREACHABLE, CAUSE_TARGET_REFUSED)
            elif choice & 3 != 1:
                edge_connected(shard, stream)
        elif choice & 12 == 12 and stream.out.count != 0:
            edge_abort(shard, stream, CODE_ABORTED, CAUSE_APPLICATION_RESET)
        else:
            n = stream.out.bytes * (choice >> 4) / 15
            if n != 0:
                queue_sent(&stream.out, &shard.pool, n)
                edge_wrote(shard, stream, n)
            if stream.out.count == 0 and stream.fin_due:
                stream.shut = True
            edge_check_done(shard, stream)
        if not stream.finished and queue_settle(&stream.out, &shard.pool, False, &first) != RESULT_OK:
            edge_abort(shard, stream, CODE_BUSY, CAUSE_BUDGET)


# What port_serve does for each stream that is ready, with a block of just the size that bundle_say is promised.
cdef void world_serve(void* world, uint8_t choice) noexcept nogil:
    cdef Shard* shard = &(<World*>world).worker.shard
    cdef Session* session = session_find(shard, SESSION)
    cdef Flow* flow
    cdef Stream* stream
    cdef uint8_t* p
    cdef uint32_t n, asked
    cdef int _
    cdef bint gone = False
    if session == NULL:
        return
    flow = session.flows[0]
    for _ in range(64):
        stream = list_pop(&flow.small)
        if stream == NULL:
            stream = list_pop(&flow.bulk)
        if stream == NULL:
            return
        p = <uint8_t*>malloc(128)
        if stream.say != 0:
            n = bundle_say(shard, stream, p, &gone)
            if read_records(p, n) != RESULT_OK:
                broken(b"what a stream says is no record")
            if gone:
                edge_bury(shard, stream)
                free(p)
                continue
        asked = bundle_may_read(stream, 128)
        if asked != 0 and choice & 7 != 0:
            n = bundle_data(shard, stream, p, 1 + (asked - 1) * (choice & 7) / 7)
            if read_records(p, n) != RESULT_OK:
                broken(b"the data of a stream are no record")
            stream.readable = choice & 8 != 0
        elif asked != 0 and choice & 8 != 0:
            edge_abort(shard, stream, CODE_ABORTED, CAUSE_APPLICATION_RESET)
            free(p)
            continue
        if choice & 16 != 0:
            stream.ended = True
            stream.readable = False
        if stream.ended:
            n = bundle_fin(shard, stream, p)
            if read_records(p, n) != RESULT_OK:
                broken(b"the end of a stream is no record")
            edge_check_done(shard, stream)
        free(p)


# -- a relay alone ----------------------------------------------------------------------------------------------------

cdef uint64_t world_excess(void* world) noexcept nogil:
    cdef Shard* shard = &(<World*>world).worker.shard
    cdef Path* path
    cdef uint64_t most = 0
    cdef uint32_t at = 0, i, j
    while True:
        path = <Path*>map_next(&shard.paths, &at)
        if path == NULL:
            return most
        for i in range(2):
            for j in range(path.ends[i].slots):
                if path.ends[i].accounts[j].queued > path.ends[i].accounts[j].cap + most:
                    most = path.ends[i].accounts[j].queued - path.ends[i].accounts[j].cap
