# The lanes' side of a worker: read and take apart, send what the turn produced, begin and end.
from libc.stdint cimport uint32_t

from pcgrelay._core.link.shard cimport Lane, Link
from pcgrelay._core.link.mailbox cimport Order
from pcgrelay._core.base.result cimport Result
from pcgrelay._core.worker.worker cimport Worker


# A connected socket and its secret came: start the lane, or close the socket and say so.
cdef void lane_io_add(Worker* self, Order* order) noexcept nogil

# epoll told of the socket of a lane.
cdef void lane_io_event(Worker* self, Lane* lane, uint32_t events) noexcept nogil

# Read the lanes that had their share of the last turn with bytes left.
cdef void lane_io_read_on(Worker* self) noexcept nogil

# Send what the turn produced, for each lane with one system call as a rule; then settle what is borrowed.
cdef void lane_io_flush(Worker* self) noexcept nogil

# The tick of a lane, and of its socket.
cdef Result lane_io_tick(Worker* self, Lane* lane) noexcept nogil

# The code that goes with a reason to close a lane.
cdef uint32_t lane_io_code(Result reason) noexcept nogil

# Close a lane: say why if it can be said, tell the flows, the control plane and the counters.
cdef void lane_io_end(Worker* self, Lane* lane, Result reason, uint32_t code) noexcept nogil

# Close all lanes of a link and forget it.
cdef void lane_io_link_end(Worker* self, Link* link, uint32_t code) noexcept nogil
