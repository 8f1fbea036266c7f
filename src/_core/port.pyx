from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc
from libc.string cimport memset

from pcgrelay._core.atomics cimport figure_add
from pcgrelay._core.buf cimport BUF_LARGEST, Buf, buf_data, buf_drop, buf_take
from pcgrelay._core.bundle cimport bundle_data, bundle_fin, bundle_may_read, bundle_say
from pcgrelay._core.edge cimport (
    ACCEPT_ELSEWHERE, ACCEPT_REFUSED, EDGE_BULK, AcceptAnswer, edge_abort, edge_accept, edge_activate, edge_bury,
    edge_check_done, edge_code, edge_connected, edge_dirty, edge_give_up, edge_ready, edge_session_end, edge_target,
    edge_wrote,
)
from pcgrelay._core.flow cimport Flow, flow_bears_bulk, flow_has_room, list_pop
from pcgrelay._core.handle cimport HANDLE_LISTENER
from pcgrelay._core.link cimport LANE_BACKLOG, LANE_BACKLOG_SMALL, LANE_WIRE, Lane, Shard, lane_backlog
from pcgrelay._core.linux cimport (
    EAGAIN, ECONNREFUSED, EINPROGRESS, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN,
    EPOLLOUT, EPOLLRDHUP, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, IPPROTO_TCP, MSG_NOSIGNAL, SHUT_WR, SOCK_CLOEXEC,
    SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, SO_ERROR, SO_KEEPALIVE, SO_LINGER, TCP_KEEPCNT, TCP_KEEPIDLE,
    TCP_KEEPINTVL, TCP_NODELAY, accept4, close, connect, errno, getsockopt, linger, msghdr, readv, recv, sendmsg,
    setsockopt, shutdown, sockaddr, socket,
)
from pcgrelay._core.mailbox cimport ORDER_STREAM, Order, mailbox_put, order_new
from pcgrelay._core.queue cimport iovec, queue_sent, queue_settle, queue_vectors
from pcgrelay._core.result cimport RESULT_OK, Result
from pcgrelay._core.route cimport Target
from pcgrelay._core.session cimport Session, session_bundle
from pcgrelay._core.stats cimport (
    CAUSE_APPLICATION_RESET, CAUSE_BUDGET, CAUSE_DESCRIPTORS, CAUSE_DONE, CAUSE_TARGET_REFUSED,
    CAUSE_TARGET_UNREACHABLE, COUNT_ACCEPT_FAILED, COUNT_SYSTEM_CALLS,
)
from pcgrelay._core.stream cimport STREAM_CLOSED, Stream
from pcgrelay._core.wire cimport CODE_ABORTED, CODE_BUSY, CODE_UNREACHABLE, WIRE_BODY_MAX, WIRE_PREFIX, WIRE_RECORD
from pcgrelay._core.worker cimport WORKER_ACCEPTS, WORKER_FRAMES, Listener, Worker, worker_wake, worker_watch


cdef enum:
    VECTORS = 64
    BUNDLE_SPARE = 256          # room that a bundle keeps for what a stream says besides its data
    BULK_ROOM = 32768           # a bulk read gets at least so much room
    BULK_FRAMES = 4             # frames of one bulk read
    KEEPALIVE_PROBES = 4        # unanswered ones, spread over keepalive_s, end a connection


# -- streams: the application's side ----------------------------------------------------------------------------------

cdef void port_accept(Worker* self, Listener* listener) noexcept nogil:
    cdef int _, fd
    if listener.handle.fd < 0:
        return
    for _ in range(WORKER_ACCEPTS):
        fd = accept4(listener.handle.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)
        if fd < 0:
            if errno == EMFILE or errno == ENFILE or errno == ENOBUFS or errno == ENOMEM:
                # Look again at the next tick, or the loop would spin on what it cannot take.
                figure_add(&self.shard.stats.count[COUNT_ACCEPT_FAILED], 1)
                figure_add(&self.shard.stats.cause[CAUSE_DESCRIPTORS], 1)
                listener.paused = True
                worker_watch(self, &listener.handle, 0, EPOLL_CTL_MOD)
            return
        port_adopt(self, listener.number, fd, 0)


# An application's socket for an import, accepted here or by another worker.
cdef void port_adopt(Worker* self, uint32_t number, int fd, uint32_t session) noexcept nogil:
    cdef Stream* stream = NULL
    cdef uint32_t elsewhere = 0
    cdef AcceptAnswer answer = edge_accept(&self.shard, number, fd, session, &stream, &elsewhere)
    if answer == ACCEPT_ELSEWHERE:
        hand_over(self, number, fd, elsewhere)
        return
    if answer == ACCEPT_REFUSED:
        reset_close(fd)
        return
    if stream == NULL:
        return
    if not worker_watch(self, &stream.handle, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, EPOLL_CTL_ADD):
        edge_abort(&self.shard, stream, CODE_BUSY, CAUSE_DESCRIPTORS)


# What every connection of an application has. One whose machine went without a word is found by TCP's own probes.
cdef void port_tune(Worker* self, int fd) noexcept nogil:
    cdef int one = 1
    cdef int count = KEEPALIVE_PROBES
    cdef int idle_s = <int>self.shard.keepalive_s
    cdef int again_s = (idle_s + KEEPALIVE_PROBES - 1) / KEEPALIVE_PROBES
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s))
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &again_s, sizeof(again_s))
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count))
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one))


# Give an accepted socket to another worker.
cdef void hand_over(Worker* self, uint32_t number, int fd, uint32_t worker) noexcept nogil:
    cdef Order* order = order_new(ORDER_STREAM)
    if order == NULL:
        reset_close(fd)
        return
    order.fd = fd
    order.a = number
    if mailbox_put(&self.siblings[worker].mailbox, order):
        worker_wake(self.siblings[worker].mailbox.wake_fd)


# What the application sees when the socket is closed: a reset if hard, or else a clean end. Every application's socket
# is hard from its first moment until both directions ended by FIN, so that a killed process resets it too.
cdef void end_as(int fd, bint hard) noexcept nogil:
    cdef linger how
    how.l_onoff = hard
    how.l_linger = 0
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &how, sizeof(how))


# Close so that the application sees a reset, never a clean end.
cdef void reset_close(int fd) noexcept nogil:
    end_as(fd, True)
    close(fd)


cdef int socket_error(int fd) noexcept nogil:
    cdef int error = 0
    cdef uint32_t length = sizeof(error)
    if getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0:
        return errno
    return error


cdef void port_event(Worker* self, Stream* stream, uint32_t events) noexcept nogil:
    if stream.finished or stream.handle.fd < 0:
        return
    if stream.connecting:
        # A connection that failed is told as an error beside being writable.
        if events & (EPOLLERR | EPOLLHUP):
            connect_failed(self, stream, socket_error(stream.handle.fd))
        elif events & EPOLLOUT:
            edge_connected(&self.shard, stream)
            # A server that spoke and left before we looked: its end is told this once.
            stream.hangup = events & EPOLLRDHUP != 0
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
    cdef int fd
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
        port_tune(self, fd)
        end_as(fd, True)
        if connect(fd, <const sockaddr*>target.address, target.length) == 0 or errno == EINPROGRESS:
            break
        error = errno
        close(fd)
    stream.handle.fd = fd
    if not worker_watch(self, &stream.handle, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, EPOLL_CTL_ADD):
        edge_abort(&self.shard, stream, CODE_BUSY, CAUSE_DESCRIPTORS)


# Write what lanes brought to the applications, and do what else streams wait for: connect, shut, close.
cdef void port_deliver(Worker* self) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Stream* stream
    cdef uint32_t first = 0
    while shard.dirty_streams != NULL:
        stream = shard.dirty_streams
        shard.dirty_streams = stream.next_dirty
        if shard.dirty_streams == NULL:
            shard.dirty_last = NULL
        stream.dirty = False
        if stream.finished:
            if stream.handle.fd >= 0:
                stream_close(stream)
            continue
        if stream.elsewhere != 0:
            worker_watch(self, &stream.handle, 0, EPOLL_CTL_DEL)
            hand_over(self, <uint32_t>stream.number, stream.handle.fd, stream.elsewhere - 1)
            edge_give_up(shard, stream)
            continue
        if stream.connecting:
            if stream.handle.fd < 0:
                connect_next(self, stream, 0)
        else:
            stream_write(self, stream)
        if not stream.finished and queue_settle(&stream.out, &shard.pool, False, &first) != RESULT_OK:
            edge_abort(shard, stream, CODE_BUSY, CAUSE_BUDGET)


cdef void stream_close(Stream* stream) noexcept nogil:
    # The code is the far edge's word; only what was ended by FIN both ways may look whole.
    end_as(stream.handle.fd, stream.cause != CAUSE_DONE)
    close(stream.handle.fd)
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
        figure_add(&self.shard.stats.count[COUNT_SYSTEM_CALLS], 1)
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
        # Where both sides have ended, closing says it as well, one call sooner.
        if stream.state != STREAM_CLOSED:
            shutdown(stream.handle.fd, SHUT_WR)
        stream.shut = True
    edge_check_done(&self.shard, stream)


# -- streams: the flow's side -----------------------------------------------------------------------------------------

# Is there a flow whose streams could be served right now?
cdef bint port_can_serve(Worker* self) noexcept nogil:
    cdef Flow* flow = NULL if self.starved else self.shard.active_first
    while flow != NULL:
        if flow_is_open(flow) and (flow.small.head != NULL or bears_bulk(self, flow)):
            return True
        flow = flow.next_active
    return False


cdef inline bint flow_is_open(const Flow* flow) noexcept nogil:
    return flow.lane != NULL and flow_has_room(flow, 1) and flow_backlog(flow) < LANE_BACKLOG_SMALL


# What would go before a frame of this flow: lower classes do not hold it up.
cdef inline uint64_t flow_backlog(const Flow* flow) noexcept nogil:
    return lane_backlog(<Lane*>flow.lane, (<Session*>flow.session).priority)


cdef inline bint bears_bulk(Worker* self, const Flow* flow) noexcept nogil:
    return flow_backlog(flow) < LANE_BACKLOG and flow_bears_bulk(flow, self.shard.now_us)


# Make frames of what streams have, a frame for each flow in turn.
cdef void port_serve(Worker* self) noexcept nogil:
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


# Everything small that is ready in one frame, and one bulk read. False: nothing was made.
cdef bint serve_flow(Worker* self, Flow* flow) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Buf* buf
    cdef uint8_t* body
    cdef uint32_t used = 0
    cdef Stream* stream
    if not flow_is_open(flow):
        return False
    if flow.small.head == NULL and serve_bulk(self, flow):
        return True
    buf = buf_take(&shard.pool, BUF_LARGEST, False)
    if buf == NULL:
        self.starved = True
        return False
    body = buf_data(buf) + WIRE_PREFIX
    while used < BULK_ROOM:
        stream = list_pop(&flow.small)
        if stream == NULL:
            break
        used += serve_stream(self, stream, body + used, WIRE_BODY_MAX - used, not stream.bulk)
    if used < BULK_ROOM and bears_bulk(self, flow):
        stream = list_pop(&flow.bulk)
        if stream != NULL:
            used += serve_stream(self, stream, body + used, bulk_room(flow, used), True)
    if used == 0:
        buf_drop(&shard.pool, buf)
        return False
    send_bundle(shard, flow, buf, used)
    return True


# False: the session is gone, and the flow with it.
cdef bint send_bundle(Shard* shard, Flow* flow, Buf* buf, uint32_t used) noexcept nogil:
    cdef Result answer = session_bundle(shard, flow, buf, used)
    if answer != RESULT_OK:
        edge_session_end(shard, <Session*>flow.session, edge_code(answer), answer, True, True, False)
    return answer == RESULT_OK


# One read of a bulk stream into several frames: for each read less, the kernel tells the writer once less that it has a
# little room again. False: there is no such stream, or one frame will do.
cdef bint serve_bulk(Worker* self, Flow* flow) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Stream* stream = flow.bulk.head
    cdef Buf* bufs[BULK_FRAMES]
    cdef iovec parts[BULK_FRAMES]
    cdef uint32_t wanted, part, n, i
    cdef ssize_t got
    cdef bint alive = True
    if stream == NULL or stream.say != 0 or (<Lane*>flow.lane).ahead < LANE_WIRE or not bears_bulk(self, flow):
        return False
    wanted = bundle_may_read(stream, BULK_FRAMES * WIRE_BODY_MAX)
    n = 0 if wanted <= WIRE_BODY_MAX else frames_for(shard, flow, wanted, bufs, parts)
    if n == 0:
        return False
    list_pop(&flow.bulk)
    got = readv(stream.handle.fd, parts, <int>n)
    wanted = 0
    for i in range(n):
        wanted += <uint32_t>parts[i].iov_len
    note_read(self, stream, got, wanted)
    for i in range(n):
        if got <= 0 or not alive:
            buf_drop(&shard.pool, bufs[i])
            continue
        part = <uint32_t>(parts[i].iov_len if parts[i].iov_len < <size_t>got else <size_t>got)
        got -= part
        alive = send_bundle(shard, flow, bufs[i], bundle_data(shard, stream, buf_data(bufs[i]) + WIRE_PREFIX, part))
    if alive:
        read_on(shard, stream)
    return True


# Buffers and places for a read of that many bytes, as far as the budget and the cap of the flow allow; answer how many.
cdef uint32_t frames_for(Shard* shard, const Flow* flow, uint32_t wanted, Buf** bufs, iovec* parts) noexcept nogil:
    cdef uint32_t n = 0, part
    while wanted != 0 and n < BULK_FRAMES and flow_has_room(flow, n + 1):
        bufs[n] = buf_take(&shard.pool, BUF_LARGEST, False)
        if bufs[n] == NULL:
            break
        part = wanted if wanted < WIRE_BODY_MAX - WIRE_RECORD else WIRE_BODY_MAX - WIRE_RECORD
        parts[n].iov_base = buf_data(bufs[n]) + WIRE_PREFIX + WIRE_RECORD
        parts[n].iov_len = part
        wanted -= part
        n += 1
    return n


# What a read of at most `asked` bytes says of the application's socket.
cdef void note_read(Worker* self, Stream* stream, ssize_t got, uint32_t asked) noexcept nogil:
    if got > 0:
        stream.bulk = got >= EDGE_BULK
        if <uint32_t>got < asked and not stream.hangup:
            stream.readable = False
    elif got == 0:
        stream.ended = True
        stream.readable = False
    elif errno == EAGAIN:
        stream.readable = False
    elif errno != EINTR:
        edge_abort(&self.shard, stream, CODE_ABORTED, CAUSE_APPLICATION_RESET)
    figure_add(&self.shard.stats.count[COUNT_SYSTEM_CALLS], 1)


# Come back to the stream if there is more to read, or its end to say.
cdef inline void read_on(Shard* shard, Stream* stream) noexcept nogil:
    if not stream.finished and (stream.ended or bundle_may_read(stream, WIRE_BODY_MAX) != 0):
        edge_ready(shard, stream)


# A frame leaves as a whole, so on a slow lane it is no larger than what the lane is sealed ahead.
cdef inline uint32_t bulk_room(const Flow* flow, uint32_t used) noexcept nogil:
    cdef uint32_t ahead = (<Lane*>flow.lane).ahead
    return ahead if ahead < WIRE_BODY_MAX - used else WIRE_BODY_MAX - used


# What one stream has to say, and its data if may_read; answer how many bytes of records.
cdef uint32_t serve_stream(Worker* self, Stream* stream, uint8_t* p, uint32_t room, bint may_read) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef uint32_t used = 0
    cdef uint32_t asked
    cdef ssize_t got
    cdef bint gone = False
    if stream.say != 0:
        used = bundle_say(shard, stream, p, &gone)
        if gone:
            edge_bury(shard, stream)
            return used
    asked = bundle_may_read(stream, room - used - BUNDLE_SPARE) if may_read else 0
    if asked != 0:
        got = recv(stream.handle.fd, p + used + WIRE_RECORD, asked, 0)
        note_read(self, stream, got, asked)
        if got > 0:
            used += bundle_data(shard, stream, p + used, <uint32_t>got)
        if stream.finished:
            return used
    if stream.ended:
        used += bundle_fin(shard, stream, p + used)
        edge_check_done(shard, stream)
    else:
        read_on(shard, stream)
    return used


cdef void port_listen(Worker* self, Order* order) noexcept nogil:
    cdef Listener* listener = <Listener*>calloc(1, sizeof(Listener))
    if listener == NULL:
        close(order.fd)
        return
    # Connections inherit all of it, so that none needs a call of its own.
    port_tune(self, order.fd)
    end_as(order.fd, True)
    listener.handle.kind = HANDLE_LISTENER
    listener.handle.fd = order.fd
    listener.number = <uint32_t>order.a
    listener.next = self.listeners
    self.listeners = listener
    worker_watch(self, &listener.handle, EPOLLIN, EPOLL_CTL_ADD)


# Close the listeners of an import; of all, if number is -1.
cdef void port_unlisten(Worker* self, int number) noexcept nogil:
    cdef Listener** at = &self.listeners
    cdef Listener* listener
    while at[0] != NULL:
        listener = at[0]
        if number != -1 and listener.number != <uint32_t>number:
            at = &listener.next
            continue
        at[0] = listener.next
        close(listener.handle.fd)
        listener.handle.fd = -1
        listener.next = self.buried_listeners
        self.buried_listeners = listener
