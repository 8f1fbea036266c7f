# What the face has of the outlets of imports.
from libc.stdint cimport uint32_t

from pcgrelay._core.face.registry cimport MeterEntry
from pcgrelay._core.face.workers cimport Workers


cdef class Outlets(Workers):
    cdef MeterEntry _meter(self, uint32_t meter)
