from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.buf cimport Buf, buf_data, buf_drop
from pcgrelay._core.edge.records cimport records_rx, records_rx_datagrams
from pcgrelay._core.session.candidate cimport candidate_frame
from pcgrelay._core.edge.lists cimport edge_activate
from pcgrelay._core.edge.sessions cimport edge_session_fail, edge_session_rx_close
from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.frame.frame cimport Frame, frame_is_lane
from pcgrelay._core.link.gauge cimport LINK_GAUGE_RECEIVED_BYTES, LINK_GAUGE_SENT_BYTES, gauge_at
from pcgrelay._core.link.lane cimport LaneInput, lane_frame, lane_start, lane_stop, lane_rx, lane_tick
from pcgrelay._core.base.libcrypto cimport crypto_bind, OPENSSL_cleanse
from pcgrelay._core.link.link cimport link_find, link_remove
from pcgrelay._core.link.shard cimport LANE_CLOSED, LANE_UNREAD, Lane, Link, Shard, lane_dirty, lane_is_up, shard_event
from pcgrelay._core.base.linux cimport (
    EAGAIN, EINTR, EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLL_CTL_ADD, IPPROTO_TCP,
    TCP_NODELAY, TCP_NOTSENT_LOWAT, TCP_USER_TIMEOUT, close, errno, readv, recv, setsockopt,
)
from pcgrelay._core.link.mailbox cimport EVENT_LANE_DOWN, Event, Order
from pcgrelay._core.worker.app_io cimport app_deliver_lent
from pcgrelay._core.base.queue cimport iovec, queue_sent, queue_own_counted
from pcgrelay._core.link.relay cimport relay_frame, relay_lane_down, relay_lost, relay_own
from pcgrelay._core.base.result cimport (
    RESULT_CONFIRM_TIMEOUT, RESULT_DUPLICATE, RESULT_LOCAL_CLOSE, RESULT_MORE, RESULT_NO_MEMORY, RESULT_OK,
    RESULT_PEER_CLOSED, RESULT_REPLACED, RESULT_SILENT, RESULT_SOCKET, RESULT_UNKNOWN_FLOW, Result, result_code,
    result_place, result_reason,
)
from pcgrelay._core.link.lane_send cimport lane_fill, lane_pace, lane_tx, lane_sent
from pcgrelay._core.session.session cimport (
    Session, flow_session, session_frame, session_lane_down, session_lane_up, session_lost,
)
from pcgrelay._core.base.stats cimport (
    COUNT_BYTES_RECEIVED, COUNT_BYTES_SENT, COUNT_LANES_CLOSED, COUNT_SETTLED_BYTES, COUNT_SYSTEM_CALLS,
)
from pcgrelay._core.base.wire cimport (
    CODE_BUSY, CODE_DONE, CODE_TIMEOUT, CODE_UNREACHABLE, FRAME_BUNDLE, FRAME_CLOSE, FRAME_CONFIRM, FRAME_DATAGRAMS,
    FRAME_LOST, WIRE_PREFIX, wire_get16, wire_get32, wire_put16,
)
from pcgrelay._core.worker.worker cimport (
    WORKER_EDGE, WORKER_READS, WORKER_RELAY, WORKER_SLOT, WORKER_SLOTS, Worker, worker_close, worker_send, worker_watch,
)

crypto_bind()


# -- lanes ------------------------------------------------------------------------------------------------------------

cdef void lane_io_event(Worker* self, Lane* lane, uint32_t events) noexcept nogil:
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
        lane_io_end(self, lane, answer, lane_io_code(answer))


# Read the lanes that used up their share of the last turn: edge-triggered epoll does not report them again.
cdef void lane_io_read_on(Worker* self) noexcept nogil:
    cdef Lane* lane = self.shard.unread
    cdef Lane* following
    self.shard.unread = NULL
    while lane != NULL:
        # A lane that was closed meanwhile leaves the list here, and is freed at the end of this turn.
        following = lane.next_unread
        lane.unread = False
        if lane.state != LANE_CLOSED:
            lane_listen(self, lane)
        lane = following


# Read until the socket is empty or the lane has used up its share.
cdef Result lane_read(Worker* self, Lane* lane) noexcept nogil:
    cdef iovec vectors[2]
    cdef uint8_t* slot
    cdef ssize_t got
    cdef uint64_t room, part
    cdef int _
    cdef Result answer
    for _ in range(WORKER_READS):
        if self.role == WORKER_EDGE:
            app_deliver_lent(self)
            slot = self.space
        else:
            if self.slots_used == WORKER_SLOTS:
                lane_io_flush(self)
            slot = self.space + self.slots_used * WORKER_SLOT
        part = 0
        if lane.partial == NULL:
            got = recv(lane.handle.fd, slot, WORKER_SLOT, 0)
        else:
            part = lane.partial_need
            vectors[0].iov_base = buf_data(lane.partial) + lane.partial.length
            vectors[0].iov_len = part
            vectors[1].iov_base = slot
            vectors[1].iov_len = WORKER_SLOT
            got = readv(lane.handle.fd, vectors, 2)
        room = part + WORKER_SLOT
        counter_add(&self.shard.stats.count[COUNT_SYSTEM_CALLS], 1)
        if got < 0:
            return RESULT_OK if errno == EAGAIN or errno == EINTR else RESULT_SOCKET
        if got == 0:
            return RESULT_SOCKET
        lane.heard_us = self.shard.now_us
        counter_add(&self.shard.stats.count[COUNT_BYTES_RECEIVED], <uint64_t>got)
        counter_add(&gauge_at(lane.link.gauge, self.shard.index)[LINK_GAUGE_RECEIVED_BYTES], <uint64_t>got)
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
    cdef LaneInput input
    cdef Result answer
    input.part = part
    input.p = p
    input.n = n
    while True:
        answer = lane_frame(&self.shard, lane, &input, self.role == WORKER_EDGE)
        if answer != RESULT_OK:
            return RESULT_OK if answer == RESULT_MORE else answer
        answer = rx_frame(self, lane, &input.frame, input.wire, input.owner)
        if input.buf != NULL:
            if input.scarce or self.shard.lent:
                app_deliver_lent(self)
            buf_drop(&self.shard.pool, input.buf)
        if answer != RESULT_OK:
            return answer


cdef Result rx_frame(Worker* self, Lane* lane, Frame* frame, uint8_t* wire, Buf* owner) noexcept nogil:
    cdef Flow* flow = NULL
    cdef uint32_t code = CODE_DONE
    cdef Result answer
    if frame_is_lane(frame.type):
        answer = lane_rx(&self.shard, lane, frame, wire)
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
            answer = records_rx(&self.shard, flow, wire + WIRE_PREFIX, frame.length, owner)
        elif frame.type == FRAME_DATAGRAMS:
            answer = records_rx_datagrams(&self.shard, flow, wire + WIRE_PREFIX, frame.length, owner)
            # Those of a frame are written together, and do not wait for the next.
            app_deliver_lent(self)
        elif flow.small.head != NULL or flow.bulk.head != NULL:
            # An ACK or RESUME may have made room.
            edge_activate(&self.shard, flow)
    if answer == RESULT_PEER_CLOSED:
        edge_session_rx_close(&self.shard, flow_session(flow), code)
    elif answer == RESULT_UNKNOWN_FLOW:
        rx_candidate(self, lane, frame, wire, owner)
    elif answer != RESULT_OK and answer != RESULT_DUPLICATE:
        edge_session_fail(&self.shard, flow_session(flow), answer)
    return RESULT_OK


# Handle a frame whose label is not that of a path; its candidate may become the path, or it comes from the path before.
cdef void rx_candidate(Worker* self, Lane* lane, const Frame* frame, uint8_t* wire, Buf* owner) noexcept nogil:
    cdef Flow* flow = NULL
    cdef uint32_t code = CODE_DONE
    cdef Result answer = candidate_frame(&self.shard, lane, frame, wire, &flow, &code)
    if answer == RESULT_OK and frame.type == FRAME_DATAGRAMS:
        answer = records_rx_datagrams(&self.shard, flow, wire + WIRE_PREFIX, frame.length, owner)
        app_deliver_lent(self)
    if answer == RESULT_OK:
        if flow.small.head != NULL or flow.bulk.head != NULL:
            edge_activate(&self.shard, flow)
    elif answer != RESULT_DUPLICATE:
        edge_session_fail(&self.shard, flow_session(flow), answer)


cdef void lane_up(Worker* self, Lane* lane) noexcept nogil:
    cdef Lane* before = lane.link.lanes[lane.index]
    cdef Session* failed = NULL
    cdef Result answer
    if before != NULL:
        lane_io_end(self, before, RESULT_REPLACED, CODE_DONE)
    lane.link.lanes[lane.index] = lane
    if self.role != WORKER_EDGE:
        return
    while True:
        answer = session_lane_up(&self.shard, lane, &failed)
        if answer == RESULT_OK:
            return
        edge_session_fail(&self.shard, failed, answer)


# Close a lane: send CLOSE if possible, inform its flows and the control plane, and count the reason.
cdef void lane_io_end(Worker* self, Lane* lane, Result reason, uint32_t code) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef uint8_t body[4]
    cdef Event* event
    if lane.state == LANE_CLOSED:
        return
    if lane_is_up(lane) and reason != RESULT_SOCKET and reason != RESULT_PEER_CLOSED:
        wire_put16(body, code)
        wire_put16(body + 2, 0)
        if lane_tx(shard, lane, FRAME_CLOSE, body, 4) == RESULT_OK:
            # The lane closes now, whether CLOSE goes out or not.
            lane_send(self, lane)
    event = shard_event(shard, EVENT_LANE_DOWN)
    event.data.lane.link = lane.link.number
    event.data.lane.index = lane.index
    event.data.lane.number = lane.number
    event.data.lane.code = lane.close_code if reason == RESULT_PEER_CLOSED else code
    event.data.lane.reason = result_reason(reason)
    counter_add(&shard.stats.refused[result_place(reason)], 1)
    counter_add(&shard.stats.count[COUNT_LANES_CLOSED], 1)
    if lane.link.lanes[lane.index] == lane:
        lane.link.lanes[lane.index] = NULL
        if self.role == WORKER_EDGE:
            session_lane_down(shard, lane, code)
        else:
            relay_lane_down(shard, lane.link.number, lane.index)
    lane_stop(shard, lane)
    worker_close(self, &lane.handle, False)
    if lane.prev != NULL:
        lane.prev.next = lane.next
    else:
        shard.lanes = lane.next
    if lane.next != NULL:
        lane.next.prev = lane.prev
    lane.next = shard.deferred_lanes
    shard.deferred_lanes = lane


cdef uint32_t lane_io_code(Result reason) noexcept nogil:
    if reason == RESULT_SOCKET:
        return CODE_UNREACHABLE
    if reason == RESULT_SILENT or reason == RESULT_CONFIRM_TIMEOUT:
        return CODE_TIMEOUT
    return result_code(reason)


cdef void lane_io_link_end(Worker* self, Link* link, uint32_t code) noexcept nogil:
    cdef Lane* lane = self.shard.lanes
    cdef Lane* following
    while lane != NULL:
        following = lane.next
        if lane.link == link:
            lane_io_end(self, lane, RESULT_LOCAL_CLOSE, code)
        lane = following
    link_remove(&self.shard, link)


# Send what the turn produced, usually with one system call for each lane; then copy what is borrowed.
cdef void lane_io_flush(Worker* self) noexcept nogil:
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
            answer = lane_own(self, lane)
        if answer != RESULT_OK:
            lane_io_end(self, lane, answer, lane_io_code(answer))
    self.slots_used = 0


cdef Result lane_send(Worker* self, Lane* lane) noexcept nogil:
    cdef ssize_t sent
    cdef uint64_t asked = 0
    cdef Result answer
    while lane.writable:
        answer = lane_fill(&self.shard, lane)
        if answer != RESULT_OK:
            return answer
        if lane.wire.count == 0:
            return RESULT_OK
        sent = worker_send(self, lane.handle.fd, &lane.wire, &asked)
        if sent < 0:
            if errno == EINTR:
                continue
            if errno != EAGAIN:
                return RESULT_SOCKET
            sent = 0
        counter_add(&self.shard.stats.count[COUNT_BYTES_SENT], <uint64_t>sent)
        counter_add(&gauge_at(lane.link.gauge, self.shard.index)[LINK_GAUGE_SENT_BYTES], <uint64_t>sent)
        queue_sent(&lane.wire, &self.shard.pool, <uint64_t>sent)
        lane_sent(&self.shard, lane, <uint64_t>sent, <uint64_t>sent < asked)
    return RESULT_OK


cdef Result lane_own(Worker* self, Lane* lane) noexcept nogil:
    cdef uint32_t first = 0
    relay_own(&self.shard, lane)
    # A frame that has its hop number must be sent, or the lane is lost.
    return queue_own_counted(&lane.wire, &self.shard.pool, True, &first, &self.shard.stats.count[COUNT_SETTLED_BYTES])


# Unsent bytes in a lane's socket count like those on the wire, because nothing can overtake them.
cdef void set_lowat(const Lane* lane) noexcept nogil:
    cdef int lowat = <int>lane.ahead
    setsockopt(lane.handle.fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat))


cdef Result lane_io_tick(Worker* self, Lane* lane) noexcept nogil:
    if lane_pace(&self.shard, lane):
        set_lowat(lane)
    return lane_tick(&self.shard, lane)


cdef void lane_io_add(Worker* self, Order* order) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Link* link = link_find(shard, order.args.lane.link)
    cdef Lane* lane = NULL
    cdef Event* event
    cdef int one = 1
    # A peer that sends but no longer reads is never silent, and what is queued for it would be held without end.
    cdef int unread_ms = <int>(LANE_UNREAD * shard.probe_us / 1000)
    if link != NULL and order.args.lane.index < link.lane_count:
        lane = lane_start(shard, link, order.fd, <uint16_t>order.args.lane.index, order.args.lane.number, order.secret)
    OPENSSL_cleanse(order.secret, 32)
    if lane != NULL:
        setsockopt(order.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one))
        set_lowat(lane)
        setsockopt(order.fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unread_ms, sizeof(unread_ms))
        lane.next = shard.lanes
        if lane.next != NULL:
            lane.next.prev = lane
        shard.lanes = lane
        if worker_watch(self, &lane.handle, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, EPOLL_CTL_ADD):
            return
        lane_io_end(self, lane, RESULT_SOCKET, CODE_BUSY)
        return
    close(order.fd)
    event = shard_event(shard, EVENT_LANE_DOWN)
    event.data.lane.link = order.args.lane.link
    event.data.lane.index = order.args.lane.index
    event.data.lane.number = order.args.lane.number
    event.data.lane.code = CODE_BUSY
    event.data.lane.reason = result_reason(RESULT_NO_MEMORY)
