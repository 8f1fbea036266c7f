# The limits of services, from rows of Python.
from libc.stdint cimport uint32_t

from pcgrelay._core.base.stats cimport Bounds


# Set the limits of the services that are named, as `Workers.bounds` has them; those of all others stay.
cdef bounds_set(Bounds* self, imports, exports, uint32_t descriptors, organisation)
