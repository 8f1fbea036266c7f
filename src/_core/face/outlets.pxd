# What the face has of the outlets of imports.
from libc.stdint cimport uint32_t

from pcgrelay._core.face.datagrams cimport Datagrams
from pcgrelay._core.face.registry cimport MeterEntry


cdef class Outlets(Datagrams):
    cdef MeterEntry _meter(self, uint32_t meter)
