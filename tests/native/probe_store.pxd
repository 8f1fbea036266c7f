# A pool that Python may hold, for the other faces.
from pcgrelay._core.base.buf cimport Buf, Pool as CorePool


cdef class Pool:
    cdef CorePool pool
    cdef dict buffers           # handle -> references that Python holds
    cdef Buf* buffer(self, size_t handle) except NULL
