"""What the face keeps of each link and session; the workers have the rest."""
from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from pcgrelay._core.base.atomics cimport atomic_add
from pcgrelay._core.link.gauge cimport Gauge, gauge_drop
from pcgrelay._core.crypto.lane_keys cimport lane_keys_wipe
from pcgrelay._core.base.organisation cimport organisation_drop
from pcgrelay._core.stream.meter cimport meter_drop


cdef enum:
    CALLER_MOST = 1024


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


cdef session_name(Gauge* gauge, uint32_t id_head, bytes caller):
    cdef uint8_t* copy = NULL
    if len(caller) > CALLER_MOST:
        raise ValueError(f"who calls is said in at most {CALLER_MOST} bytes")
    if caller:
        copy = <uint8_t*>malloc(len(caller))
        if copy == NULL:
            raise MemoryError
        memcpy(copy, <const char*>caller, len(caller))
    free(gauge.caller)
    gauge.caller, gauge.caller_length, gauge.id_head = copy, <uint32_t>len(caller), id_head


cdef class MeterEntry:

    def __dealloc__(self):
        meter_drop(self.meter)
