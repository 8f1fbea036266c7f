from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from pcgrelay._core.buf cimport BUF_LARGEST, Buf, buf_data, buf_drop, buf_take, pool_free, pool_start, pool_stop
from pcgrelay._core.edge cimport (
    ACCEPT_ELSEWHERE,
    ACCEPT_REFUSED,
    AcceptAnswer,
    edge_abort,
    edge_accept,
    edge_activate,
    edge_bundle,
    edge_bury,
    edge_check_done,
    edge_code,
    edge_connected,
    edge_data,
    edge_datagrams,
    edge_dirty,
    edge_fin,
    edge_may_read,
    edge_ready,
    edge_say,
    edge_session_end,
    edge_tables_changed,
    edge_target,
    edge_timer,
    edge_wrote,
)
from pcgrelay._core.flow cimport Flow, flow_has_room, list_pop
from pcgrelay._core.frame cimport Frame, frame_is_lane
from pcgrelay._core.handle cimport HANDLE_LANE, HANDLE_LISTENER, HANDLE_MAILBOX, HANDLE_STREAM, Handle
from pcgrelay._core.libcrypto cimport OPENSSL_cleanse
from pcgrelay._core.link cimport (
    GAUGE_RECEIVED_BYTES,
    GAUGE_SENT_BYTES,
    LANE_BACKLOG,
    LANE_BACKLOG_SMALL,
    LANE_CLASSES,
    LANE_CLOSED,
    LANE_CONFIRMING,
    Gauge,
    Lane,
    Link,
    Shard,
    gauge_at,
    gauge_drop,
    lane_backlog,
    lane_dirty,
    lane_fill,
    lane_is_up,
    lane_keep,
    lane_next,
    lane_say,
    lane_start,
    lane_stop,
    lane_take,
    lane_tick,
    link_add,
    link_find,
    link_remove,
    shard_event,
    shard_events_pass,
)
from pcgrelay._core.linux cimport (
    AF_INET,
    AF_INET6,
    EAGAIN,
    ECONNREFUSED,
    EFD_CLOEXEC,
    EFD_NONBLOCK,
    EINPROGRESS,
    EINTR,
    EMFILE,
    ENFILE,
    ENOBUFS,
    ENOMEM,
    EPOLL_CLOEXEC,
    EPOLL_CTL_ADD,
    EPOLL_CTL_MOD,
    EPOLLERR,
    EPOLLET,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    EPOLLRDHUP,
    IPPROTO_TCP,
    MSG_NOSIGNAL,
    SHUT_WR,
    SIG_SETMASK,
    SO_ERROR,
    SO_LINGER,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_NODELAY,
    TCP_NOTSENT_LOWAT,
    accept4,
    close,
    connect,
    epoll_create1,
    epoll_ctl,
    epoll_event,
    epoll_wait,
    errno,
    eventfd,
    getsockopt,
    linger,
    monotonic_us,
    msghdr,
    pthread_create,
    pthread_sigmask,
    read,
    readv,
    recv,
    sendmsg,
    setsockopt,
    shutdown,
    sigfillset,
    sigset_t,
    sockaddr,
    socket,
    write,
)
from pcgrelay._core.mailbox cimport (
    EVENT_LANE_DOWN,
    ORDER_DRAIN,
    ORDER_LANE_ADD,
    ORDER_LINK_ADD,
    ORDER_LINK_CLOSE,
    ORDER_LINK_DRAIN,
    ORDER_LISTEN,
    ORDER_PATH_ADD,
    ORDER_PATH_REMOVE,
    ORDER_SESSION_ADD,
    ORDER_SESSION_CLOSE,
    ORDER_SESSION_PATH,
    ORDER_STOP,
    ORDER_STREAM,
    ORDER_TABLES,
    ORDER_UNLISTEN,
    Event,
    Order,
    Outbox,
    mailbox_put,
    mailbox_start,
    mailbox_stop,
    mailbox_take,
    order_free,
    order_new,
)
from pcgrelay._core.map cimport map_any, map_free, map_next
from pcgrelay._core.queue cimport Queue, iovec, queue_sent, queue_settle, queue_vectors
from pcgrelay._core.relay cimport Path, relay_cut, relay_frame, relay_lost, relay_path_add, relay_path_remove, relay_sweep
from pcgrelay._core.result cimport (
    RESULT_DUPLICATE,
    RESULT_LOCAL_CLOSE,
    RESULT_MORE,
    RESULT_NO_MEMORY,
    RESULT_OK,
    RESULT_PEER_CLOSED,
    RESULT_REPLACED,
    RESULT_SOCKET,
    Result,
)
from pcgrelay._core.route cimport Tables, Target, tables_drop
from pcgrelay._core.session cimport (
    Session,
    session_acks,
    session_add,
    session_find,
    session_frame,
    session_lane_down,
    session_lane_up,
    session_lost,
    session_path,
    session_bundle,
    session_tick,
)
from pcgrelay._core.stats cimport (
    CAUSE_APPLICATION_RESET,
    CAUSE_BUDGET,
    CAUSE_DESCRIPTORS,
    CAUSE_SHUTDOWN,
    CAUSE_TARGET_REFUSED,
    CAUSE_TARGET_UNREACHABLE,
    COUNT_ACCEPT_FAILED,
    COUNT_BYTES_RECEIVED,
    COUNT_BYTES_SENT,
    COUNT_DATAGRAMS_IGNORED,
    COUNT_LANES_CLOSED,
    COUNT_SYSTEM_CALLS,
    COUNT_TURNS,
)
from pcgrelay._core.stream cimport Stream
from pcgrelay._core.timer cimport Timer, wheel_pop, wheel_start
from pcgrelay._core.wire cimport (
    CODE_ABORTED,
    CODE_BUSY,
    CODE_DONE,
    CODE_DRAINING,
    CODE_UNREACHABLE,
    CODE_VIOLATION,
    FRAME_BUNDLE,
    FRAME_CLOSE,
    FRAME_CONFIRM,
    FRAME_DATAGRAMS,
    FRAME_DRAIN,
    FRAME_LOST,
    FRAME_RESUME,
    WIRE_BODY_MAX,
    WIRE_LANES_MAX,
    WIRE_PREFIX,
    wire_get16,
    wire_get32,
    wire_put16,
    wire_put32,
)

cdef enum:
    VECTORS = 64
    EVENTS = 256
    LANE_LOWAT = 262144         # unsent bytes in a lane's socket: more would queue where nothing can overtake
    BUNDLE_SPARE = 256          # room that a bundle keeps for what a stream says besides its data
    BULK_ROOM = 32768           # a bulk read gets at least so much room
    POOL_RESERVE = 4194304


# -- life -------------------------------------------------------------------------------------------------------------

cdef bint worker_start(Worker* self, Worker* siblings, uint32_t index, uint32_t count, uint32_t role, uint64_t budget,
                       Outbox* outbox, int event_fd) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef int wake_fd
    memset(self, 0, sizeof(Worker))
    self.siblings = siblings
    self.role = role
    self.event_fd = event_fd
    shard.index = index
    shard.workers = count
    shard.outbox = outbox
    shard.now_us = monotonic_us()
    pool_start(&shard.pool, budget, POOL_RESERVE)
    wheel_start(&shard.wheel, shard.now_us)
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    self.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
    self.space = <uint8_t*>malloc(WORKER_SLOTS * WORKER_SLOT)
    self.mailbox_handle.kind = HANDLE_MAILBOX
    self.mailbox_handle.fd = wake_fd
    if not mailbox_start(&self.mailbox, wake_fd) or wake_fd < 0 or self.epoll_fd < 0 or self.space == NULL:
        return False
    return watch(self, &self.mailbox_handle, EPOLLIN, EPOLL_CTL_ADD)


cdef bint worker_launch(Worker* self) noexcept nogil:
    cdef sigset_t all_signals
    cdef sigset_t before
    # Signals are the control plane's.
    sigfillset(&all_signals)
    pthread_sigmask(SIG_SETMASK, &all_signals, &before)
    self.running = pthread_create(&self.thread, NULL, worker_main, self) == 0
    pthread_sigmask(SIG_SETMASK, &before, NULL)
    return self.running


cdef void* worker_main(void* argument) noexcept nogil:
    cdef Worker* self = <Worker*>argument
    while not self.stopping:
        worker_turn(self, 1000)
    return NULL


cdef void worker_stop(Worker* self) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Session* session
    cdef Link* link
    cdef Order* order
    while True:
        session = <Session*>map_any(&shard.sessions)
        if session == NULL:
            break
        edge_session_end(shard, session, CODE_DRAINING, RESULT_LOCAL_CLOSE, True, False, False)
    while shard.waiting != NULL:
        edge_abort(shard, shard.waiting, CODE_DRAINING, CAUSE_SHUTDOWN)
    while True:
        link = <Link*>map_any(&shard.links)
        if link == NULL:
            break
        link_end(self, link, CODE_DRAINING)
    while True:
        order = mailbox_take(&self.mailbox)
        if order == NULL:
            break
        drop_orders(order)
    unlisten(self, -1)
    deliver(self)
    free_buried(self)
    relay_end(shard)
    tables_drop(shard.tables)
    map_free(&shard.links)
    map_free(&shard.labels)
    map_free(&shard.outs)
    map_free(&shard.paths)
    map_free(&shard.sessions)
    pool_stop(&shard.pool)
    free(self.space)
    close(self.epoll_fd)
    close(self.mailbox_handle.fd)
    mailbox_stop(&self.mailbox)


cdef void relay_end(Shard* shard) noexcept nogil:
    cdef Path* path
    while True:
        path = <Path*>map_any(&shard.paths)
        if path == NULL:
            break
        relay_path_remove(shard, path.number)
    relay_sweep(shard, True)


cdef void drop_orders(Order* order) noexcept nogil:
    cdef Order* following
    while order != NULL:
        following = order.next
        if order.fd >= 0:
            close(order.fd)
        if order.kind == ORDER_TABLES:
            tables_drop(<Tables*>order.pointer)
        elif order.kind == ORDER_LINK_ADD or order.kind == ORDER_SESSION_ADD:
            gauge_drop(<Gauge*>order.pointer)
        order_free(order)
        order = following


cdef bint watch(Worker* self, Handle* handle, uint32_t events, int op) noexcept nogil:
    cdef epoll_event event
    event.events = events
    event.data.ptr = handle
    return epoll_ctl(self.epoll_fd, op, handle.fd, &event) == 0


# -- a turn -----------------------------------------------------------------------------------------------------------

cdef void worker_turn(Worker* self, int timeout_ms) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef epoll_event events[EVENTS]
    cdef Handle* handle
    cdef int i, n
    cdef bint wake = False
    n = epoll_wait(self.epoll_fd, events, EVENTS, wait_ms(self, timeout_ms))
    shard.now_us = monotonic_us()
    shard.stats.count[COUNT_TURNS] += 1
    read_on(self)
    for i in range(n):
        handle = <Handle*>events[i].data.ptr
        if handle.kind == HANDLE_LANE:
            lane_event(self, <Lane*>handle, events[i].events)
        elif handle.kind == HANDLE_STREAM:
            stream_event(self, <Stream*>handle, events[i].events)
        elif handle.kind == HANDLE_LISTENER:
            accept_streams(self, <Listener*>handle)
        else:
            take_orders(self)
    deliver(self)
    serve(self)
    if shard.now_us >= self.next_tick_us:
        tick(self)
    acknowledge(self)
    # Serving and ticking can end streams and sessions; delivering can give credit back; both may make lanes dirty.
    deliver(self)
    flush(self)
    free_buried(self)
    shard_events_pass(shard, &wake)
    if wake:
        wake_up(self.event_fd)


cdef int wait_ms(Worker* self, int timeout_ms) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef uint64_t now_us, due_us = self.next_tick_us
    if shard.unread != NULL or can_serve(self):
        return 0
    if self.next_ack_us != 0 and self.next_ack_us < due_us:
        due_us = self.next_ack_us
    now_us = monotonic_us()
    if due_us <= now_us:
        return 0
    due_us = (due_us - now_us + 999) / 1000
    return timeout_ms if <uint64_t>timeout_ms < due_us else <int>due_us


cdef void wake_up(int fd) noexcept nogil:
    cdef uint64_t one = 1
    # A full counter still wakes; any other failure would be a lost descriptor.
    if write(fd, &one, 8) < 0:
        return


cdef void tick(Worker* self) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Lane* lane = shard.lanes
    cdef Lane* following
    cdef Session* session
    cdef Timer* timer
    cdef Listener* listener = self.listeners
    cdef Result answer
    cdef uint32_t at = 0
    self.next_tick_us = shard.now_us + WORKER_TICK_US
    while lane != NULL:
        following = lane.next
        answer = lane_tick(shard, lane)
        if answer != RESULT_OK:
            lane_end(self, lane, answer, CODE_VIOLATION if answer == RESULT_NO_MEMORY else CODE_DONE)
        lane = following
    while True:
        session = <Session*>map_next(&shard.sessions, &at)
        if session == NULL:
            break
        answer = session_tick(shard, session)
        if answer != RESULT_OK:
            edge_session_end(shard, session, edge_code(answer), answer, True, True, False)
            # The table changed under the walk; the next tick sees the rest.
            break
    while True:
        timer = wheel_pop(&shard.wheel, shard.now_us)
        if timer == NULL:
            break
        edge_timer(shard, <Stream*>timer.owner)
    while listener != NULL:
        if listener.paused:
            listener.paused = False
            watch(self, &listener.handle, EPOLLIN, EPOLL_CTL_MOD)
        listener = listener.next
    if shard.dying_paths != NULL:
        relay_sweep(shard, False)


cdef void free_buried(Worker* self) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Stream* stream
    cdef Lane* lane
    while shard.buried_streams != NULL:
        stream = shard.buried_streams
        shard.buried_streams = stream.next
        pool_free(&shard.pool, stream, sizeof(Stream))
    while shard.buried_lanes != NULL:
        lane = shard.buried_lanes
        shard.buried_lanes = lane.next
        pool_free(&shard.pool, lane, sizeof(Lane))


# -- lanes ------------------------------------------------------------------------------------------------------------

cdef void lane_event(Worker* self, Lane* lane, uint32_t events) noexcept nogil:
    cdef Result answer
    if lane.state == LANE_CLOSED:
        return
    if events & EPOLLOUT and not lane.writable:
        lane.writable = True
        lane_dirty(&self.shard, lane)
    if events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        lane.hangup = True
    if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        lane_listen(self, lane)


cdef void lane_listen(Worker* self, Lane* lane) noexcept nogil:
    cdef Result answer = lane_read(self, lane)
    if answer != RESULT_OK:
        lane_end(self, lane, answer, CODE_VIOLATION)


# Lanes that had their share of the last turn with bytes left: edge-triggered epoll does not name them again.
cdef void read_on(Worker* self) noexcept nogil:
    cdef Lane* lane = self.shard.unread
    cdef Lane* following
    self.shard.unread = NULL
    while lane != NULL:
        following = lane.next_unread
        lane.unread = False
        if lane.state != LANE_CLOSED:
            lane_listen(self, lane)
        lane = following


# Read until the socket is empty or the lane had its share.
cdef Result lane_read(Worker* self, Lane* lane) noexcept nogil:
    cdef iovec vectors[2]
    cdef uint8_t* slot
    cdef ssize_t got
    cdef uint64_t room, part
    cdef int i, first
    cdef Result answer
    for i in range(WORKER_READS):
        if self.role == WORKER_EDGE:
            deliver(self)
            slot = self.space
        else:
            if self.slots_used == WORKER_SLOTS:
                flush(self)
            slot = self.space + self.slots_used * WORKER_SLOT
        part = 0
        first = 1
        if lane.partial != NULL:
            part = lane.partial_need
            vectors[0].iov_base = buf_data(lane.partial) + lane.partial.length
            vectors[0].iov_len = part
            first = 0
        vectors[1].iov_base = slot
        vectors[1].iov_len = WORKER_SLOT
        room = part + WORKER_SLOT
        got = readv(lane.handle.fd, vectors + first, 2 - first)
        self.shard.stats.count[COUNT_SYSTEM_CALLS] += 1
        if got < 0:
            return RESULT_OK if errno == EAGAIN or errno == EINTR else RESULT_SOCKET
        if got == 0:
            return RESULT_SOCKET
        lane.heard_us = self.shard.now_us
        self.shard.stats.count[COUNT_BYTES_RECEIVED] += <uint64_t>got
        gauge_at(lane.link.gauge, self.shard.index)[GAUGE_RECEIVED_BYTES] += <uint64_t>got
        if <uint64_t>got < part:
            part = <uint64_t>got
        if self.role == WORKER_RELAY and <uint64_t>got > part:
            self.slots_used += 1
        answer = lane_feed(self, lane, part, slot, <uint64_t>got - part)
        if answer != RESULT_OK:
            return answer
        if lane.state == LANE_CLOSED or (<uint64_t>got < room and not lane.hangup):
            return RESULT_OK
    if not lane.unread:
        lane.unread = True
        lane.next_unread = self.shard.unread
        self.shard.unread = lane
    return RESULT_OK


# part bytes were read to the end of the partial frame, n more to p.
cdef Result lane_feed(Worker* self, Lane* lane, uint64_t part, uint8_t* p, uint64_t n) noexcept nogil:
    cdef Frame frame
    cdef Buf* buf
    cdef uint64_t used = 0
    cdef Result answer
    while lane.partial != NULL:
        buf = lane.partial
        if part == 0:
            part = n if n < lane.partial_need else lane.partial_need
            memcpy(buf_data(buf) + buf.length, p, part)
            p += part
            n -= part
        buf.length += <uint32_t>part
        lane.partial_need -= <uint32_t>part
        part = 0
        if lane.partial_need != 0:
            return RESULT_OK
        frame = lane.head
        answer = lane_next(&self.shard, lane, buf_data(buf), buf.length, lane.head_open, &frame, &used)
        if answer == RESULT_MORE:
            # It was the prefix only; now we know how long the frame is.
            answer = lane_keep(&self.shard, lane, buf_data(buf), buf.length, &frame, True)
            if answer != RESULT_OK:
                return answer
            continue
        if answer != RESULT_OK:
            return answer
        lane.partial = NULL
        answer = take_frame(self, lane, &frame, buf_data(buf), buf)
        buf_drop(&self.shard.pool, buf)
        if answer != RESULT_OK:
            return answer
    while n != 0:
        answer = lane_next(&self.shard, lane, p, n, False, &frame, &used)
        if answer == RESULT_MORE:
            return lane_keep(&self.shard, lane, p, n, &frame, n >= WIRE_PREFIX)
        if answer != RESULT_OK:
            return answer
        answer = take_frame(self, lane, &frame, p, NULL)
        if answer != RESULT_OK:
            return answer
        p += used
        n -= used
    return RESULT_OK


cdef Result take_frame(Worker* self, Lane* lane, Frame* frame, uint8_t* wire, Buf* owner) noexcept nogil:
    cdef Flow* flow = NULL
    cdef uint32_t code = CODE_DONE
    cdef Result answer
    if frame_is_lane(frame.type):
        answer = lane_take(&self.shard, lane, frame, wire)
        if answer == RESULT_OK and frame.type == FRAME_CONFIRM:
            lane_up(self, lane)
        elif answer == RESULT_OK and frame.type == FRAME_LOST:
            if self.role == WORKER_RELAY:
                return relay_lost(&self.shard, lane, wire_get32(wire + WIRE_PREFIX), wire_get16(wire + WIRE_PREFIX + 4))
            session_lost(&self.shard, lane, wire_get32(wire + WIRE_PREFIX), wire_get16(wire + WIRE_PREFIX + 4))
        return answer
    if self.role == WORKER_RELAY:
        return relay_frame(&self.shard, lane, frame, wire, owner)
    answer = session_frame(&self.shard, lane, frame, wire, &flow, &code)
    if answer == RESULT_OK:
        if frame.type == FRAME_BUNDLE:
            answer = edge_bundle(&self.shard, flow, wire + WIRE_PREFIX, frame.length, owner)
        elif frame.type == FRAME_DATAGRAMS:
            answer = edge_datagrams(&self.shard, wire + WIRE_PREFIX, frame.length)
        elif flow.small.head != NULL or flow.bulk.head != NULL:
            # An ACK or RESUME may have made room.
            edge_activate(&self.shard, flow)
    if answer == RESULT_PEER_CLOSED:
        edge_session_end(&self.shard, <Session*>flow.session, code, answer, False, True, True)
    elif answer != RESULT_OK and answer != RESULT_DUPLICATE:
        edge_session_end(&self.shard, <Session*>flow.session, edge_code(answer), answer, True, True, False)
    return RESULT_OK


cdef void lane_up(Worker* self, Lane* lane) noexcept nogil:
    cdef Lane* before = lane.link.lanes[lane.index]
    cdef Session* failed = NULL
    cdef Result answer
    if before != NULL:
        lane_end(self, before, RESULT_REPLACED, CODE_DONE)
    lane.link.lanes[lane.index] = lane
    if self.role == WORKER_EDGE:
        answer = session_lane_up(&self.shard, lane, &failed)
        if answer != RESULT_OK:
            edge_session_end(&self.shard, failed, edge_code(answer), answer, True, True, False)


# Close a lane: say why if it can be said, tell the flows, the control plane and the counters.
cdef void lane_end(Worker* self, Lane* lane, Result reason, uint32_t code) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef uint8_t body[4]
    cdef Event* event
    if lane.state == LANE_CLOSED:
        return
    if lane_is_up(lane) and reason != RESULT_SOCKET and reason != RESULT_PEER_CLOSED:
        wire_put16(body, code)
        wire_put16(body + 2, 0)
        if lane_say(shard, lane, FRAME_CLOSE, body, 4) == RESULT_OK:
            lane_send(self, lane)
    event = shard_event(shard, EVENT_LANE_DOWN)
    event.a = lane.link.number
    event.b = lane.index
    event.c = lane.number
    event.d = lane.close_code if reason == RESULT_PEER_CLOSED else code
    event.e = reason
    shard.stats.refused[<int>reason if reason < 32 else 0] += 1
    shard.stats.count[COUNT_LANES_CLOSED] += 1
    if lane.link.lanes[lane.index] == lane:
        lane.link.lanes[lane.index] = NULL
        if self.role == WORKER_EDGE:
            session_lane_down(shard, lane, code)
    lane_stop(shard, lane)
    close(lane.handle.fd)
    lane.handle.fd = -1
    if lane.prev != NULL:
        lane.prev.next = lane.next
    else:
        shard.lanes = lane.next
    if lane.next != NULL:
        lane.next.prev = lane.prev
    lane.next = shard.buried_lanes
    shard.buried_lanes = lane


cdef void link_end(Worker* self, Link* link, uint32_t code) noexcept nogil:
    cdef Lane* lane = self.shard.lanes
    cdef Lane* following
    while lane != NULL:
        following = lane.next
        if lane.link == link:
            lane_end(self, lane, RESULT_LOCAL_CLOSE, code)
        lane = following
    link_remove(&self.shard, link)


# Send what the turn produced, for each lane with one system call as a rule; then settle what is borrowed.
cdef void flush(Worker* self) noexcept nogil:
    cdef Lane* lane
    cdef Result answer
    while self.shard.dirty_lanes != NULL:
        lane = self.shard.dirty_lanes
        self.shard.dirty_lanes = lane.next_dirty
        lane.dirty = False
        if lane.state == LANE_CLOSED:
            continue
        answer = lane_send(self, lane)
        if answer == RESULT_OK and self.role == WORKER_RELAY:
            answer = lane_settle(self, lane)
        if answer != RESULT_OK:
            lane_end(self, lane, answer, CODE_VIOLATION)
    self.slots_used = 0


cdef Result lane_send(Worker* self, Lane* lane) noexcept nogil:
    cdef iovec vectors[VECTORS]
    cdef msghdr message
    cdef ssize_t sent
    cdef uint64_t asked
    cdef uint32_t i
    cdef Result answer
    while lane.writable:
        answer = lane_fill(&self.shard, lane)
        if answer != RESULT_OK:
            return answer
        if lane.wire.count == 0:
            return RESULT_OK
        memset(&message, 0, sizeof(message))
        message.msg_iov = vectors
        message.msg_iovlen = queue_vectors(&lane.wire, vectors, VECTORS)
        asked = 0
        for i in range(<uint32_t>message.msg_iovlen):
            asked += vectors[i].iov_len
        sent = sendmsg(lane.handle.fd, &message, MSG_NOSIGNAL)
        self.shard.stats.count[COUNT_SYSTEM_CALLS] += 1
        if sent < 0:
            if errno == EINTR:
                continue
            if errno != EAGAIN:
                return RESULT_SOCKET
            sent = 0
        self.shard.stats.count[COUNT_BYTES_SENT] += <uint64_t>sent
        gauge_at(lane.link.gauge, self.shard.index)[GAUGE_SENT_BYTES] += <uint64_t>sent
        queue_sent(&lane.wire, &self.shard.pool, <uint64_t>sent)
        if <uint64_t>sent < asked:
            lane.writable = False
    return RESULT_OK


cdef Result lane_settle(Worker* self, Lane* lane) noexcept nogil:
    cdef uint32_t i, first = 0
    for i in range(LANE_CLASSES):
        if queue_settle(&lane.pending[i], &self.shard.pool, False, &first) != RESULT_OK:
            relay_cut(&self.shard, lane, i, first)
    # What has its hop number must go out, or the lane is lost.
    return queue_settle(&lane.wire, &self.shard.pool, True, &first)


# -- streams: the application's side ----------------------------------------------------------------------------------

cdef void accept_streams(Worker* self, Listener* listener) noexcept nogil:
    cdef int i, fd
    for i in range(WORKER_ACCEPTS):
        fd = accept4(listener.handle.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd < 0:
            if errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
                # Look again at the next tick, or the loop would spin on what it cannot take.
                self.shard.stats.count[COUNT_ACCEPT_FAILED] += 1
                self.shard.stats.cause[CAUSE_DESCRIPTORS] += 1
                listener.paused = True
                watch(self, &listener.handle, 0, EPOLL_CTL_MOD)
            return
        adopt(self, listener.number, fd, 0)


# An application's socket for an import, accepted here or by another worker.
cdef void adopt(Worker* self, uint32_t number, int fd, uint32_t session) noexcept nogil:
    cdef Stream* stream = NULL
    cdef Order* order
    cdef uint32_t elsewhere = 0
    cdef int one = 1
    cdef AcceptAnswer answer = edge_accept(&self.shard, number, fd, session, &stream, &elsewhere)
    if answer == ACCEPT_ELSEWHERE:
        order = order_new(ORDER_STREAM)
        if order == NULL:
            reset_close(fd)
            return
        order.fd = fd
        order.a = number
        if mailbox_put(&self.siblings[elsewhere].mailbox, order):
            wake_up(self.siblings[elsewhere].mailbox.wake_fd)
        return
    if answer == ACCEPT_REFUSED:
        reset_close(fd)
        return
    if stream == NULL:
        return
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    if not watch(self, &stream.handle, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, EPOLL_CTL_ADD):
        edge_abort(&self.shard, stream, CODE_BUSY, CAUSE_DESCRIPTORS)


# Close so that the application sees a reset, never a clean end.
cdef void reset_close(int fd) noexcept nogil:
    cdef linger hard
    hard.l_onoff = 1
    hard.l_linger = 0
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard))
    close(fd)


cdef int socket_error(int fd) noexcept nogil:
    cdef int error = 0
    cdef uint32_t length = sizeof(error)
    if getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0:
        return errno
    return error


cdef void stream_event(Worker* self, Stream* stream, uint32_t events) noexcept nogil:
    if stream.finished or stream.handle.fd < 0:
        return
    if stream.connecting:
        if events & (EPOLLERR | EPOLLHUP) or (events & EPOLLOUT and socket_error(stream.handle.fd) != 0):
            connect_failed(self, stream, socket_error(stream.handle.fd))
        elif events & EPOLLOUT:
            edge_connected(&self.shard, stream)
        return
    if events & EPOLLERR:
        edge_abort(&self.shard, stream, CODE_ABORTED, CAUSE_APPLICATION_RESET)
        return
    if events & EPOLLOUT and not stream.writable:
        stream.writable = True
        edge_dirty(&self.shard, stream)
    if events & (EPOLLRDHUP | EPOLLHUP):
        stream.hangup = True
    if events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP) and not stream.ended:
        stream.readable = True
        edge_ready(&self.shard, stream)


cdef void connect_failed(Worker* self, Stream* stream, int error) noexcept nogil:
    close(stream.handle.fd)
    stream.handle.fd = -1
    connect_next(self, stream, error)


# Try the next address of the target; the deadline is one for all of them.
cdef void connect_next(Worker* self, Stream* stream, int error) noexcept nogil:
    cdef const Target* target
    cdef int fd, one = 1
    while True:
        target = edge_target(&self.shard, stream)
        if target == NULL:
            edge_abort(&self.shard, stream, CODE_UNREACHABLE,
                       CAUSE_TARGET_REFUSED if error == ECONNREFUSED else CAUSE_TARGET_UNREACHABLE)
            return
        fd = socket((<uint16_t*>target.address)[0], SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
        if fd < 0:
            edge_abort(&self.shard, stream, CODE_BUSY, CAUSE_DESCRIPTORS)
            return
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
        if connect(fd, <const sockaddr*>target.address, target.length) == 0 or errno == EINPROGRESS:
            break
        error = errno
        close(fd)
    stream.handle.fd = fd
    if not watch(self, &stream.handle, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, EPOLL_CTL_ADD):
        edge_abort(&self.shard, stream, CODE_BUSY, CAUSE_DESCRIPTORS)


# Write what lanes brought to the applications, and do what else streams wait for: connect, shut, close.
cdef void deliver(Worker* self) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Stream* stream
    cdef uint32_t first = 0
    while shard.dirty_streams != NULL:
        stream = shard.dirty_streams
        shard.dirty_streams = stream.next_dirty
        stream.dirty = False
        if stream.finished:
            if stream.handle.fd >= 0:
                stream_close(stream)
            continue
        if stream.connecting:
            if stream.handle.fd < 0:
                connect_next(self, stream, 0)
        else:
            stream_write(self, stream)
        if not stream.finished and queue_settle(&stream.out, &shard.pool, False, &first) != RESULT_OK:
            edge_abort(shard, stream, CODE_BUSY, CAUSE_BUDGET)


cdef void stream_close(Stream* stream) noexcept nogil:
    if stream.code == CODE_DONE:
        close(stream.handle.fd)
    else:
        reset_close(stream.handle.fd)
    stream.handle.fd = -1


cdef void stream_write(Worker* self, Stream* stream) noexcept nogil:
    cdef iovec vectors[VECTORS]
    cdef msghdr message
    cdef ssize_t sent
    while stream.writable and stream.out.count != 0:
        memset(&message, 0, sizeof(message))
        message.msg_iov = vectors
        message.msg_iovlen = queue_vectors(&stream.out, vectors, VECTORS)
        sent = sendmsg(stream.handle.fd, &message, MSG_NOSIGNAL)
        self.shard.stats.count[COUNT_SYSTEM_CALLS] += 1
        if sent < 0:
            if errno == EINTR:
                continue
            if errno == EAGAIN:
                stream.writable = False
                return
            edge_abort(&self.shard, stream, CODE_ABORTED, CAUSE_APPLICATION_RESET)
            return
        queue_sent(&stream.out, &self.shard.pool, <uint64_t>sent)
        edge_wrote(&self.shard, stream, <uint64_t>sent)
    if stream.out.count == 0 and stream.fin_due and not stream.shut:
        shutdown(stream.handle.fd, SHUT_WR)
        stream.shut = True
    edge_check_done(&self.shard, stream)


# -- streams: the flow's side -----------------------------------------------------------------------------------------

# Is there a flow whose streams could be served right now?
cdef bint can_serve(Worker* self) noexcept nogil:
    cdef Flow* flow = self.shard.active_first
    while flow != NULL:
        if flow_is_open(flow) and (flow.small.head != NULL
                                   or lane_backlog(<Lane*>flow.lane) < LANE_BACKLOG):
            return True
        flow = flow.next_active
    return False


cdef inline bint flow_is_open(const Flow* flow) noexcept nogil:
    return flow.lane != NULL and flow_has_room(flow) and lane_backlog(<Lane*>flow.lane) < LANE_BACKLOG_SMALL


# Make frames of what streams have, a frame for each flow in turn.
cdef void serve(Worker* self) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Flow* flow
    cdef Flow* stuck = NULL     # the first flow since the last progress: seen again, the round was idle
    cdef uint32_t frames = 0
    while shard.active_first != NULL and frames < WORKER_FRAMES:
        flow = shard.active_first
        if flow == stuck:
            return
        shard.active_first = flow.next_active
        if shard.active_first == NULL:
            shard.active_last = NULL
        flow.active = False
        if flow.small.head == NULL and flow.bulk.head == NULL:
            continue
        edge_activate(shard, flow)
        if serve_flow(self, flow):
            frames += 1
            stuck = NULL
        elif stuck == NULL:
            stuck = flow


# One frame: everything small that is ready, then one bulk read if there is room. False: nothing was made.
cdef bint serve_flow(Worker* self, Flow* flow) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Buf* buf
    cdef uint8_t* body
    cdef uint32_t used = 0
    cdef Stream* stream
    cdef Result answer
    if not flow_is_open(flow):
        return False
    buf = buf_take(&shard.pool, BUF_LARGEST, False)
    if buf == NULL:
        return False
    body = buf_data(buf) + WIRE_PREFIX
    while used < BULK_ROOM:
        stream = list_pop(&flow.small)
        if stream == NULL:
            break
        used += serve_stream(self, stream, body + used, WIRE_BODY_MAX - used, not stream.bulk)
    if used < BULK_ROOM and lane_backlog(<Lane*>flow.lane) < LANE_BACKLOG:
        stream = list_pop(&flow.bulk)
        if stream != NULL:
            used += serve_stream(self, stream, body + used, WIRE_BODY_MAX - used, True)
    if used == 0:
        buf_drop(&shard.pool, buf)
        return False
    buf = fit(self, buf, used)
    answer = session_bundle(shard, flow, buf, used)
    if answer != RESULT_OK:
        edge_session_end(shard, <Session*>flow.session, edge_code(answer), answer, True, True, False)
    return True


# A small frame waits for its acknowledgement in a small buffer.
cdef Buf* fit(Worker* self, Buf* buf, uint32_t used) noexcept nogil:
    cdef Buf* small
    if used + WIRE_PREFIX > BUF_LARGEST / 8:
        return buf
    small = buf_take(&self.shard.pool, used + WIRE_PREFIX, False)
    if small == NULL:
        return buf
    memcpy(buf_data(small) + WIRE_PREFIX, buf_data(buf) + WIRE_PREFIX, used)
    buf_drop(&self.shard.pool, buf)
    return small


# What one stream has to say, and its data if may_read; answer how many bytes of records.
cdef uint32_t serve_stream(Worker* self, Stream* stream, uint8_t* p, uint32_t room, bint may_read) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef uint32_t used = 0
    cdef uint32_t asked
    cdef ssize_t got
    cdef bint gone = False
    if stream.say != 0:
        used = edge_say(shard, stream, p, &gone)
        if gone:
            edge_bury(shard, stream)
            return used
    asked = edge_may_read(stream, room - used - BUNDLE_SPARE) if may_read else 0
    if asked != 0:
        got = recv(stream.handle.fd, p + used + 8, asked, 0)
        shard.stats.count[COUNT_SYSTEM_CALLS] += 1
        if got > 0:
            used += edge_data(shard, stream, p + used, <uint32_t>got)
            if <uint32_t>got < asked and not stream.hangup:
                stream.readable = False
        elif got == 0:
            stream.ended = True
            stream.readable = False
        elif errno == EAGAIN:
            stream.readable = False
        elif errno != EINTR:
            edge_abort(shard, stream, CODE_ABORTED, CAUSE_APPLICATION_RESET)
            return used
    if stream.ended:
        used += edge_fin(shard, stream, p + used)
        edge_check_done(shard, stream)
    elif edge_may_read(stream, WIRE_BODY_MAX) != 0:
        edge_ready(shard, stream)
    return used


cdef void acknowledge(Worker* self) noexcept nogil:
    cdef Session* failed = NULL
    cdef Result reason = RESULT_OK
    self.next_ack_us = session_acks(&self.shard, &failed, &reason)
    if failed != NULL:
        edge_session_end(&self.shard, failed, edge_code(reason), reason, True, True, False)


# -- orders -----------------------------------------------------------------------------------------------------------

cdef void take_orders(Worker* self) noexcept nogil:
    cdef uint64_t count
    cdef Order* order
    cdef Order* following
    # Clear the wake-up first: an order that comes after the take writes it again.
    if read(self.mailbox.wake_fd, &count, 8) < 0:
        count = 0
    order = mailbox_take(&self.mailbox)
    while order != NULL:
        following = order.next
        take_order(self, order)
        order_free(order)
        order = following


cdef void take_order(Worker* self, Order* order) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Link* link
    cdef Session* session
    if order.kind == ORDER_STOP:
        self.stopping = True
    elif order.kind == ORDER_LINK_ADD:
        if link_add(shard, <uint32_t>order.a, <uint32_t>order.b, order.c != 0, <uint32_t>order.d, order.binding,
                    <Gauge*>order.pointer) == NULL:
            gauge_drop(<Gauge*>order.pointer)
    elif order.kind == ORDER_LINK_CLOSE:
        link = link_find(shard, <uint32_t>order.a)
        if link != NULL:
            link_end(self, link, <uint32_t>order.b)
    elif order.kind == ORDER_LINK_DRAIN:
        order_link_drain(self, order)
    elif order.kind == ORDER_LANE_ADD:
        order_lane_add(self, order)
    elif order.kind == ORDER_PATH_ADD:
        order_path_add(self, order)
    elif order.kind == ORDER_PATH_REMOVE:
        relay_path_remove(shard, <uint32_t>order.a)
    elif order.kind == ORDER_SESSION_ADD:
        order_session_add(self, order)
    elif order.kind == ORDER_SESSION_PATH:
        order_session_path(self, order)
    elif order.kind == ORDER_SESSION_CLOSE:
        session = session_find(shard, <uint32_t>order.a)
        if session != NULL:
            edge_session_end(shard, session, <uint32_t>order.b, RESULT_LOCAL_CLOSE, True, False, False)
    elif order.kind == ORDER_TABLES:
        tables_drop(shard.tables)
        shard.tables = <Tables*>order.pointer
        edge_tables_changed(shard)
    elif order.kind == ORDER_LISTEN:
        listen_on(self, order)
    elif order.kind == ORDER_UNLISTEN:
        unlisten(self, <int>order.a)
    elif order.kind == ORDER_DRAIN:
        shard.draining = True
        unlisten(self, -1)
    elif order.kind == ORDER_STREAM:
        adopt(self, <uint32_t>order.a, order.fd, <uint32_t>order.b)


cdef void order_link_drain(Worker* self, Order* order) noexcept nogil:
    cdef Lane* lane = self.shard.lanes
    cdef uint8_t body[4]
    wire_put32(body, <uint32_t>order.b)
    while lane != NULL:
        if lane.link.number == order.a and lane_is_up(lane):
            lane_say(&self.shard, lane, FRAME_DRAIN, body, 4)
        lane = lane.next


cdef void order_lane_add(Worker* self, Order* order) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Link* link = link_find(shard, <uint32_t>order.a)
    cdef Lane* lane = NULL
    cdef Event* event
    cdef int one = 1
    cdef int lowat = LANE_LOWAT
    if link != NULL and order.b < link.lane_count:
        lane = lane_start(shard, link, order.fd, <uint16_t>order.b, <uint32_t>order.c, order.secret)
    OPENSSL_cleanse(order.secret, 32)
    if lane != NULL:
        setsockopt(order.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
        setsockopt(order.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat))
        lane.next = shard.lanes
        if lane.next != NULL:
            lane.next.prev = lane
        shard.lanes = lane
        if watch(self, &lane.handle, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, EPOLL_CTL_ADD):
            return
        lane_end(self, lane, RESULT_SOCKET, CODE_BUSY)
        return
    close(order.fd)
    event = shard_event(shard, EVENT_LANE_DOWN)
    event.a = <long long>order.a
    event.b = <long long>order.b
    event.c = <long long>order.c
    event.d = CODE_BUSY
    event.e = RESULT_NO_MEMORY


cdef void order_path_add(Worker* self, Order* order) noexcept nogil:
    cdef Link* a = link_find(&self.shard, <uint32_t>order.b)
    cdef Link* b = link_find(&self.shard, <uint32_t>order.e)
    cdef uint32_t lanes = WIRE_LANES_MAX
    if a == NULL or b == NULL:
        return
    if a.lane_count < lanes:
        lanes = a.lane_count
    if b.lane_count < lanes:
        lanes = b.lane_count
    # Without memory the frames of the path stay unknown, and LOST says so.
    relay_path_add(&self.shard, <uint32_t>order.a, <uint32_t>order.b, <uint32_t>order.c, <uint32_t>order.d,
                   <uint32_t>order.e, <uint32_t>order.f, <uint32_t>order.g, order.h >> 8,
                   <uint32_t>(order.h & 0xff), lanes)


cdef void order_session_add(Worker* self, Order* order) noexcept nogil:
    cdef Session* session = session_add(
        &self.shard, <uint32_t>order.a, order.secret, order.binding, <uint32_t>order.b, order.c != 0,
        <uint32_t>order.d, order.e, <uint32_t>order.f, <uint32_t>order.g, <Gauge*>order.pointer)
    OPENSSL_cleanse(order.secret, 32)
    if session == NULL:
        gauge_drop(<Gauge*>order.pointer)


cdef void order_session_path(Worker* self, Order* order) noexcept nogil:
    cdef Session* session = session_find(&self.shard, <uint32_t>order.a)
    cdef Result answer
    if session == NULL:
        return
    answer = session_path(&self.shard, session, <uint32_t>order.b, <uint32_t>order.c, <uint32_t>order.d)
    if answer != RESULT_OK:
        edge_session_end(&self.shard, session, edge_code(answer), answer, True, True, False)


cdef void listen_on(Worker* self, Order* order) noexcept nogil:
    cdef Listener* listener = <Listener*>calloc(1, sizeof(Listener))
    if listener == NULL:
        close(order.fd)
        return
    listener.handle.kind = HANDLE_LISTENER
    listener.handle.fd = order.fd
    listener.number = <uint32_t>order.a
    listener.next = self.listeners
    self.listeners = listener
    watch(self, &listener.handle, EPOLLIN, EPOLL_CTL_ADD)


# Close the listeners of an import; of all, if number is -1.
cdef void unlisten(Worker* self, int number) noexcept nogil:
    cdef Listener** at = &self.listeners
    cdef Listener* listener
    while at[0] != NULL:
        listener = at[0]
        if number != -1 and listener.number != <uint32_t>number:
            at = &listener.next
            continue
        at[0] = listener.next
        close(listener.handle.fd)
        free(listener)
