"""What the face keeps of each link and session; the workers have the rest."""
from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.base.atomics cimport atomic_add
from pcgrelay._core.link.gauge cimport gauge_drop
from pcgrelay._core.crypto.lane_keys cimport lane_keys_wipe
from pcgrelay._core.base.organisation cimport organisation_drop
from pcgrelay._core.stream.meter cimport meter_drop


cdef class Entry:

    def __dealloc__(self):
        gauge_drop(self.gauge)

    cdef uint64_t renew(self, uint32_t workers):
        self.serial += 1
        self.missing = workers
        return self.serial

    # A report of an earlier attempt does not count for the last one.
    cdef bint is_renewed(self, uint64_t serial):
        if serial != self.serial:
            return False
        self.missing -= 1
        return self.missing == 0


cdef class LinkEntry(Entry):

    def __dealloc__(self):
        lane_keys_wipe(&self.keys)


cdef class OrganisationEntry:

    def __dealloc__(self):
        organisation_drop(self.organisation)

    cdef bint is_idle(self):
        return atomic_add(&self.organisation.references, 0) == 1


cdef class SessionEntry(Entry):
    pass


cdef class MeterEntry:

    def __dealloc__(self):
        meter_drop(self.meter)
