# A lane: its states, receiving, and its ticks (docs/protocol.md, sections 4 and 5).
#
#   CONFIRMING --CONFIRM--> UP --DRAIN--> DRAINING        CLOSED from anywhere
from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t

from pcgrelay._core.base.buf cimport Buf
from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.link.shard cimport Lane, Link, Shard
from pcgrelay._core.base.result cimport Result


# The bytes read from a lane, and the frame in them that is to be handled.
ctypedef struct LaneInput:
    uint64_t part               # bytes that were read to the end of the partial frame, and fill at most that frame;
    uint8_t* p                  # n more bytes are here
    uint64_t n
    Frame frame
    uint8_t* wire               # the frame: its header in clear, its body sealed
    Buf* buf                    # its buffer, if it is not at p; lane_frame_done drops it
    Buf* owner                  # the buffer, if streams may keep references to it
    bint scarce                 # they may not: deliver what streams have of it before it is dropped

# Make a lane over fd and queue CONFIRM. NULL: no memory or libcrypto failed; fd is still the caller's.
cdef Lane* lane_start(Shard* shard, Link* link, int fd, uint16_t index, uint32_t number,
                      const uint8_t* secret) noexcept nogil

# Drop what is queued and wipe the keys; the caller closes the descriptor and frees the lane at the end of the turn.
cdef void lane_stop(Shard* shard, Lane* lane) noexcept nogil

# Find a frame in the n bytes at p, which follow all that was read before. RESULT_OK: a whole frame of *used bytes lies
# at p, its header decoded in *frame and in clear at p. RESULT_MORE: not a whole frame (use lane_keep). Else: close the
# lane. opened: the header at p is open already (it was kept).
cdef Result lane_next(Shard* shard, Lane* lane, uint8_t* p, uint64_t n, bint opened, Frame* frame,
                      uint64_t* used) noexcept nogil

# Keep the n bytes at p, the beginning of a frame; lane.partial_need: how many more bytes its prefix, or it, needs.
cdef Result lane_keep(Shard* shard, Lane* lane, const uint8_t* p, uint64_t n, const Frame* frame,
                      bint opened) noexcept nogil

# The next whole frame of the input. RESULT_MORE: there is none, and the rest is kept. Else: close the lane. is_edge:
# streams may keep the frame, but not if its buffer is from the reserve.
cdef Result lane_frame(Shard* shard, Lane* lane, LaneInput* input, bint is_edge) noexcept nogil

# Handle a frame of the lane itself: open its body and act. A LOST is opened, and left to the role in clear.
cdef Result lane_rx(Shard* shard, Lane* lane, const Frame* frame, uint8_t* wire) noexcept nogil

# Ignore a time in which this worker did not run: nothing could be received, so it is no silence of the peer.
cdef void lane_forgive(Shard* shard, Lane* lane, uint64_t away_us) noexcept nogil

# Apply a new probe interval: count silence from now, and send PING at the next tick.
cdef void lane_probe_restart(Shard* shard, Lane* lane) noexcept nogil

# The tick of a lane: PING, silence, the deadline of CONFIRM, re-keying.
cdef Result lane_tick(Shard* shard, Lane* lane) noexcept nogil
