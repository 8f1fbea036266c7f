from libc.stdint cimport uint32_t, uint64_t, uint8_t

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.buf cimport BUF_LARGEST
from pcgrelay._core.base.linux cimport EAGAIN, EINTR, MSG_NOSIGNAL, errno, recv, send
from pcgrelay._core.base.queue cimport queue_own_counted, queue_push
from pcgrelay._core.base.result cimport RESULT_OK
from pcgrelay._core.base.stats cimport CAUSE_APPLICATION_RESET, CAUSE_BUDGET, COUNT_SETTLED_BYTES, COUNT_SYSTEM_CALLS
from pcgrelay._core.base.wire cimport CODE_ABORTED, CODE_BUSY
from pcgrelay._core.edge.direct cimport direct_fin, direct_moved
from pcgrelay._core.edge.lists cimport edge_bury, edge_dirty, edge_ready
from pcgrelay._core.edge.streams cimport edge_abort, edge_break, edge_dropped, edge_read_failed, edge_wrote
from pcgrelay._core.stream.stream_list cimport StreamList, list_pop
from pcgrelay._core.stream.stream cimport (
    BREAK_LEFT, BREAK_NONE, BREAK_TAKEN, DIAL_NONE, IN_ENDED, IN_HANGUP, IN_OPEN, LIFE_LIVE, Stream,
)
from pcgrelay._core.worker.worker cimport WORKER_READS, WORKER_SLOT, Worker


cdef void direct_io_serve(Worker* self) noexcept nogil:
    cdef StreamList due = self.shard.direct_ready
    cdef Stream* stream
    self.shard.direct_ready.head = self.shard.direct_ready.tail = NULL
    while True:
        stream = list_pop(&due)
        if stream == NULL:
            return
        if stream.life != LIFE_LIVE:
            edge_bury(&self.shard, stream)
        elif stream.partner != NULL:
            serve(self, stream)


# A few reads, so that bulk does not stand before lanes; nothing while the partner has not written what came before.
cdef void serve(Worker* self, Stream* stream) noexcept nogil:
    cdef Stream* partner = stream.partner
    cdef ssize_t got
    cdef int _
    if partner.dial != DIAL_NONE or stream.dial != DIAL_NONE:
        return
    if stream.broken != BREAK_NONE and partner.broken != BREAK_NONE:
        # What either has sent is for nobody.
        edge_abort(&self.shard, stream, CODE_ABORTED, CAUSE_APPLICATION_RESET)
        return
    for _ in range(WORKER_READS):
        if not may_read(stream, partner) or stream.input == IN_ENDED:
            break
        got = recv(stream.handle.fd, self.space, WORKER_SLOT, 0)
        note_read(self, stream, got)
        if stream.life != LIFE_LIVE:
            return
        if got > 0:
            pass_on(self, stream, partner, self.space, <uint32_t>got)
        if stream.partner == NULL:
            # Its end came while it was written to: what is left of this half is served no more.
            return
    if stream.life != LIFE_LIVE or stream.partner == NULL:
        return
    if stream.input == IN_ENDED:
        direct_fin(&self.shard, stream)
    elif may_read(stream, partner):
        edge_ready(&self.shard, stream)


# What comes for a partner that was let go is read all the same, and dropped: its end is behind it.
cdef inline bint may_read(const Stream* stream, const Stream* partner) noexcept nogil:
    return stream.readable and partner.out.count == 0 \
        and (partner.broken == BREAK_NONE or partner.broken == BREAK_LEFT)


# What a read says of the socket.
cdef void note_read(Worker* self, Stream* stream, ssize_t got) noexcept nogil:
    counter_add(&self.shard.stats.count[COUNT_SYSTEM_CALLS], 1)
    if got > 0:
        if got < WORKER_SLOT and stream.input == IN_OPEN:
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


# What the partner's socket does not take at once is kept, and nothing more is read before it is gone.
cdef void pass_on(Worker* self, Stream* stream, Stream* partner, uint8_t* data, uint32_t n) noexcept nogil:
    cdef ssize_t sent = 0
    cdef bint broken = False
    direct_moved(&self.shard, stream, n)
    if partner.broken == BREAK_LEFT:
        edge_dropped(&self.shard, partner, n)
        return
    if partner.writable:
        sent = send(partner.handle.fd, data, n, MSG_NOSIGNAL)
        counter_add(&self.shard.stats.count[COUNT_SYSTEM_CALLS], 1)
        if sent < 0:
            broken = errno != EAGAIN and errno != EINTR
            partner.writable = errno == EINTR
            sent = 0
        if sent > 0:
            edge_wrote(&self.shard, partner, <uint64_t>sent)
    if sent == n:
        return
    if not keep(self, partner, data + sent, n - <uint32_t>sent):
        # What it was given borrows the receive space, and goes with it.
        edge_abort(&self.shard, partner, CODE_BUSY, CAUSE_BUDGET)
    elif broken:
        # An answer may wait in its socket all the same.
        edge_break(&self.shard, partner, BREAK_TAKEN)
    else:
        # The kernel tells when it has room only to who was told that it has none.
        edge_dirty(&self.shard, partner)


# Copy bytes to be written, in spans that fit a buffer. False: no memory.
cdef bint keep(Worker* self, Stream* stream, uint8_t* data, uint32_t n) noexcept nogil:
    cdef uint32_t first = 0, part
    while n != 0:
        part = n if n < BUF_LARGEST else BUF_LARGEST
        if queue_push(&stream.out, &self.shard.pool, data, part, NULL, NULL) != RESULT_OK:
            return False
        data += part
        n -= part
    return queue_own_counted(&stream.out, &self.shard.pool, False, &first,
                             &self.shard.stats.count[COUNT_SETTLED_BYTES]) == RESULT_OK


cdef void direct_io_written(Worker* self, Stream* stream) noexcept nogil:
    if stream.partner != NULL and stream.out.count == 0 and stream.life == LIFE_LIVE:
        edge_ready(&self.shard, stream.partner)
