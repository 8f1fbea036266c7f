# The life of a lane, hop by hop (docs/protocol.md, sections 4 and 5), what it receives, and its ticks.
#
#   CONFIRMING --CONFIRM--> UP --DRAIN--> DRAINING        CLOSED from anywhere
from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t

from pcgrelay._core.base.buf cimport Buf
from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.link.shard cimport Lane, Link, Shard
from pcgrelay._core.base.result cimport Result


# What was read of a lane, and the frame in it that is to be handled.
ctypedef struct LaneInput:
    uint64_t part               # bytes read to the end of the kept beginning of a frame, which fill at most that frame;
    uint8_t* p                  # n more lie here
    uint64_t n
    Frame frame
    uint8_t* wire               # the frame: its header in clear, its body sealed
    Buf* buf                    # what it lies in, if not at p: lane_frame_done drops it
    Buf* owner                  # that, if a stream may keep it
    bint scarce                 # it may not: deliver what streams have of it before it is dropped

# A new lane over fd; CONFIRM is queued. NULL: no memory or libcrypto failed; fd is still the caller's.
cdef Lane* lane_start(Shard* shard, Link* link, int fd, uint16_t index, uint32_t number,
                      const uint8_t* secret) noexcept nogil

# Drop what waits and wipe keys; the caller closes the descriptor and frees the lane at the end of the turn.
cdef void lane_stop(Shard* shard, Lane* lane) noexcept nogil

# Look at the n bytes at p, which follow all that was seen before. RESULT_OK: a whole frame of *used bytes lies at p,
# its header open in *frame and in clear at p. RESULT_MORE: the rest is too short (lane_keep it). Else: close the lane.
# opened: the header at p is open already (it was kept).
cdef Result lane_next(Shard* shard, Lane* lane, uint8_t* p, uint64_t n, bint opened, Frame* frame,
                      uint64_t* used) noexcept nogil

# Keep the n bytes at p, the beginning of a frame; lane.partial_need says how many more its prefix, or it, takes.
cdef Result lane_keep(Shard* shard, Lane* lane, const uint8_t* p, uint64_t n, const Frame* frame,
                      bint opened) noexcept nogil

# The next whole frame of the input. RESULT_MORE: there is none, and the rest is kept. Else: close the lane. is_edge:
# what comes is kept by readers, who may not have what lies in the reserve.
cdef Result lane_frame(Shard* shard, Lane* lane, LaneInput* input, bint is_edge) noexcept nogil

# A frame of the lane itself came: open its body and act. A LOST is opened and left to the role, in clear.
cdef Result lane_rx(Shard* shard, Lane* lane, const Frame* frame, uint8_t* wire) noexcept nogil

# This worker did not run for so long: nothing could be heard in that time, and it is no silence of the peer.
cdef void lane_forgive(Shard* shard, Lane* lane, uint64_t away_us) noexcept nogil

# The probe interval is another one: count silence from now, and say PING at the next tick.
cdef void lane_probe_restart(Shard* shard, Lane* lane) noexcept nogil

# The tick of a lane: PING, silence, the deadline of CONFIRM, re-keying.
cdef Result lane_tick(Shard* shard, Lane* lane) noexcept nogil
