from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from pcgrelay._core.base.atomics cimport atomic_add, counter32_add, counter_add


cdef enum:
    LEAST_BITS = 6              # 64
    PART_BITS = 4               # sixteen parts of each octave


cdef Meter* meter_new(uint32_t outlets, uint32_t workers) noexcept nogil:
    cdef Meter* self = <Meter*>calloc(1, sizeof(Meter))
    if self == NULL:
        return NULL
    self.references = 1
    self.outlets = outlets
    self.workers = workers
    self.figures = <Figures*>calloc(<size_t>workers * outlets * 2, sizeof(Figures))
    if self.figures == NULL:
        free(self)
        return NULL
    return self


cdef Meter* meter_hold(Meter* self) noexcept nogil:
    if self != NULL:
        atomic_add(&self.references, 1)
    return self


cdef void meter_drop(Meter* self) noexcept nogil:
    if self == NULL or atomic_add(&self.references, -1) != 0:
        return
    free(self.figures)
    free(self)


cdef Figures* meter_at(Meter* self, uint32_t worker, uint32_t outlet, bint shadow) noexcept nogil:
    if self == NULL or worker >= self.workers or outlet >= self.outlets:
        return NULL
    return &self.figures[(worker * self.outlets + outlet) * 2 + (1 if shadow else 0)]


cdef uint32_t meter_bucket(uint64_t value) noexcept nogil:
    cdef uint32_t octave = 0, part
    if value < (1 << LEAST_BITS):
        return 0
    # Also a time that has begun in the future. No word can be shifted by as many bits as it has.
    if value >> LEAST_BITS >= 1 << (METER_BUCKETS >> PART_BITS):
        return METER_BUCKETS - 1
    while value >> (LEAST_BITS + octave + 1) != 0:
        octave += 1
    part = <uint32_t>(value >> (LEAST_BITS + octave - PART_BITS)) & ((1 << PART_BITS) - 1)
    return (octave << PART_BITS) + part


cdef void meter_count(Figures* self, uint32_t which, uint64_t n) noexcept nogil:
    if self != NULL:
        counter_add(&self.counts[which], n)


cdef void meter_observe(Figures* self, MeterHistogram which, uint64_t value) noexcept nogil:
    if self != NULL:
        counter32_add(&self.histograms[<int>which][meter_bucket(value)], 1)
