# What the face has of UDP lanes: their sockets, their numbers, and the tokens by which packets name them.
from libc.stdint cimport uint16_t, uint32_t

from pcgrelay._core.face.outlets cimport Outlets
from pcgrelay._core.face.registry cimport LinkEntry
from pcgrelay._core.link.mailbox cimport Order


cdef class UdpLanes(Outlets):
    cdef dict _udp_sockets      # number -> (worker, family)
    cdef uint32_t _udp_serial   # the number of the last socket

    cdef LinkEntry _link(self, uint32_t link)
    cdef dict _sockets(self)
    cdef LinkEntry _udp_place(self, uint32_t link, uint32_t index, uint32_t socket)
    cdef uint32_t _udp_open(self, LinkEntry entry, Order* order) except 0
