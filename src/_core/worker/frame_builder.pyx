from libc.stdint cimport uint32_t, uint64_t, uint8_t

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.buf cimport BUF_LARGEST, Buf, Pool, buf_data, buf_drop, buf_alloc, buf_alloc_word
from pcgrelay._core.edge.associations cimport associations_expire, associations_fill, associations_room
from pcgrelay._core.edge.records cimport records_data, records_fin, records_may_read, records_tx
from pcgrelay._core.frame.credit cimport credit_left
from pcgrelay._core.edge.lists cimport edge_activate, edge_bury, edge_ready
from pcgrelay._core.edge.sessions cimport edge_session_fail
from pcgrelay._core.edge.streams cimport EDGE_BULK, edge_abort, edge_check_done, edge_read_failed
from pcgrelay._core.stream.flow cimport Flow, flow_bears_bulk, flow_bears_reads, flow_has_room
from pcgrelay._core.stream.stream_list cimport StreamList, list_pop, list_push
from pcgrelay._core.link.shard cimport (
    LANE_BACKLOG, LANE_BACKLOG_SMALL, LANE_BRISK_US, LANE_WIRE, Lane, Shard, UdpLane, flow_lane,
)
from pcgrelay._core.base.linux cimport EAGAIN, EINTR, errno, readv, recv
from pcgrelay._core.base.queue cimport iovec
from pcgrelay._core.base.result cimport RESULT_BUDGET, RESULT_OK, Result
from pcgrelay._core.link.lane_send cimport lane_backlog
from pcgrelay._core.link.udp_lane cimport udp_lane_bears
from pcgrelay._core.session.datagrams cimport (
    session_datagrams, session_datagrams_begin, session_takes_datagrams, session_udp_lane,
)
from pcgrelay._core.session.session cimport flow_session, session_bundle
from pcgrelay._core.base.stats cimport CAUSE_APPLICATION_RESET, COUNT_SYSTEM_CALLS
from pcgrelay._core.stream.stream cimport (
    BREAK_LEFT, BREAK_NONE, BREAK_TAKEN, IN_ENDED, IN_HANGUP, IN_OPEN, LIFE_LIVE, Stream,
)
from pcgrelay._core.base.wire cimport CODE_ABORTED, WIRE_BODY_MAX, WIRE_PREFIX, WIRE_RECORD
from pcgrelay._core.worker.packet_builder cimport packet_builder_serve
from pcgrelay._core.worker.worker cimport WORKER_FRAMES, Worker


cdef enum:
    BUNDLE_SPARE = 256          # room that a bundle reserves for a stream's records besides data
    BULK_ROOM = 32768           # a bulk read gets at least so much room
    BULK_FRAMES = 4             # frames of one bulk read
    WORDS = 1024                # a frame of words alone, prefix included


# Whether there is a flow whose streams could be served now.
cdef bint frame_builder_can_serve(Worker* self) noexcept nogil:
    cdef Flow* flow = NULL if self.starved else self.shard.active_first
    while flow != NULL:
        if flow.datagrams.head != NULL and session_takes_datagrams(&self.shard, flow):
            return True
        if flow_is_open(flow) and flow_bears_reads(flow, &self.shard.pool, self.shard.now_us) \
                and (flow.small.head != NULL or bears_bulk(self, flow)):
            return True
        flow = flow.next_active
    return False


cdef inline bint flow_is_open(const Flow* flow) noexcept nogil:
    return flow.lane != NULL and flow_has_room(flow, 1) and flow_backlog(flow) < LANE_BACKLOG_SMALL


# The bytes that would go before a frame of this flow: lower classes do not delay it.
cdef inline uint64_t flow_backlog(const Flow* flow) noexcept nogil:
    return lane_backlog(flow_lane(flow), flow_session(flow).priority)


cdef inline bint bears_bulk(Worker* self, const Flow* flow) noexcept nogil:
    return flow_backlog(flow) < backlog_most(self, flow) and flow_bears_bulk(flow, self.shard.now_us)


# Datagrams go before bulk that is still to be read, but not before what waits in the lane. Where some went just now, no
# more waits there than a slow lane carries in a moment; of a fast one that is as much as ever.
cdef inline uint64_t backlog_most(const Worker* self, const Flow* flow) noexcept nogil:
    cdef const Lane* lane = flow_lane(flow)
    if lane.datagrams_us == 0 or self.shard.now_us - lane.datagrams_us > LANE_BRISK_US:
        return LANE_BACKLOG
    return lane.ahead


# Build frames from what streams have, one for each flow in turn.
cdef void frame_builder_serve(Worker* self) noexcept nogil:
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
        if flow.small.head == NULL and flow.bulk.head == NULL and flow.datagrams.head == NULL:
            continue
        edge_activate(shard, flow)
        if serve_flow(self, flow):
            frames += 1
            stuck = NULL
        elif stuck == NULL:
            stuck = flow


# Datagrams come first: what is to be read of streams can wait in its socket. False: nothing was sent. Otherwise the
# session may have ended, and the flow with it.
cdef bint serve_flow(Worker* self, Flow* flow) noexcept nogil:
    cdef bint sent = False
    if flow.datagrams.head != NULL and not serve_datagrams(self, flow, &sent):
        return True
    return serve_streams(self, flow) or sent


# Send the datagrams that wait; *sent: there were some. False: the session has ended, and the flow with it.
cdef bint serve_datagrams(Worker* self, Flow* flow, bint* sent) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Result answer
    cdef UdpLane* udp = session_udp_lane(flow)
    cdef Buf* buf
    cdef uint32_t room, used
    if udp != NULL and udp_lane_bears(shard, udp, 0) and not packet_builder_serve(self, flow, udp, sent):
        return False
    while flow.datagrams.head != NULL:
        # Before they leave their queues, where they may wait and are counted once.
        answer = session_datagrams_begin(shard, flow)
        if answer == RESULT_BUDGET:
            # There is no memory, if nothing else is in the way; at once there would be none either.
            if session_takes_datagrams(shard, flow):
                self.starved = True
            break
        if answer != RESULT_OK:
            edge_session_fail(shard, flow_session(flow), answer)
            return False
        flow_lane(flow).datagrams_us = shard.now_us
        room = associations_room(flow, WIRE_BODY_MAX)
        buf = buf_alloc(&shard.pool, WIRE_PREFIX + room, False)
        if buf == NULL:
            self.starved = True
            break
        used = associations_fill(shard, flow, buf_data(buf) + WIRE_PREFIX, room)
        if used == 0:
            buf_drop(&shard.pool, buf)
            continue
        if udp != NULL:
            # It counts those that are too long for it.
            udp_lane_bears(shard, udp, used)
        answer = session_datagrams(shard, flow, buf, used)
        if answer != RESULT_OK:
            edge_session_fail(shard, flow_session(flow), answer)
            return False
        sent[0] = True
    return True


cdef void frame_builder_expire(Worker* self) noexcept nogil:
    cdef Flow* flow = self.shard.active_first
    while flow != NULL:
        if flow.datagrams.head != NULL:
            associations_expire(&self.shard, flow)
        flow = flow.next_active


# Send everything small that is ready in one frame, and one bulk read. False: nothing was sent. Otherwise the session
# may have ended, and the flow with it.
cdef bint serve_streams(Worker* self, Flow* flow) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef bint sent = True
    cdef Buf* buf
    cdef uint8_t* body
    cdef uint32_t used = 0
    cdef Stream* stream
    if not flow_is_open(flow):
        return False
    if not flow_bears_reads(flow, &shard.pool, shard.now_us):
        return serve_words(self, flow)
    if flow.small.head == NULL and serve_bulk(self, flow):
        return True
    buf = buf_alloc(&shard.pool, BUF_LARGEST, False)
    if buf == NULL:
        self.starved = not serve_words(self, flow)
        return not self.starved
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
    if send_bundle(shard, flow, buf, used) and flow.datagrams.head != NULL:
        # Of associations that the bundle has opened.
        serve_datagrams(self, flow, &sent)
    return True


# When stalled readers hold the whole budget, streams still send records that need no memory of their own: credits and
# ends. Otherwise streams whose applications read would wait for those that do not, and ends could not free memory.
# False: nothing was sent.
cdef bint serve_words(Worker* self, Flow* flow) noexcept nogil:
    cdef Pool* pool = &self.shard.pool
    cdef Buf* buf
    cdef uint8_t* body
    cdef uint32_t used
    buf = buf_alloc_word(pool, WORDS)
    if buf == NULL:
        return False
    body = buf_data(buf) + WIRE_PREFIX
    used = words_of(self, &flow.small, body, WORDS - WIRE_PREFIX)
    used += words_of(self, &flow.bulk, body + used, WORDS - WIRE_PREFIX - used)
    if used == 0:
        buf_drop(pool, buf)
        return False
    send_bundle(&self.shard, flow, buf, used)
    return True


# Encode the records of the streams in a list; those that have only data keep their order.
cdef uint32_t words_of(Worker* self, StreamList* streams, uint8_t* p, uint32_t room) noexcept nogil:
    cdef Stream* stream
    cdef Stream* silent = NULL      # the first that has only data: seen again, all were looked at
    cdef uint32_t used = 0
    while used + BUNDLE_SPARE <= room and streams.head != NULL and streams.head != silent:
        stream = list_pop(streams)
        if stream.say != 0 or stream.input == IN_ENDED:
            used += serve_stream(self, stream, p + used, BUNDLE_SPARE, False)
            continue
        list_push(streams, stream)
        if silent == NULL:
            silent = stream
    return used


# False: the session has ended, and the flow with it.
cdef bint send_bundle(Shard* shard, Flow* flow, Buf* buf, uint32_t used) noexcept nogil:
    cdef Result answer = session_bundle(shard, flow, buf, used)
    if answer != RESULT_OK:
        edge_session_fail(shard, flow_session(flow), answer)
    return answer == RESULT_OK


# Read from a bulk stream once into several frames: fewer reads wake the writer less often for a little room. False:
# there is no such stream, or one frame is enough.
cdef bint serve_bulk(Worker* self, Flow* flow) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Stream* stream = flow.bulk.head
    cdef Buf* bufs[BULK_FRAMES]
    cdef iovec parts[BULK_FRAMES]
    cdef uint32_t wanted, part, n, i
    cdef ssize_t got
    cdef bint alive = True
    if stream == NULL or stream.say != 0 or flow_lane(flow).ahead < LANE_WIRE or not bears_bulk(self, flow):
        return False
    wanted = records_may_read(stream, BULK_FRAMES * WIRE_BODY_MAX)
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
        alive = send_bundle(shard, flow, bufs[i], records_data(shard, stream, buf_data(bufs[i]) + WIRE_PREFIX, part))
    if alive:
        read_on(shard, stream)
    return True


# Prepare buffers for a read of that many bytes, as far as the budget and the cap of the flow allow; return how many.
cdef uint32_t frames_for(Shard* shard, const Flow* flow, uint32_t wanted, Buf** bufs, iovec* parts) noexcept nogil:
    cdef uint32_t n = 0, part
    while wanted != 0 and n < BULK_FRAMES and flow_has_room(flow, n + 1):
        bufs[n] = buf_alloc(&shard.pool, BUF_LARGEST, False)
        if bufs[n] == NULL:
            break
        part = wanted if wanted < WIRE_BODY_MAX - WIRE_RECORD else WIRE_BODY_MAX - WIRE_RECORD
        parts[n].iov_base = buf_data(bufs[n]) + WIRE_PREFIX + WIRE_RECORD
        parts[n].iov_len = part
        wanted -= part
        n += 1
    return n


# Note what a read of at most `asked` bytes shows about the application's socket.
cdef void note_read(Worker* self, Stream* stream, ssize_t got, uint32_t asked) noexcept nogil:
    if got > 0:
        # A stream that only its credit limits is bulk too, however small the steps of the credit are.
        stream.bulk = got >= EDGE_BULK or <uint64_t>got == credit_left(&stream.tx)
        if <uint32_t>got < asked and stream.input == IN_OPEN:
            stream.readable = False
    elif got == 0 and stream.broken != BREAK_TAKEN:
        stream.input = IN_ENDED
        stream.readable = False
    elif got < 0 and errno == EAGAIN and stream.broken == BREAK_NONE:
        stream.readable = False
        if stream.input == IN_HANGUP:
            stream.input = IN_OPEN
    elif got == 0 or errno != EINTR:
        edge_read_failed(&self.shard, stream)
    counter_add(&self.shard.stats.count[COUNT_SYSTEM_CALLS], 1)


# Queue the stream again if there is more to read, or its end to send.
cdef inline void read_on(Shard* shard, Stream* stream) noexcept nogil:
    if stream.life == LIFE_LIVE and (stream.input == IN_ENDED or records_may_read(stream, WIRE_BODY_MAX) != 0):
        edge_ready(shard, stream)


# A frame is sent as a whole, so on a slow lane it is no larger than what the lane is sealed ahead.
cdef inline uint32_t bulk_room(const Flow* flow, uint32_t used) noexcept nogil:
    cdef uint32_t ahead = flow_lane(flow).ahead
    return ahead if ahead < WIRE_BODY_MAX - used else WIRE_BODY_MAX - used


# Encode the records of one stream, with its data if may_read; return their size in bytes.
cdef uint32_t serve_stream(Worker* self, Stream* stream, uint8_t* p, uint32_t room, bint may_read) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef uint32_t used = 0
    cdef uint32_t asked
    cdef ssize_t got
    cdef bint gone = False
    if stream.say != 0:
        used = records_tx(shard, stream, p, &gone)
        if gone:
            edge_bury(shard, stream)
            return used
    asked = records_may_read(stream, room - used - BUNDLE_SPARE) if may_read else 0
    if asked != 0:
        got = recv(stream.handle.fd, p + used + WIRE_RECORD, asked, 0)
        note_read(self, stream, got, asked)
        if got > 0:
            used += records_data(shard, stream, p + used, <uint32_t>got)
        if stream.life != LIFE_LIVE:
            return used
    if stream.input == IN_ENDED:
        used += records_fin(shard, stream, p + used)
        if stream.broken != BREAK_NONE and stream.broken != BREAK_LEFT:
            # The application ended in order; data sent to it afterwards caused the reset.
            edge_abort(shard, stream, CODE_ABORTED, CAUSE_APPLICATION_RESET)
        edge_check_done(shard, stream)
    else:
        read_on(shard, stream)
    return used
