# The lanes' side of a worker: read and decode, send what the turn produced, start and close lanes.
from libc.stdint cimport uint32_t

from pcgrelay._core.link.shard cimport Lane, Link
from pcgrelay._core.link.mailbox cimport Order
from pcgrelay._core.base.result cimport Result
from pcgrelay._core.worker.worker cimport Worker


# Start a lane over a connected socket with its secret, or close the socket and report LANE_DOWN.
cdef void lane_io_add(Worker* self, Order* order) noexcept nogil

# Handle an epoll event of a lane's socket.
cdef void lane_io_event(Worker* self, Lane* lane, uint32_t events) noexcept nogil

# Read the lanes that used up their share of the last turn with bytes left.
cdef void lane_io_read_on(Worker* self) noexcept nogil

# Send what the turn produced, usually with one system call for each lane; then copy what is borrowed.
cdef void lane_io_flush(Worker* self) noexcept nogil

# The tick of a lane, and of its socket.
cdef Result lane_io_tick(Worker* self, Lane* lane) noexcept nogil

# The code in CLOSE for a reason to close a lane.
cdef uint32_t lane_io_code(Result reason) noexcept nogil

# Close a lane: send CLOSE if possible, inform its flows and the control plane, and count the reason.
cdef void lane_io_end(Worker* self, Lane* lane, Result reason, uint32_t code) noexcept nogil

# Close all lanes of a link and forget it.
cdef void lane_io_link_end(Worker* self, Link* link, uint32_t code) noexcept nogil
