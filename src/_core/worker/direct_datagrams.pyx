from libc.stdint cimport uint32_t, uint8_t
from libc.string cimport memset

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.buf cimport Buf, buf_data, buf_drop
from pcgrelay._core.base.linux cimport (
    EAGAIN, EINTR, EMSGSIZE, ENOBUFS, ENOMEM, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_TRUNC, errno, iovec, mmsghdr, sendmmsg,
)
from pcgrelay._core.base.stats cimport (
    COUNT_DATAGRAM_WRITES, COUNT_SYSTEM_CALLS, DROP_QUEUE, DROP_RATE, DROP_TOO_LONG, DROP_UNREACHABLE,
)
from pcgrelay._core.edge.associations cimport (
    association_drop, association_put_back, association_sent, association_take, association_use,
)
from pcgrelay._core.edge.datagrams cimport datagrams_answered
from pcgrelay._core.edge.rates cimport rates_to_socket
from pcgrelay._core.stream.stream cimport LIFE_LIVE, Association, stream_is_pending
from pcgrelay._core.worker.datagram_io cimport datagram_io_put, datagram_io_receive_more
from pcgrelay._core.worker.datagram_sockets cimport datagram_dial, datagram_overflows_of
from pcgrelay._core.worker.dial cimport dial_give_up
from pcgrelay._core.worker.worker cimport WORKER_DATAGRAMS


# What one call writes of one association.
cdef struct Batch:
    mmsghdr messages[WORKER_DATAGRAMS]
    iovec vectors[WORKER_DATAGRAMS]
    Buf* bufs[WORKER_DATAGRAMS]
    uint32_t count


cdef void direct_datagrams_deliver(Worker* self, Stream* stream) noexcept nogil:
    cdef Association* association
    cdef Batch batch
    if stream.handle.fd < 0:
        datagram_dial(self, stream)
    while stream.life == LIFE_LIVE and stream.handle.fd >= 0 and stream.partner != NULL:
        association = stream.partner.association
        if association == NULL or association.first == NULL:
            return
        # A call that has sent some does not tell why it sent no more. Until the target is known to be there, this must
        # be heard: what was not sent goes to the next outlet.
        take(self, association, &batch, 1 if stream_is_pending(stream.partner) else <uint32_t>WORKER_DATAGRAMS)
        write(self, stream, association, &batch)


# What waits, and of what waits too long nothing.
cdef void take(Worker* self, Association* association, Batch* batch, uint32_t most) noexcept nogil:
    cdef Buf* buf
    batch.count = 0
    while batch.count < most:
        buf = association_take(&self.shard, association)
        if buf == NULL:
            return
        batch.bufs[batch.count] = buf
        batch.vectors[batch.count].iov_base = buf_data(buf)
        batch.vectors[batch.count].iov_len = buf.length
        memset(&batch.messages[batch.count], 0, sizeof(mmsghdr))
        batch.messages[batch.count].msg_hdr.msg_iov = &batch.vectors[batch.count]
        batch.messages[batch.count].msg_hdr.msg_iovlen = 1
        batch.count += 1


cdef void write(Worker* self, Stream* stream, Association* association, Batch* batch) noexcept nogil:
    cdef uint32_t at = 0
    cdef int _, n, error
    while at < batch.count:
        counter_add(&self.shard.stats.count[COUNT_SYSTEM_CALLS], 1)
        n = sendmmsg(stream.handle.fd, &batch.messages[at], batch.count - at, MSG_DONTWAIT | MSG_NOSIGNAL)
        error = errno
        if n > 0:
            counter_add(&self.shard.stats.count[COUNT_DATAGRAM_WRITES], 1)
            for _ in range(n):
                association_sent(&self.shard, association, batch.bufs[at])
                at += 1
        elif error == EAGAIN or error == ENOBUFS or error == ENOMEM:
            drop(self, association, batch.bufs[at], DROP_QUEUE)
            at += 1
        elif error == EMSGSIZE:
            drop(self, association, batch.bufs[at], DROP_TOO_LONG)
            at += 1
        elif error != EINTR:
            # ICMP has told of the target, by one that was sent before, or this node's own rules forbid it.
            give_up(self, stream, association, batch, at, error)
            return


# What was not sent waits again, for the next outlet or until the association has ended. If its set-up is over, the one
# that was refused is counted as that.
cdef void give_up(Worker* self, Stream* stream, Association* association, Batch* batch, uint32_t refused,
                  int error) noexcept nogil:
    cdef uint32_t at = batch.count
    cdef uint32_t kept = refused if stream_is_pending(stream.partner) else refused + 1
    while at > kept:
        at -= 1
        association_put_back(association, batch.bufs[at])
    if kept != refused:
        drop(self, association, batch.bufs[refused], DROP_UNREACHABLE)
    dial_give_up(self, stream, error)


cdef void drop(Worker* self, Association* association, Buf* buf, uint32_t cause) noexcept nogil:
    association_drop(&self.shard, association, cause)
    buf_drop(&self.shard.pool, buf)


cdef void direct_datagrams_event(Worker* self, Stream* stream) noexcept nogil:
    cdef Stream* opener = stream.partner
    cdef uint32_t first = 0
    cdef int n = datagram_io_receive_more(self, stream.handle.fd, &first)
    cdef int i
    if opener == NULL or opener.association == NULL:
        return
    if n < 0:
        if errno == EMSGSIZE:
            association_drop(&self.shard, opener.association, DROP_TOO_LONG)
        elif errno != EAGAIN and errno != EINTR:
            # ICMP has told of the target.
            dial_give_up(self, stream, errno)
        return
    for i in range(n):
        to_client(self, opener, first + <uint32_t>i)
    if n > 1:
        # Some waited there: perhaps more came than it had room for.
        datagram_overflows_of(self, stream, opener.association)


cdef void to_client(Worker* self, Stream* opener, uint32_t i) noexcept nogil:
    association_use(&self.shard, opener.association)
    datagrams_answered(&self.shard, opener.association)
    if self.datagrams.inward[i].msg_hdr.msg_flags & MSG_TRUNC:
        association_drop(&self.shard, opener.association, DROP_TOO_LONG)
        return
    if not rates_to_socket(&self.shard, opener, self.datagrams.inward[i].msg_len):
        association_drop(&self.shard, opener.association, DROP_RATE)
        return
    datagram_io_put(self, opener, <const uint8_t*>self.datagrams.in_vectors[i].iov_base,
                    self.datagrams.inward[i].msg_len)
