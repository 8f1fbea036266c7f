# Reading and writing datagrams: many with one call.
from pcgrelay._core.link.mailbox cimport Order
from pcgrelay._core.stream.stream cimport Stream
from pcgrelay._core.worker.worker cimport Listener, Worker


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
