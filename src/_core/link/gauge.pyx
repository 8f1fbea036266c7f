from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from pcgrelay._core.base.atomics cimport atomic_add
from pcgrelay._core.base.organisation cimport organisation_drop
from pcgrelay._core.base.wire cimport WIRE_LANES_MAX


cdef Gauge* gauge_new(uint32_t slots, int references) noexcept nogil:
    cdef Gauge* self = <Gauge*>calloc(1, sizeof(Gauge))
    if self == NULL:
        return NULL
    self.values = <uint64_t*>calloc(slots, GAUGE_VALUES * sizeof(uint64_t))
    if self.values == NULL:
        free(self)
        return NULL
    self.slots = slots
    self.references = references
    return self


cdef void gauge_drop(Gauge* self) noexcept nogil:
    if self != NULL and atomic_add(&self.references, -1) == 0:
        organisation_drop(self.organisation)
        free(self.caller)
        free(self.values)
        free(self.udp)
        free(self)


cdef Gauge* gauge_hold(Gauge* self) noexcept nogil:
    atomic_add(&self.references, 1)
    return self


cdef bint gauge_udp_begin(Gauge* self) noexcept nogil:
    if self.udp == NULL:
        self.udp = <uint64_t*>calloc(WIRE_LANES_MAX, UDP_GAUGE_VALUES * sizeof(uint64_t))
    return self.udp != NULL
