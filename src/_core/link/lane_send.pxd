# The sending half of a lane (docs/protocol.md, sections 4 and 5).
#
# A frame waits in `pending` in clear, by class. It gets its hop number and seal when it moves to `wire`, right before
# the system call: so urgent frames overtake waiting ones, and the order of hop numbers is the order of bytes.
from libc.stdint cimport uint32_t, uint64_t, uint8_t

from pcgrelay._core.base.buf cimport Buf
from pcgrelay._core.link.shard cimport Lane, Shard
from pcgrelay._core.base.queue cimport Account
from pcgrelay._core.base.result cimport Result


# Queue a frame of the lane itself.
cdef Result lane_tx(Shard* shard, Lane* lane, uint32_t type, const uint8_t* body, uint32_t length) noexcept nogil

# Send LOST: for a flow of a known path, and, at a limited rate, for an unknown label.
cdef Result lane_tx_lost(Shard* shard, Lane* lane, uint32_t label, uint32_t code) noexcept nogil
cdef Result lane_tx_unknown(Shard* shard, Lane* lane, uint32_t label) noexcept nogil

# Queue a frame whose header lies in clear at p. With buf, one reference passes to the lane.
cdef Result lane_push(Shard* shard, Lane* lane, uint8_t* p, uint32_t n, Buf* buf, Account* account,
                      uint32_t priority) noexcept nogil

# Note in a frame of datagrams that a relay has opened since when it waits.
cdef void lane_stamp(const Shard* shard, uint8_t* wire) noexcept nogil

# Have room for an edge's frame of that priority: the next lane_push of one does not fail. False: no memory.
cdef bint lane_reserve(Shard* shard, Lane* lane, uint32_t priority) noexcept nogil

# The class in pending of frames of a priority.
cdef inline uint32_t lane_class(uint32_t priority) noexcept nogil:
    return 3 - priority if priority < 3 else 1

# The bytes that go before a new frame of that priority.
cdef inline uint64_t lane_backlog(const Lane* lane, uint32_t priority) noexcept nogil:
    cdef uint32_t i
    cdef uint64_t bytes = lane.wire.bytes
    for i in range(1, lane_class(priority) + 1):
        bytes += lane.pending[i].bytes
    return bytes

# Seal headers and move frames to wire, until `ahead` bytes are there or nothing waits. Higher classes go first, but a
# lower class that waits gets at least a ninth of the lane: a peer that sends everything as critical must not block it.
cdef Result lane_fill(Shard* shard, Lane* lane) noexcept nogil

# Note that n bytes were sent; full: the socket accepts no more for now.
cdef inline void lane_sent(Shard* shard, Lane* lane, uint64_t n, bint full) noexcept nogil:
    lane.paced_bytes += n
    if not full:
        return
    lane.writable = False
    if not lane.clogged:
        # The lane is full: its rate can be measured from here on.
        lane.clogged = True
        lane.paced_us = shard.now_us
        lane.paced_bytes = 0

# Measure the rate, and set `ahead`: how far ahead of the network frames are sealed. True: it has changed.
cdef bint lane_pace(Shard* shard, Lane* lane) noexcept nogil
