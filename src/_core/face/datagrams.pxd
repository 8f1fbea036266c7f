# What the face has of imports of datagrams.
from pcgrelay._core.face.workers cimport Workers


cdef class Datagrams(Workers):
    pass
