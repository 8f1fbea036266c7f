# What the face has of UDP lanes: their sockets, their numbers, and the tokens by which packets name them.
from libc.stdint cimport uint32_t

from pcgrelay._core.face.outlets cimport Outlets
from pcgrelay._core.face.registry cimport LinkEntry


cdef class UdpLanes(Outlets):
    cdef LinkEntry _link(self, uint32_t link)
