"""What harnesses in C need of the core and cannot have from there: a worker without a thread, and its surroundings.

Far ends of lanes, a far edge and applications are sockets of this process. Secrets are known, so the fuzzer's bytes
become frames with good tags. What no input may ever bring about ends the program here, with a line that says what.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport fprintf, snprintf, stderr
from libc.stdlib cimport abort, calloc, free, malloc
from libc.string cimport memcpy, memmove, memset

from pcgrelay._core.crypto.aead cimport Aead, aead_load
from pcgrelay._core.base.buf cimport Buf, Pool, buf_drop, pool_start, pool_stop
from pcgrelay._core.edge.records cimport records_data, records_fin, records_may_read, records_tx, records_rx
from pcgrelay._core.face.workers cimport Workers
from pcgrelay._core.edge.associations cimport association_wrote
from pcgrelay._core.edge.accept cimport ACCEPT_TAKEN, Elsewhere, accept_application
from pcgrelay._core.edge.lists cimport edge_bury
from pcgrelay._core.edge.sessions cimport edge_session_close, edge_session_fail
from pcgrelay._core.edge.streams cimport edge_abort, edge_check_done, edge_connected, edge_wrote
from pcgrelay._core.crypto.epoch cimport (
    Epoch, epoch_confirm, epoch_datagrams, epoch_start, epoch_step, epoch_wipe, key_expand_number,
)
from pcgrelay._core.crypto.replay cimport REPLAY_WORDS
from pcgrelay._core.stream.flow cimport FLOW_UP, Flow, flow_open, flow_start, flow_stop, flow_rx_rekey
from pcgrelay._core.frame.frame cimport (
    Frame, Scope, body_open, body_seal, frame_is_lane, frame_is_numbered, frame_open, frame_pack, frame_seal,
)
from pcgrelay._core.frame.packet cimport PACKET_LEAST, PACKET_MOST, packet_seal
from pcgrelay._core.link.gauge cimport Gauge, gauge_at, gauge_new
from pcgrelay._core.link.link cimport link_add, link_find, link_remove
from pcgrelay._core.link.shard cimport EVENTS_WAIT, Lane, Link, Shard, UdpLane, UdpSocket
from pcgrelay._core.link.udp_lane cimport (
    UDP_HARD_PACKETS, UDP_HARD_US, UDP_LINK, udp_lane_begin, udp_lane_drop_out, udp_lane_end_all, udp_lane_lengths,
    udp_lane_rx, udp_lane_start, udp_lane_ticks,
)
from pcgrelay._core.base.linux cimport (
    AF_INET, MSG_NOSIGNAL, SHUT_WR, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_STREAM, accept4, close, connect,
    getsockname, monotonic_us, read, shutdown, sockaddr, socket,
)
from pcgrelay._core.worker.event_loop cimport loop_start, loop_stop, loop_turn
from pcgrelay._core.link.mailbox cimport (
    EVENT_IMPORT_WANTED, EVENT_LANE_DOWN, EVENT_LANE_UP, EVENT_PEER_DRAINS, EVENT_STREAM_END, ORDER_DRAIN,
    ORDER_LANE_ADD, ORDER_LINK_ADD, ORDER_LINK_CLOSE, ORDER_LINK_DRAIN, ORDER_LISTEN, ORDER_PATH_ADD, ORDER_PATH_REMOVE,
    ORDER_SESSION_ADD, ORDER_SESSION_CANDIDATE, ORDER_SESSION_CLOSE, ORDER_SESSION_PATH, ORDER_TABLES, ORDER_UNLISTEN,
    Event, LaneEvent, LeadOrder, Order, OrderKind, Outbox, PathOrder, SessionEvent, SessionOrder, StreamEndEvent,
    mailbox_put, order_new, outbox_start, outbox_drain,
)
from pcgrelay._core.base.map cimport map_free, map_next
from pcgrelay._core.worker.app_io cimport app_adopt
from pcgrelay._core.base.queue cimport Span, queue_own, queue_pop, queue_sent
from pcgrelay._core.frame.record cimport Record, record_read
from pcgrelay._core.link.relay cimport Path
from pcgrelay._core.base.result cimport (
    RESULT_DUPLICATE, RESULT_GAP, RESULT_OK, RESULT_PEER_CLOSED, RESULT_SOCKET, Result,
)
from pcgrelay._core.stream.meter cimport meter_new
from pcgrelay._core.stream.service_tables cimport (
    EXPORT_DRAIN, EXPORT_READY, EXPORT_UNRESOLVED, IMPORT_LIVE, IMPORT_PENDING, IMPORT_UNCLEARED, OUTLET_DIRECT,
    OUTLET_GATEWAY, DatagramImport, Export, Import, Outlets, Tables, tables_hold, tables_index, tables_new,
)
from pcgrelay._core.session.session cimport SESSION_GAUGE_FLOWS_UP, SESSION_GAUGE_STREAMS, Session, session_find
from pcgrelay._core.base.stats cimport (
    CAUSE_APPLICATION_RESET, CAUSE_BUDGET, CAUSE_COUNT, CAUSE_TARGET_REFUSED, COUNT_BYTES_RECEIVED,
    COUNT_LANES_CLOSED, COUNT_LANES_OPENED, COUNT_STREAMS_CLOSED, COUNT_STREAMS_OPENED,
)
from pcgrelay._core.stream.stream_list cimport list_pop
from pcgrelay._core.stream.stream cimport DIAL_NONE, IN_ENDED, LIFE_LIVE, OUT_OPEN, OUT_SHUT, Stream
from pcgrelay._core.worker.lane_io cimport lane_io_end
from pcgrelay._core.base.wire cimport (
    CODE_ABORTED, CODE_BUSY, CODE_DONE, CODE_UNREACHABLE, FRAME_ACK, FRAME_BUNDLE, FRAME_CONFIRM, FRAME_DATAGRAMS,
    FRAME_FLOW_CONFIRM, FRAME_FLOW_REKEY, FRAME_REKEY, FRAME_RESUME, PURPOSE_HOP_HEADER, WIRE_BODY_MAX, WIRE_PREFIX,
    WIRE_UDP_HEAD, WIRE_VERSION, wire_get32, wire_get64, wire_put16, wire_put24, wire_put32, wire_put64,
)
from pcgrelay._core.worker.worker cimport Worker, worker_wake


from pcgrelay._core.face.workers import CoreError


cdef extern from "sys/socket.h" nogil:
    int AF_UNIX
    int socketpair(int family, int kind, int protocol, int* pair)
    int bind(int fd, const sockaddr* address, uint32_t length)
    int listen(int fd, int backlog)
    ssize_t send(int fd, const void* p, size_t n, int flags)
    ssize_t sendto(int fd, const void* p, size_t n, int flags, const sockaddr* address, uint32_t length)
    ssize_t recvfrom(int fd, void* p, size_t n, int flags, sockaddr* address, uint32_t* length)

cdef extern from "unistd.h" nogil:
    int getpid()

cdef enum:
    PEERS = 16
    APPLICATIONS = 64
    CLIENTS = 4                 # of an import of datagrams
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
    uint8_t import_address[28]  # of the import of datagrams, while it is listened for
    bint edge_alone
    bint honest                 # the far edge acknowledged only what it has
    bint has_far
    bint ended_by_peer

cdef Outbox outbox
cdef Tables* tables[3]        # the last has outlets
cdef int target_fd              # where exports lead to
cdef uint8_t target_address[28]
cdef uint32_t target_length
cdef int datagram_fd            # the same, of datagrams
cdef uint8_t datagram_address[28]
cdef int client_fds[CLIENTS]
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


include "tables.pxi"


cdef void once() noexcept nogil:
    global target_fd, target_length
    if target_fd > 0:
        return
    if aead_load() != RESULT_OK or not outbox_start(&outbox, -1):
        broken(b"libcrypto or memory is missing")
    target_length = unix_address(target_address, b"T", 0)
    target_fd = unix_listener(target_address, target_length)
    open_datagrams()
    tables[0] = make_tables(0)
    tables[1] = make_tables(1)
    tables[2] = make_tables(2)


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


# Not of a stream's end how long it was open: that is another each time.
cdef uint64_t event_digest(const Event* event) noexcept nogil:
    cdef const StreamEndEvent* end = &event.data.stream
    cdef const SessionEvent* session = &event.data.session
    cdef const LaneEvent* lane = &event.data.lane
    if event.kind == EVENT_STREAM_END:
        return event.kind ^ <uint64_t>end.opener << 8 ^ <uint64_t>end.number << 16 ^ <uint64_t>end.session << 24 \
            ^ end.sent_bytes << 32
    if event.kind == EVENT_LANE_UP or event.kind == EVENT_LANE_DOWN:
        return event.kind ^ <uint64_t>lane.link << 8 ^ <uint64_t>lane.index << 16 ^ <uint64_t>lane.number << 24 \
            ^ <uint64_t>lane.code << 32
    if event.kind == EVENT_PEER_DRAINS:
        return event.kind ^ <uint64_t>event.data.drain.link << 8 ^ <uint64_t>event.data.drain.milliseconds << 16
    if event.kind == EVENT_IMPORT_WANTED:
        return event.kind ^ <uint64_t>event.data.import_number << 8
    return event.kind ^ <uint64_t>session.number << 8 ^ <uint64_t>(session.flow ^ session.label) << 16 \
        ^ <uint64_t>session.code << 24 ^ <uint64_t>session.reason << 32


cdef void take_events(World* self) noexcept nogil:
    cdef Event batch[64]
    cdef uint64_t lost = 0, lost_kept = 0
    cdef uint32_t i, n = 64
    while n == 64:
        n = outbox_drain(&outbox, batch, 64, &lost, &lost_kept)
        for i in range(n):
            self.events = (self.events ^ event_digest(&batch[i])) * <uint64_t>1099511628211
            if batch[i].kind == EVENT_STREAM_END:
                self.stream_ends += 1
            elif batch[i].kind == EVENT_LANE_DOWN and batch[i].data.lane.reason == RESULT_PEER_CLOSED:
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
    # Those that are not passed on yet are ends of streams, and few.
    if causes != self.stream_ends + shard.event_count:
        broken(b"a stream's end was not told once")
    if shard.event_count >= EVENTS_WAIT:
        broken(b"ends of streams wait for too many others")
    if shard.deferred_streams != NULL or (shard.deferred_lanes != NULL and shard.unread == NULL):
        broken(b"what has ended is not freed with the turn")
    if shard.windows > <uint64_t>1 << 60:
        broken(b"more credit was used than was given")
    if session != NULL:
        if gauge_at(session.gauge, 0)[SESSION_GAUGE_FLOWS_UP] != (session.flows[0].state == FLOW_UP):
            broken(b"the gauge of flows that are up is wrong")
        if gauge_at(session.gauge, 0)[SESSION_GAUGE_STREAMS] > shard.stats.streams:
            broken(b"the gauge of streams is wrong")
        if session.flows[0].retained_bytes > session.flows[0].cap + WIRE_BODY_MAX + 2 * WIRE_PREFIX + 64:
            broken(b"more is retained than the cap allows")


cdef void world_turn(void* world, bint beat) noexcept nogil:
    cdef World* self = <World*>world
    cdef Lane* lane = self.worker.shard.lanes
    cdef uint64_t away_us = monotonic_us() - self.worker.shard.now_us
    # Buckets refill by the clock; an input is to mean the same however long it takes.
    while lane != NULL:
        lane.pings_us += away_us
        lane.losts_us += away_us
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
            edge_session_close(shard, session, CODE_DONE)
        world_deliver(self, 0)
    else:
        world_order(self, WORLD_SESSION_CLOSE, SESSION, CODE_DONE, 0, 0, 0, 0, 0, 0)
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
    forget_datagrams()
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

# As world.h lists them.
cdef enum:
    WORLD_SESSION_CLOSE = 6     # its place in this list

cdef OrderKind[9] KINDS = [
    ORDER_LINK_CLOSE, ORDER_LINK_DRAIN, ORDER_PATH_ADD, ORDER_PATH_REMOVE, ORDER_SESSION_PATH, ORDER_SESSION_CANDIDATE,
    ORDER_SESSION_CLOSE, ORDER_UNLISTEN, ORDER_DRAIN,
]


cdef void put(World* self, Order* order) noexcept nogil:
    if mailbox_put(&self.worker.mailbox, order):
        worker_wake(self.worker.mailbox.wake_fd)


# An order of any of these kinds, with its arguments as they stand in mailbox.pxd.
cdef void world_order(void* world, int which, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f,
                      uint64_t g, uint64_t h) noexcept nogil:
    cdef Order* order = order_new(KINDS[which])
    cdef PathOrder* path = &order.args.path
    cdef LeadOrder* lead = &order.args.lead
    if order.kind == ORDER_LINK_CLOSE or order.kind == ORDER_SESSION_CLOSE:
        order.args.close.number, order.args.close.code = <uint32_t>a, <uint32_t>b
    elif order.kind == ORDER_LINK_DRAIN:
        order.args.drain.link, order.args.drain.milliseconds = <uint32_t>a, <uint32_t>b
    elif order.kind == ORDER_PATH_ADD or order.kind == ORDER_PATH_REMOVE:
        path.number, path.a_link, path.a_in, path.a_out = <uint32_t>a, <uint32_t>b, <uint32_t>c, <uint32_t>d
        path.b_link, path.b_in, path.b_out = <uint32_t>e, <uint32_t>f, <uint32_t>g
        path.cap, path.priority = h >> 8, <uint32_t>h & 0xff
    elif order.kind == ORDER_SESSION_PATH or order.kind == ORDER_SESSION_CANDIDATE:
        lead.session, lead.link, lead.in_label, lead.out_label = <uint32_t>a, <uint32_t>b, <uint32_t>c, <uint32_t>d
        lead.instead = <uint32_t>e
    elif order.kind == ORDER_UNLISTEN:
        order.args.import_number = <int>a
    put(<World*>world, order)


cdef void world_link(void* world, uint32_t link, uint32_t lanes, bint dialler) noexcept nogil:
    cdef World* self = <World*>world
    cdef Order* order
    if link_find(&self.worker.shard, link) != NULL:
        return
    order = order_new(ORDER_LINK_ADD)
    order.args.link.number, order.args.link.suite, order.args.link.lanes = link, self.suite, lanes
    order.args.link.dialler = dialler
    order.args.link.gauge = gauge_new(1, 1)
    put(self, order)
    world_turn(self, False)


cdef void world_tables(void* world, int which) noexcept nogil:
    cdef Order* order = order_new(ORDER_TABLES)
    tables_hold(tables[which % 3])
    order.args.tables = tables[which % 3]
    put(<World*>world, order)


# One module, for its state is one; these follow in place.
include "far_ends.pxi"
include "applications.pxi"
include "alone.pxi"
include "heirs.pxi"
include "packets.pxi"
