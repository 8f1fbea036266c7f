# Reading and writing datagrams: many with one call.
from libc.stdint cimport uint32_t, uint8_t

from pcgrelay._core.link.mailbox cimport Order
from pcgrelay._core.stream.stream cimport Stream
from pcgrelay._core.worker.worker cimport Listener, Worker


# How many datagrams were read of a socket, at most WORKER_DATAGRAMS, into the worker's space for them; less than 0:
# none, with errno. What was put and not written yet is written before.
cdef int datagram_io_receive(Worker* self, int fd) noexcept nogil

# The same, but what was read before may stay in the space until it is written with what other sockets bring: so the
# answers to many clients leave with one call. *first: the place of the first one; fewer are read where little is left.
cdef int datagram_io_receive_more(Worker* self, int fd, uint32_t* first) noexcept nogil

# Have n bytes at p written for the client of an association, or to its own socket, with the next flush: until then the
# bytes are borrowed.
cdef void datagram_io_put(Worker* self, Stream* stream, const uint8_t* p, uint32_t n) noexcept nogil

# Read what clients have sent to an import, at most WORKER_DATAGRAMS datagrams: epoll tells of the rest again.
cdef void datagram_io_clients(Worker* self, Listener* listener) noexcept nogil

# The same of an association's own socket; or the target cannot be reached.
cdef void datagram_io_event(Worker* self, Stream* stream) noexcept nogil

# Take what another worker has read by a socket of its own. The order's contents are freed.
cdef void datagram_io_batch(Worker* self, Order* order) noexcept nogil

# Connect an association that has no socket yet, and put what came for its socket with what is written next.
cdef void datagram_io_deliver(Worker* self, Stream* stream) noexcept nogil

# Write all that was put. What the system does not take is dropped.
cdef void datagram_io_flush(Worker* self) noexcept nogil

# Close the socket of an association that has ended.
cdef void datagram_io_close(Worker* self, Stream* stream) noexcept nogil

# Free what reading and writing need.
cdef void datagram_io_stop(Worker* self) noexcept nogil
