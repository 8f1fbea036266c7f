# The relay's role: frames of a path go from one link to another. Only the label is replaced, in place. A relay knows
# paths, not streams; what waits for a slow neighbour is limited for each flow.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.base.buf cimport Buf
from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.link.shard cimport Lane, Shard, UdpLane
from pcgrelay._core.base.queue cimport Account
from pcgrelay._core.base.result cimport Result
from pcgrelay._core.base.map cimport map_find, map_next


# One direction of a path.
cdef struct PathEnd:
    Path* path
    PathEnd* next_out           # with the same hash in Shard.outs
    Account* accounts           # owned: one for each lane index of this worker, then one more for its datagrams
    uint8_t* lost               # owned: LOST was sent, or is owed, until a RESUME passes
    uint32_t slots
    uint32_t in_link
    uint32_t in_label
    uint32_t out_link
    uint32_t out_label

cdef struct Path:
    PathEnd ends[2]
    Path* next_dying
    uint32_t number
    uint32_t priority


# Iterate over the paths of a relay: the next one, or NULL; *at starts at 0.
cdef inline Path* path_next(const Shard* shard, uint32_t* at) noexcept nogil:
    return <Path*>map_next(&shard.paths, at)

cdef inline Path* path_find(const Shard* shard, uint32_t number) noexcept nogil:
    return <Path*>map_find(&shard.paths, number)

# The account of a slot's frames. Datagrams have their own: a burst of them takes no room of what is never sent again.
cdef inline Account* end_account(PathEnd* self, uint32_t slot, bint datagrams) noexcept nogil:
    return &self.accounts[slot + self.slots if datagrams else slot]

# Forward between two links for the lanes of this worker; cap is for each flow and direction. RESULT_NO_MEMORY:
# nothing was added.
cdef Result relay_path_add(Shard* shard, uint32_t number, uint32_t a_link, uint32_t a_in, uint32_t a_out,
                           uint32_t b_link, uint32_t b_in, uint32_t b_out, uint64_t cap, uint32_t priority,
                           uint32_t lanes) noexcept nogil
cdef void relay_path_remove(Shard* shard, uint32_t number) noexcept nogil

# Forward a whole frame of a flow, its header in clear. owner: the buffer it lies in; NULL: the receive space. Datagrams
# that cannot be forwarded are dropped and counted, and nothing is lost with them: no LOST is sent.
cdef Result relay_frame(Shard* shard, Lane* lane, const Frame* frame, uint8_t* wire, Buf* owner) noexcept nogil

# Forward a frame of datagrams that came by a UDP lane, in the same way. Its bytes are copied.
cdef void relay_packet(Shard* shard, const UdpLane* lane, const Frame* frame, uint8_t* wire) noexcept nogil

# Handle a LOST of the neighbour: a path is lost behind it.
cdef Result relay_lost(Shard* shard, Lane* lane, uint32_t label, uint32_t code) noexcept nogil

# Send LOST for the flows of a lane that was lost, with all frames in flight on it, whether or not another frame of
# theirs follows.
cdef void relay_lane_down(Shard* shard, uint32_t link, uint32_t index) noexcept nogil

# A tick: send the LOST frames that found no room before.
cdef void relay_tell_owed(Shard* shard) noexcept nogil

# At the end of the turn, copy what is queued in the lane and borrowed. When memory is short, the link that holds most
# loses the newer half of what is queued in a lane, as often as necessary; but if it holds no more than twice what the
# lane's own link does, what was queued for the lane in this turn is dropped instead. LOST goes to the senders of what
# is dropped.
cdef void relay_own(Shard* shard, Lane* lane) noexcept nogil

# Free the removed paths that have nothing queued any more; all: also those that have.
cdef void relay_sweep(Shard* shard, bint all) noexcept nogil
