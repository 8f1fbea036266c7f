# The sending half of a lane (docs/protocol.md, sections 4 and 5).
#
# A frame waits in `pending` in clear, by class, and gets its hop number and seal only when it moves to `wire`, right
# before the system call: what is urgent overtakes what waits, and the order of hop numbers is the order of bytes.
from libc.stdint cimport uint32_t, uint64_t, uint8_t

from pcgrelay._core.base.buf cimport Buf
from pcgrelay._core.link.shard cimport Lane, Shard
from pcgrelay._core.base.queue cimport Account
from pcgrelay._core.base.result cimport Result


# Queue a frame of the lane's own.
cdef Result lane_tx(Shard* shard, Lane* lane, uint32_t type, const uint8_t* body, uint32_t length) noexcept nogil

# Say LOST for a flow of a known path; and, at a bounded rate, for a label that nobody gave.
cdef Result lane_tx_lost(Shard* shard, Lane* lane, uint32_t label, uint32_t code) noexcept nogil
cdef Result lane_tx_unknown(Shard* shard, Lane* lane, uint32_t label) noexcept nogil

# Queue a frame whose header lies in clear at p. With buf, one reference passes to the lane.
cdef Result lane_push(Shard* shard, Lane* lane, uint8_t* p, uint32_t n, Buf* buf, Account* account,
                      uint32_t priority) noexcept nogil
# The place in pending where frames of a priority wait.
cdef inline uint32_t lane_class(uint32_t priority) noexcept nogil:
    return 3 - priority if priority < 3 else 1

# What goes before a new frame of that priority.
cdef inline uint64_t lane_backlog(const Lane* lane, uint32_t priority) noexcept nogil:
    cdef uint32_t i
    cdef uint64_t bytes = lane.wire.bytes
    for i in range(1, lane_class(priority) + 1):
        bytes += lane.pending[i].bytes
    return bytes

# Seal headers and move frames to wire, until `ahead` bytes are there or nothing waits. Higher classes go first, but a
# lower one that waits gets a ninth of the lane at least: a peer that calls all it sends critical must not silence it.
cdef Result lane_fill(Shard* shard, Lane* lane) noexcept nogil

# n bytes were sent; full: the socket takes no more for now.
cdef inline void lane_sent(Shard* shard, Lane* lane, uint64_t n, bint full) noexcept nogil:
    lane.paced_bytes += n
    if not full:
        return
    lane.writable = False
    if not lane.clogged:
        # From here on it shows what it can carry.
        lane.clogged = True
        lane.paced_us = shard.now_us
        lane.paced_bytes = 0

# Measure the rate: how far ahead of the network a lane is sealed, in `ahead`. True: that has changed.
cdef bint lane_pace(Shard* shard, Lane* lane) noexcept nogil
