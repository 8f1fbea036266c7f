from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc

from pcgrelay._core.base.atomics cimport counter32_get, counter_add
from pcgrelay._core.worker.dial cimport dial_drop, dial_next, dial_told
from pcgrelay._core.edge.accept cimport ACCEPT_ELSEWHERE, ACCEPT_REFUSED, AcceptAnswer, accept_application
from pcgrelay._core.edge.choice cimport Elsewhere
from pcgrelay._core.edge.lists cimport edge_dirty, edge_ready
from pcgrelay._core.edge.outlets cimport outlets_lead_on
from pcgrelay._core.edge.setups cimport setup_give
from pcgrelay._core.edge.streams cimport (
    edge_abort, edge_break, edge_check_done, edge_cut_left, edge_give_up, edge_hold, edge_wrote,
)
from pcgrelay._core.base.handle cimport HANDLE_LISTENER
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.base.linux cimport (
    AF_INET, APPLICATION_EVENTS, EAGAIN, EFAULT, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPOLLERR, EPOLLHUP, EPOLLIN,
    EPOLLOUT, EPOLLPRI, EPOLLRDHUP, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, MSG_PEEK, MSG_TRUNC, SHUT_WR,
    SIOCOUTQ, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, accept4, close, errno, ioctl, recv, shutdown, sockaddr,
    socket,
)
from pcgrelay._core.link.mailbox cimport ORDER_STREAM, Order, StreamOrder, mailbox_put, order_new
from pcgrelay._core.base.queue cimport queue_free, queue_own_counted, queue_rest, queue_sent
from pcgrelay._core.base.result cimport RESULT_OK
from pcgrelay._core.base.stats cimport (
    CAUSE_APPLICATION_RESET, CAUSE_BUDGET, CAUSE_DESCRIPTORS, CAUSE_DONE, COUNT_ACCEPT_FAILED,
    COUNT_APPLICATION_RECEIVED, COUNT_SETTLED_BYTES,
)
from pcgrelay._core.stream.stream cimport (
    BREAK_LEFT, BREAK_NONE, BREAK_TAKEN, BREAK_TOLD, DIAL_NEXT_DUE, DIAL_NONE, FAR_CUT, IN_ENDED, LIFE_LIVE,
    OUT_FIN_DUE, OUT_SHUT, SETUP_FAILED, STREAM_CLOSED, STREAM_IDLE, Setup, Stream, stream_hang_up, stream_is_shadow,
)
from pcgrelay._core.base.wire cimport CODE_ABORTED, CODE_BUSY
from pcgrelay._core.worker.datagram_io cimport (
    datagram_io_close, datagram_io_deliver, datagram_io_event, datagram_io_flush,
)
from pcgrelay._core.worker.datagram_sockets cimport datagram_listen, datagram_unlisten
from pcgrelay._core.worker.direct_datagrams cimport direct_datagrams_deliver, direct_datagrams_event
from pcgrelay._core.worker.direct_io cimport direct_io_written
from pcgrelay._core.worker.sockets cimport sockets_end_as, sockets_is_kept_back, sockets_tune
from pcgrelay._core.worker.worker cimport (
    WORKER_ACCEPTS, Listener, Worker, worker_close, worker_reset, worker_send, worker_wake, worker_watch,
)


cdef enum:
    CUT_READ = 1048576          # dropped with one call
    CUT_READS = 4               # of a stream in a turn
    CUT_WASTE = 16384           # the same of a unix socket


cdef void app_accept(Worker* self, Listener* listener) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef int _, fd
    if listener.handle.fd < 0:
        return
    for _ in range(WORKER_ACCEPTS):
        shard.client_length = sizeof(shard.client)
        fd = accept4(listener.handle.fd, <sockaddr*>shard.client, &shard.client_length, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd < 0:
            if errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
                # Try again at the next tick: otherwise the loop would spin.
                counter_add(&self.shard.stats.count[COUNT_ACCEPT_FAILED], 1)
                counter_add(&self.shard.stats.cause[CAUSE_DESCRIPTORS], 1)
                listener.paused = True
                worker_watch(self, &listener.handle, 0, EPOLL_CTL_MOD)
            elif errno == EAGAIN:
                listener.early = False
            return
        if listener.counts != 0:
            counter_add(&shard.stats.of_listener[listener.counts].accepted, 1)
        if sockets_is_kept_back(self, fd):
            refuse_kept_back(self, listener, fd)
            return
        if listener.early:
            sockets_tune(self, fd)
        shard.listener = <uint16_t>listener.counts
        app_adopt(self, listener.number, fd, NULL)


# The first connection beyond the limit is reset; others wait in the kernel's queue until there is room.
cdef void refuse_kept_back(Worker* self, Listener* listener, int fd) noexcept nogil:
    counter_add(&self.shard.stats.count[COUNT_ACCEPT_FAILED], 1)
    counter_add(&self.shard.stats.cause[CAUSE_DESCRIPTORS], 1)
    worker_reset(fd)
    listener.paused = True
    worker_watch(self, &listener.handle, 0, EPOLL_CTL_MOD)


cdef bint app_has_room(Worker* self) noexcept nogil:
    cdef int fd
    if self.shard.bounds == NULL or counter32_get(&self.shard.bounds.descriptors) == 0:
        return True
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)
    if fd < 0:
        return True
    close(fd)
    return not sockets_is_kept_back(self, fd)


# An application's socket for an import, accepted here or by another worker.
cdef void app_adopt(Worker* self, uint32_t number, int fd, const StreamOrder* order) noexcept nogil:
    cdef Stream* stream = NULL
    cdef Elsewhere elsewhere
    cdef bint shared = order != NULL and order.shared
    cdef AcceptAnswer answer
    if order != NULL and order.handed:
        if sockets_is_kept_back(self, fd):
            counter_add(&self.shard.stats.count[COUNT_ACCEPT_FAILED], 1)
            counter_add(&self.shard.stats.cause[CAUSE_DESCRIPTORS], 1)
            worker_reset(fd)
            return
        sockets_tune(self, fd)
    answer = accept_application(&self.shard, number, fd, order, &stream, &elsewhere)
    if answer == ACCEPT_ELSEWHERE:
        if not hand_over(self, number, fd, elsewhere, shared,
                         self.shard.listener if order == NULL else order.listener, NULL):
            worker_reset(fd)
        return
    if answer == ACCEPT_REFUSED:
        worker_reset(fd)
        return
    if stream == NULL:
        return
    stream.handle.shared = shared
    if not worker_watch(self, &stream.handle, EPOLLIN if stream.datagram else APPLICATION_EVENTS, EPOLL_CTL_ADD):
        edge_abort(&self.shard, stream, CODE_BUSY, CAUSE_DESCRIPTORS)


# Give an accepted socket to the worker that has flows of the session chosen for it. False: no memory.
cdef bint hand_over(Worker* self, uint32_t number, int fd, Elsewhere elsewhere, bint shared, uint16_t listener,
                    const Setup* setup) noexcept nogil:
    cdef Order* order = order_new(ORDER_STREAM)
    if order == NULL:
        return False
    order.fd = fd
    order.args.stream.import_number = number
    order.args.stream.session = elsewhere.session
    order.args.stream.shared = shared
    order.args.stream.listener = listener
    if setup != NULL:
        setup_give(setup, &order.args.stream)
    if mailbox_put(&self.siblings[elsewhere.worker].mailbox, order):
        worker_wake(self.siblings[elsewhere.worker].mailbox.wake_fd)
    return True


cdef void app_event(Worker* self, Stream* stream, uint32_t events) noexcept nogil:
    if stream.life != LIFE_LIVE or stream.handle.fd < 0 or stream.swapped_us == self.shard.now_us:
        return
    if stream.datagram:
        if stream.direct and not stream.opener:
            direct_datagrams_event(self, stream)
        else:
            datagram_io_event(self, stream)
        return
    if stream.dial != DIAL_NONE:
        dial_told(self, stream, events)
        return
    if stream.broken != BREAK_NONE:
        # If another process takes it over, epoll reports it again there.
        stream.readable = stream.input != IN_ENDED
        stream_hang_up(stream)
        edge_ready(&self.shard, stream)
        return
    if events & (EPOLLERR | EPOLLHUP) and stream_is_shadow(stream):
        # Of a socket pair this says that the other end is closed, and not only at its end.
        edge_break(&self.shard, stream, BREAK_TOLD)
        return
    if events & EPOLLERR:
        if stream.state == STREAM_IDLE and not has_bytes(stream.handle.fd):
            # The application left before the stream was opened, and had sent nothing.
            edge_abort(&self.shard, stream, CODE_ABORTED, CAUSE_APPLICATION_RESET)
        else:
            edge_break(&self.shard, stream, BREAK_TOLD)
        return
    if (events & EPOLLOUT and not stream.writable) or stream.far == FAR_CUT:
        stream.writable = True
        edge_dirty(&self.shard, stream)
        if stream.far == FAR_CUT:
            return
    if events & (EPOLLRDHUP | EPOLLHUP | EPOLLPRI):
        # A read also stops at an urgent byte, and there may be more behind it.
        stream_hang_up(stream)
    if events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP) and stream.input != IN_ENDED:
        stream.readable = True
        edge_ready(&self.shard, stream)


cdef bint has_bytes(int fd) noexcept nogil:
    cdef uint8_t first
    return recv(fd, &first, 1, MSG_PEEK) > 0


# Write what lanes brought to the applications, and do the other work of marked streams: connect, shut down, close.
cdef void app_deliver(Worker* self) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Stream* stream
    cdef Elsewhere elsewhere
    cdef uint32_t first = 0
    cdef uint64_t* copied = &shard.stats.count[COUNT_SETTLED_BYTES]
    while next_dirty_or_flush(self):
        stream = shard.dirty_streams
        shard.dirty_streams = stream.next_dirty
        if shard.dirty_streams == NULL:
            shard.dirty_last = NULL
        stream.dirty = False
        if stream.datagram:
            deliver_datagrams(self, stream)
            continue
        if stream.life != LIFE_LIVE:
            dial_drop(self, stream)
            if stream.handle.fd >= 0:
                stream_close(self, stream)
            continue
        if stream.elsewhere != 0:
            worker_watch(self, &stream.handle, 0, EPOLL_CTL_DEL)
            elsewhere.session = stream.session
            elsewhere.worker = stream.elsewhere - 1
            stream.elsewhere = 0
            if hand_over(self, <uint32_t>stream.number, stream.handle.fd, elsewhere, stream.handle.shared != 0,
                         stream.listener, stream.setup):
                edge_give_up(shard, stream)
            else:
                edge_abort(shard, stream, CODE_BUSY, CAUSE_BUDGET)
            continue
        if stream.setup != NULL and stream.setup.state == SETUP_FAILED:
            outlets_lead_on(shard, stream)
            continue
        if stream.dial != DIAL_NONE:
            if stream.handle.fd < 0 or stream.dial == DIAL_NEXT_DUE:
                dial_next(self, stream, 0)
        else:
            stream_write(self, stream)
            if stream.direct:
                direct_io_written(self, stream)
            if stream.far == FAR_CUT and stream.life == LIFE_LIVE:
                cut_on(self, stream)
        if stream.life == LIFE_LIVE and queue_own_counted(&stream.out, &shard.pool, False, &first, copied) != RESULT_OK:
            edge_abort(shard, stream, CODE_BUSY, CAUSE_BUDGET)
        edge_hold(stream)


# Whether there is a marked stream. Datagrams for all of them are written first, which may mark one more.
cdef bint next_dirty_or_flush(Worker* self) noexcept nogil:
    if self.shard.dirty_streams == NULL and self.datagrams != NULL:
        datagram_io_flush(self)
    return self.shard.dirty_streams != NULL


cdef void deliver_datagrams(Worker* self, Stream* stream) noexcept nogil:
    if stream.life != LIFE_LIVE:
        datagram_io_close(self, stream)
    elif stream.setup != NULL and stream.setup.state == SETUP_FAILED:
        outlets_lead_on(&self.shard, stream)
    elif stream.direct and not stream.opener:
        direct_datagrams_deliver(self, stream)
    else:
        datagram_io_deliver(self, stream)


cdef void stream_close(Worker* self, Stream* stream) noexcept nogil:
    # The far edge chose the code; only a stream that ended by FIN in both directions may end cleanly, or one that was
    # let go and has been told so.
    cdef bint hard = stream.cause != CAUSE_DONE and stream.broken != BREAK_LEFT
    cdef uint64_t asked = 0
    cdef ssize_t sent = 1
    while stream.out.count != 0 and stream.writable and sent > 0:
        sent = worker_send(self, stream.handle.fd, &stream.out, &asked)
        if sent > 0:
            queue_sent(&stream.out, &self.shard.pool, <uint64_t>sent)
            counter_add(&self.shard.stats.count[COUNT_APPLICATION_RECEIVED], <uint64_t>sent)
    queue_free(&stream.out, &self.shard.pool)
    sockets_end_as(stream.handle.fd, hard)
    worker_close(self, &stream.handle, hard)


# It was let go, and is told so once.
cdef void say_fin(Worker* self, Stream* stream) noexcept nogil:
    if stream.output == OUT_FIN_DUE:
        shutdown(stream.handle.fd, SHUT_WR)
        stream.output = OUT_SHUT
    edge_check_done(&self.shard, stream)


cdef void stream_write(Worker* self, Stream* stream) noexcept nogil:
    cdef ssize_t sent
    cdef uint64_t asked = 0
    if stream.broken != BREAK_NONE:
        if stream.broken == BREAK_LEFT:
            say_fin(self, stream)
        return
    while stream.writable and stream.out.count != 0:
        sent = worker_send(self, stream.handle.fd, &stream.out, &asked)
        if sent < 0:
            if errno == EINTR:
                continue
            if errno == EAGAIN:
                stream.writable = False
                return
            # There may still be an answer to read in the socket.
            edge_break(&self.shard, stream, BREAK_TAKEN)
            return
        queue_sent(&stream.out, &self.shard.pool, <uint64_t>sent)
        edge_wrote(&self.shard, stream, <uint64_t>sent)
    queue_rest(&stream.out, &self.shard.pool)
    if stream.out.count == 0 and stream.output == OUT_FIN_DUE:
        # If both sides have ended, closing the socket sends FIN as well, with one call less.
        if stream.state != STREAM_CLOSED or stream.far == FAR_CUT:
            shutdown(stream.handle.fd, SHUT_WR)
        stream.output = OUT_SHUT
    edge_check_done(&self.shard, stream)


# Discard what can be read. TCP writes nothing then, so that there is no buffer (tcp(7)); a unix socket answers EFAULT.
# The interceptor of ThreadSanitizer believes that something is written at NULL (tests/tsan.supp).
cdef ssize_t discard_unread(int fd) noexcept nogil:
    return recv(fd, NULL, CUT_READ, MSG_TRUNC)


# Further data of the application are discarded, but they must be read: an application that only writes would never
# come to read its answer. Closing before its machine has acknowledged everything would lose what is in flight.
cdef void cut_on(Worker* self, Stream* stream) noexcept nogil:
    cdef uint8_t waste[CUT_WASTE]
    cdef int unsent = 0
    cdef int _
    cdef ssize_t got = 1
    for _ in range(CUT_READS):
        if got > 0:
            got = discard_unread(stream.handle.fd)
            if got < 0 and errno == EFAULT:
                # Its bytes have to go somewhere.
                got = recv(stream.handle.fd, waste, CUT_WASTE, 0)
    if got < 0 and errno != EAGAIN and errno != EINTR:
        edge_break(&self.shard, stream, BREAK_TAKEN)
        return
    if ioctl(stream.handle.fd, SIOCOUTQ, &unsent) != 0 or unsent < 0:
        unsent = 0
    edge_cut_left(&self.shard, stream, stream.out.bytes + <uint64_t>unsent)


cdef void app_listen(Worker* self, Order* order) noexcept nogil:
    cdef Listener* listener
    if order.args.listen.datagrams:
        datagram_listen(self, order)
        return
    listener = <Listener*>calloc(1, sizeof(Listener))
    if listener == NULL:
        close(order.fd)
        return
    # Connections inherit all options, so that none needs a call of its own, except those that came before this call,
    # because the socket listens already.
    sockets_tune(self, order.fd)
    listener.early = True
    listener.handle.kind = HANDLE_LISTENER
    listener.handle.fd = order.fd
    listener.number = order.args.listen.import_number
    listener.counts = order.args.listen.listener
    listener.next = self.listeners
    self.listeners = listener
    worker_watch(self, &listener.handle, EPOLLIN, EPOLL_CTL_ADD)


cdef void app_unlisten(Worker* self, int number) noexcept nogil:
    unlisten(self, number, False)


cdef void app_drain(Worker* self) noexcept nogil:
    unlisten(self, -1, True)


cdef void app_forget(Worker* self) noexcept nogil:
    cdef Listener** at = &self.listeners
    while at[0] != NULL:
        if at[0].origin != 0 and at[0].clients.count == 0:
            take_out(self, at)
        else:
            at = &at[0].next


# drains: those of datagrams stay.
cdef void unlisten(Worker* self, int number, bint drains) noexcept nogil:
    cdef Listener** at = &self.listeners
    while at[0] != NULL:
        if (number != -1 and at[0].number != <uint32_t>number) or (drains and at[0].clients != NULL):
            at = &at[0].next
        else:
            take_out(self, at)


# Close a listener and take it out of the list. epoll's events of this turn may still name it.
cdef void take_out(Worker* self, Listener** at) noexcept nogil:
    cdef Listener* listener = at[0]
    at[0] = listener.next
    if listener.clients != NULL:
        datagram_unlisten(self, listener)
    worker_close(self, &listener.handle, False)
    listener.next = self.deferred_listeners
    self.deferred_listeners = listener
