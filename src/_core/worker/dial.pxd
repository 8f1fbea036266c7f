# Connections to targets. A target's addresses are tried in order (RFC 8305, section 5): the next one starts
# EDGE_NEXT_US after the one before, or at once if that fails. The first that connects is used, the others are closed.
# One deadline covers all of them.
from libc.stdint cimport uint32_t

from pcgrelay._core.stream.stream cimport Dial, Stream
from pcgrelay._core.worker.worker cimport Worker


# End a stream whose target could not be reached, for this reason.
cdef void dial_give_up(Worker* self, Stream* stream, int error) noexcept nogil

# Try the next address of the target. error: why the last one failed, or 0.
cdef void dial_next(Worker* self, Stream* stream, int error) noexcept nogil

# Handle an epoll event of a socket that is being connected: the stream's own, or one tried in parallel.
cdef void dial_told(Worker* self, Stream* stream, uint32_t events) noexcept nogil
cdef void dial_beside_told(Worker* self, Dial* dial, uint32_t events) noexcept nogil

# Close the connections that are tried in parallel with the stream's own.
cdef void dial_drop(Worker* self, Stream* stream) noexcept nogil
