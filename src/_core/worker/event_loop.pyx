from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from pcgrelay._core.base.atomics cimport counter_add, flag_is_up
from pcgrelay._core.session.timers cimport session_acks, session_forgive, session_hoarder, session_tick
from pcgrelay._core.base.buf cimport BUF_HEAD, BUF_LARGEST, pool_free, pool_start, pool_stop
from pcgrelay._core.worker.dial cimport dial_beside_told
from pcgrelay._core.edge.sessions cimport edge_session_close, edge_session_fail
from pcgrelay._core.edge.limits cimport limits_follow, limits_timer
from pcgrelay._core.edge.lists cimport edge_bury, edge_direct_remove
from pcgrelay._core.worker.datagram_io cimport datagram_io_clients, datagram_io_stop
from pcgrelay._core.worker.datagram_sockets cimport datagram_overflows
from pcgrelay._core.worker.direct_io cimport direct_io_serve
from pcgrelay._core.edge.streams cimport edge_abort, edge_timer
from pcgrelay._core.base.handle cimport (
    HANDLE_DATAGRAMS, HANDLE_DIAL, HANDLE_LANE, HANDLE_LISTENER, HANDLE_MAILBOX, HANDLE_STREAM, HANDLE_UDP_LANES,
    Handle,
)
from pcgrelay._core.handover.shard cimport handover_wipe
from pcgrelay._core.link.lane cimport lane_forgive
from pcgrelay._core.link.shard cimport Lane, Link, Shard, UdpSocket, shard_events_pass
from pcgrelay._core.link.udp_lane cimport udp_lane_ticks
from pcgrelay._core.base.linux cimport (
    EFD_CLOEXEC, EFD_NONBLOCK, EPOLLIN, EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_MOD, SIG_SETMASK, aligned_alloc, close,
    epoll_create1, epoll_event, epoll_wait, eventfd, monotonic_us, pthread_create, pthread_sigmask, sigfillset,
    sigset_t,
)
from pcgrelay._core.link.mailbox cimport (
    Order, Outbox, mailbox_has_any, mailbox_is_empty, mailbox_start, mailbox_stop, mailbox_drain,
)
from pcgrelay._core.base.map cimport map_any, map_free
from pcgrelay._core.base.ports cimport ports_free, ports_tick
from pcgrelay._core.worker.orders cimport orders_drop, orders_take
from pcgrelay._core.worker.frame_builder cimport frame_builder_can_serve, frame_builder_expire, frame_builder_serve
from pcgrelay._core.worker.app_io cimport (
    app_accept, app_deliver, app_event, app_forget, app_has_room, app_unlisten,
)
from pcgrelay._core.base.queue cimport queue_free
from pcgrelay._core.link.relay cimport Path, relay_path_remove, relay_sweep, relay_tell_owed
from pcgrelay._core.base.result cimport RESULT_BUDGET, RESULT_OK, Result
from pcgrelay._core.stream.service_tables cimport tables_drop
from pcgrelay._core.session.session cimport Session, session_next
from pcgrelay._core.base.stats cimport CAUSE_SHUTDOWN, COUNT_TURNS
from pcgrelay._core.stream.stream cimport LIFE_LIVE, Dial, Stream, stream_free, stream_young_until
from pcgrelay._core.base.timer cimport Timer, wheel_pop, wheel_start
from pcgrelay._core.worker.rounds cimport ROUND_STREAMS, rounds_drop, rounds_go_on
from pcgrelay._core.worker.lane_io cimport (
    lane_io_code, lane_io_end, lane_io_event, lane_io_flush, lane_io_link_end, lane_io_read_on, lane_io_tick,
)
from pcgrelay._core.base.wire cimport CODE_DRAINING
from pcgrelay._core.worker.sockets cimport sockets_keep_alive
from pcgrelay._core.worker.udp_io cimport udp_io_event, udp_io_flush, udp_io_stop
from pcgrelay._core.worker.worker cimport (
    WORKER_PORTS, WORKER_SLOT, WORKER_SLOTS, WORKER_TICK_US, Listener, Worker, worker_wake, worker_watch,
)


cdef enum:
    EVENTS = 256
    PAGE = 4096
    POOL_RESERVE = 4194304
    # With less, a worker whose limit is used up could accept no whole frame: each lane that brings one would end.
    POOL_RESERVE_LEAST = BUF_HEAD + BUF_LARGEST


# -- life -------------------------------------------------------------------------------------------------------------

cdef bint loop_start(Worker* self, Worker* siblings, uint32_t index, uint32_t count, uint32_t role, uint64_t budget,
                     Outbox* outbox, int event_fd) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef uint64_t reserve
    cdef int wake_fd
    memset(self, 0, sizeof(Worker))
    self.siblings = siblings
    self.role = role
    self.event_fd = event_fd
    shard.index = index
    shard.workers = count
    shard.ports.worker = index
    shard.ports.workers = count
    shard.outbox = outbox
    shard.now_us = monotonic_us()
    # The reserve is part of the budget: what this worker holds never exceeds the budget.
    reserve = budget / 8 if budget / 8 < POOL_RESERVE else POOL_RESERVE
    if reserve < POOL_RESERVE_LEAST:
        reserve = POOL_RESERVE_LEAST
    pool_start(&shard.pool, budget - reserve, reserve)
    wheel_start(&shard.wheel, shard.now_us)
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    self.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
    # malloc returns such a block 16 bytes behind the start of a page. To there the kernel copies what lies at the start
    # of a page of its own, which is most of bulk, at half the speed.
    self.space = <uint8_t*>aligned_alloc(PAGE, WORKER_SLOTS * WORKER_SLOT)
    # The system gives a page of it as it is touched.
    self.closed_s = <uint32_t*>calloc(WORKER_PORTS, sizeof(uint32_t))
    self.mailbox_handle.kind = HANDLE_MAILBOX
    self.mailbox_handle.fd = wake_fd
    if not mailbox_start(&self.mailbox, wake_fd) or wake_fd < 0 or self.epoll_fd < 0 or self.space == NULL \
            or self.closed_s == NULL:
        return False
    return worker_watch(self, &self.mailbox_handle, EPOLLIN, EPOLL_CTL_ADD)


cdef bint loop_launch(Worker* self) noexcept nogil:
    cdef sigset_t all_signals
    cdef sigset_t before
    # Signals are for the control plane's thread.
    sigfillset(&all_signals)
    pthread_sigmask(SIG_SETMASK, &all_signals, &before)
    self.stopping = 0
    self.running = pthread_create(&self.thread, NULL, loop_main, self) == 0
    pthread_sigmask(SIG_SETMASK, &before, NULL)
    return self.running


cdef void* loop_main(void* argument) noexcept nogil:
    cdef Worker* self = <Worker*>argument
    while not flag_is_up(&self.stopping):
        loop_turn(self, 1000)
    return NULL


cdef void loop_stop(Worker* self) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Session* session
    cdef Link* link
    cdef Order* order
    cdef Stream* direct
    # No set-up is led on any more.
    shard.draining = True
    while True:
        session = <Session*>map_any(&shard.sessions)
        if session == NULL:
            break
        edge_session_close(shard, session, CODE_DRAINING)
    while shard.waiting != NULL:
        edge_abort(shard, shard.waiting, CODE_DRAINING, CAUSE_SHUTDOWN)
    while shard.directs != NULL:
        direct = shard.directs
        edge_abort(shard, direct, CODE_DRAINING, CAUSE_SHUTDOWN)
        edge_direct_remove(shard, direct)
        edge_bury(shard, direct)
    while True:
        link = <Link*>map_any(&shard.links)
        if link == NULL:
            break
        lane_io_link_end(self, link, CODE_DRAINING)
    while True:
        order = mailbox_drain(&self.mailbox)
        if order == NULL:
            break
        orders_drop(self, order)
    rounds_drop(self)
    app_unlisten(self, -1)
    app_deliver(self)
    udp_io_stop(self)
    free_deferred(self, True)
    drop_paths(shard)
    tables_drop(shard.tables)
    map_free(&shard.links)
    map_free(&shard.labels)
    map_free(&shard.candidates)
    map_free(&shard.outs)
    map_free(&shard.paths)
    map_free(&shard.sessions)
    map_free(&shard.udp_tokens)
    ports_free(&shard.ports, &shard.pool)
    pool_stop(&shard.pool)
    datagram_io_stop(self)
    free(self.closed_s)
    free(self.space)
    close(self.epoll_fd)
    close(self.mailbox_handle.fd)
    mailbox_stop(&self.mailbox)


cdef void loop_abandon(Worker* self) noexcept nogil:
    handover_wipe(&self.shard)
    rounds_drop(self)
    datagram_io_stop(self)
    free(self.space)
    self.space = NULL
    close(self.epoll_fd)
    close(self.mailbox_handle.fd)


cdef void drop_paths(Shard* shard) noexcept nogil:
    cdef Path* path
    while True:
        path = <Path*>map_any(&shard.paths)
        if path == NULL:
            break
        relay_path_remove(shard, path.number)
    relay_sweep(shard, True)


# -- a turn -----------------------------------------------------------------------------------------------------------

cdef void loop_turn(Worker* self, int timeout_ms) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef epoll_event events[EVENTS]
    cdef Handle* handle
    cdef bint wake = False
    cdef int i, n = epoll_wait(self.epoll_fd, events, EVENTS, wait_ms(self, timeout_ms))
    self.starved = False
    shard.now_us = monotonic_us()
    counter_add(&shard.stats.count[COUNT_TURNS], 1)
    # Orders first: what a peer sends may depend on one. A label must be known before its first frame.
    if mailbox_has_any(&self.mailbox):
        orders_take(self)
    lane_io_read_on(self)
    for i in range(n):
        handle = <Handle*>events[i].data.ptr
        if handle.kind == HANDLE_LANE:
            lane_io_event(self, <Lane*>handle, events[i].events)
        elif handle.kind == HANDLE_STREAM:
            app_event(self, <Stream*>handle, events[i].events)
        elif handle.kind == HANDLE_DIAL:
            dial_beside_told(self, <Dial*>handle, events[i].events)
        elif handle.kind == HANDLE_LISTENER:
            app_accept(self, <Listener*>handle)
        elif handle.kind == HANDLE_DATAGRAMS:
            datagram_io_clients(self, <Listener*>handle)
        elif handle.kind == HANDLE_UDP_LANES:
            udp_io_event(self, <UdpSocket*>handle)
        else:
            orders_take(self)
    app_deliver(self)
    frame_builder_serve(self)
    if shard.direct_ready.head != NULL:
        direct_io_serve(self)
    if self.rounds != NULL:
        rounds_go_on(self, ROUND_STREAMS)
    if shard.now_us >= self.next_tick_us:
        tick(self)
    acknowledge(self)
    # Serving and ticking can end streams and sessions; delivering can give credit back; both may make lanes dirty.
    app_deliver(self)
    lane_io_flush(self)
    if shard.dirty_udp_lanes != NULL:
        udp_io_flush(self)
    free_deferred(self, False)
    shard_events_pass(shard, &wake)
    if wake:
        worker_wake(self.event_fd)


cdef bint loop_quiesce(Worker* self) noexcept nogil:
    cdef bint wake = False
    self.shard.now_us = monotonic_us()
    self.shard.events_due = True
    orders_take(self)
    while self.rounds != NULL:
        # None is left to another process.
        rounds_go_on(self, ROUND_STREAMS)
    app_deliver(self)
    lane_io_flush(self)
    udp_io_flush(self)
    free_deferred(self, False)
    shard_events_pass(&self.shard, &wake)
    if wake:
        worker_wake(self.event_fd)
    return mailbox_is_empty(&self.mailbox) and self.shard.dirty_streams == NULL and self.shard.dirty_lanes == NULL


cdef int wait_ms(Worker* self, int timeout_ms) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef uint64_t now_us, due_us = self.next_tick_us
    if shard.unread != NULL or shard.direct_ready.head != NULL or self.rounds != NULL or frame_builder_can_serve(self):
        return 0
    if self.next_ack_us != 0 and self.next_ack_us < due_us:
        due_us = self.next_ack_us
    now_us = monotonic_us()
    if due_us <= now_us:
        return 0
    due_us = (due_us - now_us + 999) / 1000
    return timeout_ms if <uint64_t>timeout_ms < due_us else <int>due_us


cdef void tick(Worker* self) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Lane* lane = shard.lanes
    cdef Lane* following
    cdef Session* session
    cdef Timer* timer
    cdef Stream* stream
    cdef Listener* listener = self.listeners
    cdef Result answer
    cdef uint32_t at = 0
    cdef uint64_t away_us = 0
    # A worker that did not run (stopped, or no processor was free) received nothing, which is not its peers' fault.
    if self.next_tick_us != 0 and shard.now_us - self.next_tick_us > shard.probe_us:
        away_us = shard.now_us - self.next_tick_us
    self.next_tick_us = shard.now_us + WORKER_TICK_US
    shard.events_due = True
    while lane != NULL:
        following = lane.next
        lane_forgive(shard, lane, away_us)
        answer = lane_io_tick(self, lane)
        if answer != RESULT_OK:
            lane_io_end(self, lane, answer, lane_io_code(answer))
        lane = following
    if shard.udp_lanes != NULL:
        udp_lane_ticks(shard, away_us)
    while True:
        session = session_next(shard, &at)
        if session == NULL:
            break
        session_forgive(session, away_us)
        answer = session_tick(shard, session)
        if answer != RESULT_OK:
            edge_session_fail(shard, session, answer)
            # The table has changed during the walk; the next tick visits the rest.
            break
    ports_tick(&shard.ports, &shard.pool, shard.now_us)
    frame_builder_expire(self)
    session = session_hoarder(shard)
    if session != NULL:
        edge_session_fail(shard, session, RESULT_BUDGET)
    limits_follow(shard)
    while True:
        timer = wheel_pop(&shard.wheel, shard.now_us)
        if timer == NULL:
            break
        stream = <Stream*>timer.owner
        if timer == &stream.expiry:
            grow_up(self, stream)
            limits_timer(shard, stream)
        else:
            edge_timer(shard, stream)
    while listener != NULL:
        if listener.paused and app_has_room(self):
            listener.paused = False
            worker_watch(self, &listener.handle, EPOLLIN, EPOLL_CTL_MOD)
        if listener.clients != NULL:
            datagram_overflows(self, listener)
        listener = listener.next
    app_forget(self)
    if shard.dying_paths != NULL:
        relay_sweep(shard, False)
    if shard.losts_owed:
        relay_tell_owed(shard)


# A connection to a target that lives on gets keep-alive.
cdef inline void grow_up(Worker* self, Stream* stream) noexcept nogil:
    if stream.young and self.shard.now_us >= stream_young_until(stream):
        stream.young = False
        if stream.life == LIFE_LIVE and stream.handle.fd >= 0:
            sockets_keep_alive(self, stream.handle.fd)


# all: no turn follows.
cdef void free_deferred(Worker* self, bint all) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Stream* stream
    cdef Lane* lane
    cdef Lane* kept = NULL
    cdef Listener* listener
    cdef UdpSocket* socket
    cdef Dial* dial
    while self.closed_udp_sockets != NULL:
        socket = self.closed_udp_sockets
        self.closed_udp_sockets = socket.next
        free(socket)
    while self.deferred_dials != NULL:
        dial = self.deferred_dials
        self.deferred_dials = dial.next
        pool_free(&shard.pool, dial, sizeof(Dial))
    while shard.deferred_streams != NULL:
        stream = shard.deferred_streams
        shard.deferred_streams = stream.next
        queue_free(&stream.out, &shard.pool)
        stream_free(&shard.pool, stream)
    while shard.deferred_lanes != NULL:
        lane = shard.deferred_lanes
        shard.deferred_lanes = lane.next
        if lane.unread and not all:
            # It is still in the list of unread lanes; the next turn removes it.
            lane.next = kept
            kept = lane
        else:
            pool_free(&shard.pool, lane, sizeof(Lane))
    shard.deferred_lanes = kept
    while self.deferred_listeners != NULL:
        listener = self.deferred_listeners
        self.deferred_listeners = listener.next
        free(listener)


cdef void acknowledge(Worker* self) noexcept nogil:
    cdef Session* failed = NULL
    cdef Result reason = RESULT_OK
    self.next_ack_us = session_acks(&self.shard, &failed, &reason)
    if failed != NULL:
        edge_session_fail(&self.shard, failed, reason)
