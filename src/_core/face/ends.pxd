from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.base.stats cimport DROP_CAUSES
from pcgrelay._core.link.mailbox cimport StreamEndEvent


# Ends of applications' streams that were done as their ends wished, counted by kind and not told one by one: on an edge
# that opens thousands a second, or is asked for as many names, a tuple and a call of Python for each would be a
# twentieth of its processor time. Where there is an audit log, what differs between those of a kind goes along, and
# face/end_bodies makes its lines.
cdef enum:
    ENDS_KINDS = 64             # what is of a further kind is told by itself
    ENDS_BUCKETS = 40           # of a time in us: the number of its bits, 2^39 us and more in the last
    ENDS_DETAILS = 512          # what is beyond that is told by itself

# What differs between the ends of one kind.
cdef struct EndDetails:
    uint64_t sent_bytes
    uint64_t received_bytes
    uint64_t open_us
    uint64_t sent_datagrams     # these, and dropped: of an association
    uint64_t received_datagrams
    uint32_t setup_us
    uint32_t id_head            # as in StreamEndEvent
    uint32_t flow
    uint32_t stream
    uint32_t dropped[DROP_CAUSES]
    uint8_t moved
    uint8_t remote
    uint8_t datagram            # it was an association

cdef struct EndsOfKind:
    int number                  # of the import (opener) or export
    uint32_t session            # 0: none
    uint8_t outlet
    uint32_t service_length
    uint8_t service[64]
    bint opener
    bint datagram               # they were associations
    uint32_t code               # these three: as in StreamEndEvent
    uint32_t cause
    bint remote
    bint answered               # something came back to their openers
    uint32_t count
    uint64_t answered_us        # so long ago the one that was answered last was answered
    uint64_t sent_bytes
    uint64_t received_bytes
    uint64_t life_us            # the sum of their lives,
    uint64_t first_us           # and of the times to the first byte of the far side
    uint32_t lives[ENDS_BUCKETS]
    uint32_t firsts[ENDS_BUCKETS]
    uint64_t sent_datagrams
    uint64_t received_datagrams
    uint64_t dropped[DROP_CAUSES]

cdef struct Ends:
    uint32_t used
    EndsOfKind of_kind[ENDS_KINDS]
    bint whole                  # what was done is told one by one
    bint detailed
    bint crowded                # associations that made room for others are counted
    uint32_t known              # details
    EndDetails details[ENDS_DETAILS]
    uint8_t kind_of[ENDS_DETAILS]

cdef void ends_begin(Ends* self, bint whole, bint detailed, bint crowded) noexcept nogil

# False: it is to be told by itself.
cdef bint ends_count(Ends* self, const StreamEndEvent* end) noexcept nogil

# The events STREAMS_DONE of core.pyi.
cdef list ends_events(const Ends* self)
