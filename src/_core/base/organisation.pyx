from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from pcgrelay._core.base.atomics cimport atomic_add, counter_get, shared_spend
from pcgrelay._core.base.bucket cimport bucket_has


cdef Organisation* organisation_new(uint64_t number, uint32_t workers) noexcept nogil:
    cdef Organisation* self = <Organisation*>calloc(1, sizeof(Organisation))
    if self == NULL:
        return NULL
    self.holdings = <Holding*>calloc(workers, sizeof(Holding))
    self.shares = <Share*>calloc(STATS_SERVICES, sizeof(Share))
    if self.holdings == NULL or self.shares == NULL:
        free(self.holdings)
        free(self.shares)
        free(self)
        return NULL
    self.references = 1
    self.number = number
    return self


cdef Organisation* organisation_hold(Organisation* self) noexcept nogil:
    if self != NULL:
        atomic_add(&self.references, 1)
    return self


cdef void organisation_drop(Organisation* self) noexcept nogil:
    if self != NULL and atomic_add(&self.references, -1) == 0:
        free(self.holdings)
        free(self.shares)
        free(self)


cdef inline uint64_t* budget_of(Organisation* self, int export) noexcept nogil:
    return &self.refused_us if export < 0 else &self.unanswered_us[export % OPENS_PLACES]


cdef bint organisation_may_open(const Organisation* self, int export, uint64_t now_us) noexcept nogil:
    cdef uint64_t until_us
    if self == NULL:
        return True
    until_us = counter_get(budget_of(<Organisation*>self, export))
    return bucket_has(until_us, now_us, OPENS_AT_ONCE, OPENS_EACH_US)


cdef void organisation_unanswered(Organisation* self, int export, uint64_t now_us) noexcept nogil:
    if self != NULL:
        shared_spend(budget_of(self, export), now_us, OPENS_EACH_US,
                     <uint64_t>OPENS_AT_ONCE * OPENS_EACH_US + OPENS_DEBT_US)


cdef bint organisation_bears(Organisation* self, uint64_t now_us) noexcept nogil:
    if self == NULL:
        return True
    shared_spend(&self.beyond_us, now_us, BEYOND_EACH_US, <uint64_t>(BEYOND_AT_ONCE + 1) * BEYOND_EACH_US)
    return bucket_has(counter_get(&self.beyond_us), now_us, BEYOND_AT_ONCE + 1, BEYOND_EACH_US)
