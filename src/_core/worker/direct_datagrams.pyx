from libc.stdint cimport uint32_t, uint8_t

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.buf cimport Buf, buf_data, buf_drop
from pcgrelay._core.base.linux cimport (
    EAGAIN, EINTR, EMSGSIZE, ENOBUFS, ENOMEM, MSG_NOSIGNAL, MSG_TRUNC, errno, send,
)
from pcgrelay._core.base.stats cimport COUNT_SYSTEM_CALLS, DROP_QUEUE, DROP_TOO_LONG, DROP_UNREACHABLE
from pcgrelay._core.edge.associations cimport (
    association_drop, association_put_back, association_sent, association_take, association_use,
)
from pcgrelay._core.edge.datagrams cimport datagrams_answered
from pcgrelay._core.stream.stream cimport LIFE_LIVE, Association, stream_is_pending
from pcgrelay._core.worker.datagram_io cimport datagram_io_flush, datagram_io_put, datagram_io_receive
from pcgrelay._core.worker.datagram_sockets cimport datagram_dial, datagram_overflows_of
from pcgrelay._core.worker.dial cimport dial_give_up


cdef void direct_datagrams_deliver(Worker* self, Stream* stream) noexcept nogil:
    cdef Association* association
    cdef Buf* buf
    if stream.handle.fd < 0:
        datagram_dial(self, stream)
    while stream.life == LIFE_LIVE and stream.handle.fd >= 0 and stream.partner != NULL:
        association = stream.partner.association
        buf = NULL if association == NULL else association_take(&self.shard, association)
        if buf == NULL:
            return
        write(self, stream, association, buf)


cdef void write(Worker* self, Stream* stream, Association* association, Buf* buf) noexcept nogil:
    cdef ssize_t sent = -1
    cdef int error = EINTR
    while sent < 0 and error == EINTR:
        sent = send(stream.handle.fd, buf_data(buf), buf.length, MSG_NOSIGNAL)
        error = errno
        counter_add(&self.shard.stats.count[COUNT_SYSTEM_CALLS], 1)
    if sent >= 0:
        association_sent(&self.shard, association, buf)
        return
    if error == EAGAIN or error == ENOBUFS or error == ENOMEM:
        drop(self, association, buf, DROP_QUEUE)
    elif error == EMSGSIZE:
        drop(self, association, buf, DROP_TOO_LONG)
    else:
        # ICMP has told of the target, by one that was sent before, or this node's own rules forbid it.
        if stream_is_pending(stream.partner):
            association_put_back(association, buf)
        else:
            drop(self, association, buf, DROP_UNREACHABLE)
        dial_give_up(self, stream, error)


cdef void drop(Worker* self, Association* association, Buf* buf, uint32_t cause) noexcept nogil:
    association_drop(&self.shard, association, cause)
    buf_drop(&self.shard.pool, buf)


cdef void direct_datagrams_event(Worker* self, Stream* stream) noexcept nogil:
    cdef Stream* opener = stream.partner
    cdef int n = datagram_io_receive(self, stream.handle.fd)
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
        to_client(self, opener, <uint32_t>i)
    # The space that they were read to is used again.
    datagram_io_flush(self)
    if n > 1:
        # Some waited there: perhaps more came than it had room for.
        datagram_overflows_of(self, stream, opener.association)


cdef void to_client(Worker* self, Stream* opener, uint32_t i) noexcept nogil:
    association_use(&self.shard, opener.association)
    datagrams_answered(&self.shard, opener.association)
    if self.datagrams.inward[i].msg_hdr.msg_flags & MSG_TRUNC:
        association_drop(&self.shard, opener.association, DROP_TOO_LONG)
        return
    datagram_io_put(self, opener, <const uint8_t*>self.datagrams.in_vectors[i].iov_base,
                    self.datagrams.inward[i].msg_len)
