# The applications' side of a worker: accept, connect, write what frames brought, close.
from libc.stdint cimport uint32_t

from pcgrelay._core.link.mailbox cimport Order, StreamOrder
from pcgrelay._core.stream.stream cimport Stream
from pcgrelay._core.worker.worker cimport Listener, Worker


# Accept waiting connections of a listener, at most WORKER_ACCEPTS.
cdef void app_accept(Worker* self, Listener* listener) noexcept nogil

# Whether a listener that was paused because descriptors were short may go on.
cdef bint app_has_room(Worker* self) noexcept nogil

# An application's socket for an import. order: NULL if it was accepted here; else what came with it.
cdef void app_adopt(Worker* self, uint32_t number, int fd, const StreamOrder* order) noexcept nogil

# Handle an epoll event of a stream's socket.
cdef void app_event(Worker* self, Stream* stream, uint32_t events) noexcept nogil

# Write what lanes brought to the applications, and do the other work of marked streams: connect, shut down, close.
# Borrowed bytes that are not written are copied.
cdef void app_deliver(Worker* self) noexcept nogil

# Streams' queues may borrow bytes of the receive space, or of a frame that is about to be dropped. Deliver before
# either is used again: what an application does not accept at once is copied.
cdef inline void app_deliver_lent(Worker* self) noexcept nogil:
    app_deliver(self)
    self.shard.lent = False

# Take a listening socket, or one of an import of datagrams; close those of an import, or all if number is -1.
cdef void app_listen(Worker* self, Order* order) noexcept nogil
cdef void app_unlisten(Worker* self, int number) noexcept nogil

# Close copies of other workers' sockets that no association needs.
cdef void app_forget(Worker* self) noexcept nogil

# Close those that accept connections. One of datagrams is needed by the associations that go on.
cdef void app_drain(Worker* self) noexcept nogil
