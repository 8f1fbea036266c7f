from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.link.mailbox cimport StreamEndEvent


# Ends of applications' streams that were done as their ends wished, counted by kind and not told one by one: on an edge
# that opens thousands a second, a tuple and a call of Python for each would be a twentieth of its processor time.
cdef enum:
    ENDS_KINDS = 64             # what is of a further kind is told by itself

cdef struct EndsOfKind:
    int number                  # of the import (opener) or export
    uint32_t session            # 0: none
    bint opener
    uint32_t count
    uint64_t answered_us        # so long ago the one that was answered last was answered

cdef struct Ends:
    uint32_t used
    EndsOfKind of_kind[ENDS_KINDS]

# False: it is to be told by itself.
cdef bint ends_count(Ends* self, const StreamEndEvent* end) noexcept nogil

# The events STREAMS_DONE of core.pyi.
cdef list ends_events(const Ends* self)
