# Packets of UDP lanes: read and written, many with one call. What the system has joined of one peer's packets of one
# length (UDP_GRO) is parted again, and what leaves is given to it in one piece for each run of one length
# (UDP_SEGMENT): that, and not the number of calls, is what makes packets cheap.
from pcgrelay._core.link.mailbox cimport Order
from pcgrelay._core.link.shard cimport UdpSocket
from pcgrelay._core.worker.worker cimport Worker


# Take a socket; close one, and its UDP lanes with it.
cdef void udp_io_socket(Worker* self, Order* order) noexcept nogil
cdef void udp_io_socket_close(Worker* self, Order* order) noexcept nogil

# Make a UDP lane, begin to send by one, close one. What cannot be done is reported.
cdef void udp_io_lane(Worker* self, Order* order) noexcept nogil
cdef void udp_io_begin(Worker* self, const Order* order) noexcept nogil
cdef void udp_io_close(Worker* self, const Order* order) noexcept nogil

# Have epoll watch a socket. False: it refused.
cdef bint udp_io_watch(Worker* self, UdpSocket* socket) noexcept nogil

# Read a socket, at most WORKER_DATAGRAMS messages: epoll tells of the rest again.
cdef void udp_io_event(Worker* self, UdpSocket* socket) noexcept nogil

# Send what UDP lanes have for the end of a turn. What the system does not take is dropped, and counted.
cdef void udp_io_flush(Worker* self) noexcept nogil

# Close all sockets, and all UDP lanes before; no turn follows.
cdef void udp_io_stop(Worker* self) noexcept nogil
