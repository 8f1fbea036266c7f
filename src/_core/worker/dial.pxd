# Connections to targets, and the socket options of application connections. A target's addresses are tried in order
# (RFC 8305, section 5): the next one starts EDGE_NEXT_US after the one before, or at once if that fails. The first that
# connects is used, the others are closed. One deadline covers all of them.
from libc.stdint cimport uint32_t

from pcgrelay._core.base.atomics cimport counter32_get
from pcgrelay._core.stream.stream cimport Dial, Stream
from pcgrelay._core.worker.worker cimport Worker


# Set the options of every application connection: TCP keep-alive finds a machine that is gone, the connection of an
# edge that is killed is reset, and urgent data stay in their place in the stream.
cdef void dial_tune(Worker* self, int fd) noexcept nogil

# Set what the application sees when the socket is closed: a reset if hard, else a clean end. Every application socket
# is hard from the start until both directions have ended by FIN, so that a killed process resets it too.
cdef void dial_end_as(int fd, bint hard) noexcept nogil

# Whether a new descriptor is one of those reserved for the control plane: the system gives the least free number, so
# the number shows how many are in use.
cdef inline bint dial_is_kept_back(const Worker* self, int fd) noexcept nogil:
    cdef uint32_t first = 0 if self.shard.bounds == NULL else counter32_get(&self.shard.bounds.descriptors)
    return 0 < first <= <uint32_t>fd

# Try the next address of the target. error: why the last one failed, or 0.
cdef void dial_next(Worker* self, Stream* stream, int error) noexcept nogil

# Handle an epoll event of a socket that is being connected: the stream's own, or one tried in parallel.
cdef void dial_told(Worker* self, Stream* stream, uint32_t events) noexcept nogil
cdef void dial_beside_told(Worker* self, Dial* dial, uint32_t events) noexcept nogil

# Close the connections that are tried in parallel with the stream's own.
cdef void dial_drop(Worker* self, Stream* stream) noexcept nogil
