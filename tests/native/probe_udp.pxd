# UDP lanes as Python sees them.
from pcgrelay._core.link.shard cimport Link, Shard, UdpLane
from pcgrelay._core.link.udp_probes cimport UdpProbes


cdef class Probes:
    cdef UdpProbes own

cdef class UdpEnd:
    cdef Shard* shard
    cdef Link* link

    cdef UdpLane* _lane(self, int number) except NULL
