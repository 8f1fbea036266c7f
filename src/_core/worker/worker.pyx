from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.handle cimport Handle
from pcgrelay._core.base.linux cimport (
    EPOLL_CTL_DEL, MSG_NOSIGNAL, SHUT_RDWR, close, connect, epoll_ctl, epoll_event, msghdr, read, send, sendmsg,
    shutdown, sockaddr, write,
)
from pcgrelay._core.base.ports cimport ports_release
from pcgrelay._core.base.queue cimport Queue, iovec, queue_vectors
from pcgrelay._core.base.stats cimport COUNT_SYSTEM_CALLS


cdef enum:
    VECTORS = 64


cdef bint worker_watch(Worker* self, Handle* handle, uint32_t events, int op) noexcept nogil:
    cdef epoll_event event
    event.events = events
    event.data.ptr = handle
    return epoll_ctl(self.epoll_fd, op, handle.fd, &event) == 0


cdef void worker_close(Worker* self, Handle* handle, bint hard) noexcept nogil:
    if handle.fd < 0:
        return
    if handle.shared:
        worker_watch(self, handle, 0, EPOLL_CTL_DEL)
        if hard:
            disconnect(handle.fd)
        else:
            shutdown(handle.fd, SHUT_RDWR)
    close(handle.fd)
    handle.fd = -1
    handle.shared = False
    if handle.ring != NULL:
        ports_release(&self.shard.ports, handle.ring, handle.port, self.shard.now_us)
        handle.ring = NULL


cdef ssize_t worker_send(Worker* self, int fd, Queue* queue, uint64_t* asked) noexcept nogil:
    cdef iovec vectors[VECTORS]
    cdef msghdr message
    cdef uint32_t i
    cdef uint32_t n = queue_vectors(queue, vectors, VECTORS)
    counter_add(&self.shard.stats.count[COUNT_SYSTEM_CALLS], 1)
    asked[0] = 0
    for i in range(n):
        asked[0] += vectors[i].iov_len
    if n == 1:
        # A small message is one span: send() has less to copy and check than sendmsg().
        return send(fd, vectors[0].iov_base, vectors[0].iov_len, MSG_NOSIGNAL)
    memset(&message, 0, sizeof(message))
    message.msg_iov = vectors
    message.msg_iovlen = n
    return sendmsg(fd, &message, MSG_NOSIGNAL)


cdef void worker_reset(int fd) noexcept nogil:
    disconnect(fd)
    close(fd)


# SO_LINGER takes effect only when the last copy is closed; connect() to AF_UNSPEC resets at once.
cdef void disconnect(int fd) noexcept nogil:
    cdef sockaddr nobody
    memset(&nobody, 0, sizeof(nobody))
    connect(fd, &nobody, sizeof(nobody))


cdef void worker_wake(int fd) noexcept nogil:
    cdef uint64_t one = 1
    # A full counter still wakes; any other failure would mean a lost descriptor.
    if write(fd, &one, 8) < 0:
        return


cdef void worker_woken(int fd) noexcept nogil:
    cdef uint64_t count
    if read(fd, &count, 8) < 0:
        return
