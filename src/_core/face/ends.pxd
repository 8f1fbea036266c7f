from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.link.mailbox cimport StreamEndEvent


# Ends of applications' streams that were done as their ends wished, counted by kind and not told one by one: on an edge
# that opens thousands a second, a tuple and a call of Python for each would be a twentieth of its processor time.
cdef enum:
    ENDS_KINDS = 64             # what is of a further kind is told by itself
    ENDS_BUCKETS = 40           # of a time in us: the number of its bits, 2^39 us and more in the last

cdef struct EndsOfKind:
    int number                  # of the import (opener) or export
    uint32_t session            # 0: none
    bint opener
    uint32_t count
    uint64_t answered_us        # so long ago the one that was answered last was answered
    uint64_t sent_bytes
    uint64_t received_bytes
    uint64_t life_us            # the sum of their lives,
    uint64_t first_us           # and of the times to the first byte of the far side
    uint32_t lives[ENDS_BUCKETS]
    uint32_t firsts[ENDS_BUCKETS]

cdef struct Ends:
    uint32_t used
    EndsOfKind of_kind[ENDS_KINDS]

# False: it is to be told by itself.
cdef bint ends_count(Ends* self, const StreamEndEvent* end) noexcept nogil

# The events STREAMS_DONE of core.pyi.
cdef list ends_events(const Ends* self)
