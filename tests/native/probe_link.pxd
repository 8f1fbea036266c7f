# A node that Python may hold, for the face of an edge.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.base.buf cimport Buf
from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.link.shard cimport Lane as CoreLane, Shard
from pcgrelay._core.base.result cimport Result


cdef class Lane:
    cdef CoreLane* lane         # NULL once it is closed
    cdef Node node
    cdef readonly object reason  # why it closed
    cdef bytes last             # what it said then

cdef class Node:
    cdef Shard* shard
    cdef dict lanes             # address of the core's lane -> Lane
    cdef bint is_edge           # what comes waits for readers

    # What the role does.
    cdef Result flow_frame(self, CoreLane* lane, Frame* frame, uint8_t* wire, Buf* owner)
    cdef Result path_lost(self, CoreLane* lane, uint32_t label, uint32_t code)
    cdef int lane_came(self, CoreLane* lane) except -1
    cdef int lane_went(self, CoreLane* lane, uint32_t code) except -1
    cdef int deliver(self) except -1

    cdef int tick_lanes(self) except -1
    cdef Result lane_feed(self, CoreLane* lane, uint8_t* p, uint64_t n)
    cdef Result rx_frame(self, CoreLane* lane, Frame* frame, uint8_t* wire, Buf* owner)
    cdef int lane_end(self, CoreLane* lane, Result reason, uint32_t code) except -1
    cdef int settle(self) except -1
    cdef int bury(self) except -1
