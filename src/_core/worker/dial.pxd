# Connections to targets, and what every connection of an application has. A target's addresses are tried in their order
# as RFC 8305 has it: each has EDGE_NEXT_US to itself, then the next is tried beside it; one that fails is followed by
# the next at once. The first that connects is taken, the others are closed. The deadline is one for all of them.
from libc.stdint cimport uint32_t

from pcgrelay._core.stream.stream cimport Dial, Stream
from pcgrelay._core.worker.worker cimport Worker


# What every connection of an application has: one whose machine went without a word is found by TCP's own probes, one
# whose edge is killed is reset, and urgent data come in their place among the others.
cdef void dial_tune(Worker* self, int fd) noexcept nogil

# What the application sees when the socket is closed: a reset if hard, or else a clean end. Every application's socket
# is hard from its first moment until both directions ended by FIN, so that a killed process resets it too.
cdef void dial_end_as(int fd, bint hard) noexcept nogil

# Whether a new descriptor is one of those that the control plane needs: the system gives the least that is free, so
# its number says how many are in use.
cdef inline bint dial_is_kept_back(const Worker* self, int fd) noexcept nogil:
    return self.shard.bounds != NULL and 0 < self.shard.bounds.descriptors <= <uint32_t>fd

# Try the next address of the target. error: why the last one failed, or 0.
cdef void dial_next(Worker* self, Stream* stream, int error) noexcept nogil

# epoll told of a socket that is being connected: the stream's own, or one beside it.
cdef void dial_told(Worker* self, Stream* stream, uint32_t events) noexcept nogil
cdef void dial_beside_told(Worker* self, Dial* dial, uint32_t events) noexcept nogil

# Close the connections that are tried beside the stream's own.
cdef void dial_drop(Worker* self, Stream* stream) noexcept nogil
