"""The limits of services, from rows of Python. Their contract is that of `Workers.bounds` (workers.pyi)."""
from libc.stdint cimport uint32_t

from pcgrelay._core.base.atomics cimport counter32_add, counter32_set
from pcgrelay._core.base.stats cimport STATS_SERVICES, Bounds, ServiceBounds, ServiceRate


cdef enum:
    FIGURES = 6                 # of a row, behind the number


# Figures that are left out are 0. Answers whether a time has changed. rate: NULL: there is none.
cdef bint set_service(ServiceBounds* self, ServiceRate* rate, list figures) except -1:
    cdef uint32_t streams, of_each, each_second, idle_s, lasts_s, rate_bytes
    streams, of_each, each_second, idle_s, lasts_s, rate_bytes = (figures + FIGURES * [0])[:FIGURES]
    cdef bint timed = self.idle_s != idle_s or self.lasts_s != lasts_s
    counter32_set(&self.streams, streams)
    counter32_set(&self.of_each, of_each)
    counter32_set(&self.each_second, each_second)
    counter32_set(&self.idle_s, idle_s)
    counter32_set(&self.lasts_s, lasts_s)
    if rate != NULL:
        counter32_set(&rate.bytes, rate_bytes)
    return timed


# How many services have times, and how many a rate: what looks at neither costs nothing where there are none.
cdef void count(Bounds* self) noexcept:
    cdef uint32_t i
    cdef uint32_t timed = 0
    cdef uint32_t rated = 0
    for i in range(STATS_SERVICES):
        timed += self.of_import[i].idle_s != 0 or self.of_import[i].lasts_s != 0
        timed += self.of_export[i].idle_s != 0 or self.of_export[i].lasts_s != 0
        rated += self.rate_of_import[i].bytes != 0
        rated += self.rate_of_export[i].bytes != 0
    counter32_set(&self.timed, timed)
    counter32_set(&self.rated, rated)


cdef bounds_set(Bounds* self, imports, exports, uint32_t descriptors, organisation):
    cdef bint timed = False
    cdef uint32_t i
    set_service(&self.of_peer, NULL, [organisation[0], 0, organisation[1]])
    counter32_set(&self.descriptors, descriptors)
    for number, *figures in imports:
        if number < STATS_SERVICES:
            i = number
            timed |= set_service(&self.of_import[i], &self.rate_of_import[i], figures)
    for number, *figures in exports:
        if number < STATS_SERVICES:
            i = number
            timed |= set_service(&self.of_export[i], &self.rate_of_export[i], figures)
    count(self)
    if timed:
        counter32_add(&self.times, 1)
