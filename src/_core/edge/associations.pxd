# Associations: the streams of a service of datagrams. What each has of its own beside a stream: datagrams that wait for
# its flow, how long it lasts, and what became of each datagram.
#
# Reading never stops, and nothing is sent again. What does not fit is dropped: the oldest first, because for voice and
# for what repeats itself the newest is worth most. A datagram is counted once: as sent, as received or as dropped.
from libc.stdint cimport uint32_t, uint64_t, uint8_t

from pcgrelay._core.base.buf cimport Buf
from pcgrelay._core.base.stats cimport Cause
from pcgrelay._core.link.mailbox cimport StreamEndEvent
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.stream.service_tables cimport DatagramTerms
from pcgrelay._core.stream.stream cimport (
    LIFE_LIVE, STREAM_OPEN, STREAM_OPENING, Association, Stream,
)


cdef enum:
    ASSOCIATION_MOST = 64       # datagrams that wait, each way,
    ASSOCIATION_BYTES = 131072  # and their bytes
    ASSOCIATION_TURN = 8        # taken of one association before the next one's turn
    ASSOCIATION_KEPT = 4096     # a longer datagram is not kept for the next outlet
    # The exporter's end waits so much longer. Clients speak first, and the importer hears of it first: what it has sent
    # on meets an association that is still there.
    ASSOCIATION_LATER_US = 1000000


# Give the stream of a service of datagrams what it needs. False: no memory.
cdef bint association_begin(Shard* shard, Stream* stream, const DatagramTerms* terms) noexcept nogil

# Its stream ends: what waits in it is dropped. Before its queue of what comes for the socket is freed.
cdef void association_leave(Shard* shard, Stream* stream) noexcept nogil

# It has ended: say what became of its datagrams, and free it. end: NULL, if nobody is told.
cdef void association_end(Shard* shard, Stream* stream, StreamEndEvent* end) noexcept nogil

# Its set-up begins again, on another outlet: it leaves its flow, and what was kept of what it has sent goes first.
cdef void association_again(Shard* shard, Stream* stream) noexcept nogil

# Whether the far edge knows the stream, or learns of it by what is sent before: datagrams may follow.
cdef inline bint association_may_send(const Stream* stream) noexcept nogil:
    return stream.life == LIFE_LIVE and (stream.state == STREAM_OPEN or stream.state == STREAM_OPENING)

# Its set-up is led on no more: what was kept for that is freed.
cdef void association_forget(Shard* shard, Association* self) noexcept nogil

# Have what waits sent, now that OPEN or ACCEPT goes out, or the target's socket is there.
cdef void association_opened(Shard* shard, Stream* stream) noexcept nogil

# Queue a datagram that came from the socket, if it is within the rate of its service. n bytes at p are copied.
cdef void association_push(Shard* shard, Association* self, const uint8_t* p, uint32_t n) noexcept nogil

# Note that a datagram went either way.
cdef void association_use(Shard* shard, Association* self) noexcept nogil

# Drop one that is not in the queue; count it. NULL self: of no association.
cdef void association_drop(Shard* shard, Association* self, uint32_t cause) noexcept nogil

# Drop what has waited too long in the queues of a flow.
cdef void associations_expire(Shard* shard, Flow* flow) noexcept nogil

# Take the oldest datagram that may be sent, which is the caller's then. NULL: none waits.
cdef Buf* association_take(Shard* shard, Association* self) noexcept nogil

# One that was taken was sent. The buffer passes.
cdef void association_sent(Shard* shard, Association* self, Buf* buf) noexcept nogil

# One that was taken could not be sent, and is the oldest again. The buffer passes.
cdef void association_put_back(Association* self, Buf* buf) noexcept nogil

# Encode the records of datagrams that wait at p, oldest of each first and all associations in turn, and count them as
# sent. Returns the bytes used.
cdef uint32_t associations_fill(Shard* shard, Flow* flow, uint8_t* p, uint32_t room) noexcept nogil

# The same for a frame that goes by a UDP lane: of those alone whose OPEN the far edge has answered, or this one
# (docs/protocol.md, 7.3). 0: none waits that has room in so short a frame.
cdef uint32_t associations_pack(Shard* shard, Flow* flow, uint8_t* p, uint32_t room) noexcept nogil

# The room that associations_fill would use, up to most.
cdef uint32_t associations_room(const Flow* flow, uint32_t most) noexcept nogil

# So many bytes were written to the socket as one datagram.
cdef void association_wrote(Shard* shard, Stream* stream, uint32_t n) noexcept nogil

# When the association ends if nothing comes; the time may be over.
cdef inline uint64_t association_due(const Association* self) noexcept nogil:
    return self.traffic_us + (self.idle_us if self.answered else self.silent_us) \
        + (0 if self.stream.opener else ASSOCIATION_LATER_US)

# Use these terms from now on.
cdef inline void association_terms(Association* self, const DatagramTerms* terms) noexcept nogil:
    self.idle_us = terms.idle_us
    self.silent_us = terms.silent_us
    self.wait_us = terms.wait_us
