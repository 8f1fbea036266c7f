# What the face keeps of each link and session; the workers have the rest.
from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.link.gauge cimport Gauge
from pcgrelay._core.crypto.lane_keys cimport LinkKeys
from pcgrelay._core.base.organisation cimport Organisation
from pcgrelay._core.stream.meter cimport Meter


# The renewal that the workers are to keep, and how many have not reported it yet.
cdef class Entry:
    cdef Gauge* gauge           # owned: one reference
    cdef uint64_t serial        # of the last renewal that was handed to them
    cdef uint32_t missing

    # Note that a renewal is given to so many workers; returns its serial.
    cdef uint64_t renew(self, uint32_t workers)

    # Note that a worker keeps the renewal of that serial. True: all do, and it is the last renewal.
    cdef bint is_renewed(self, uint64_t serial)

# Of a link: the secrets from which the keys of its lanes are derived.
cdef class LinkEntry(Entry):
    cdef LinkKeys keys
    cdef bint dialler
    cdef bint inherited         # from the previous process: it opens no lane, and has no keys for one

# The budgets of a peer organisation, kept as long as they may be needed.
cdef class OrganisationEntry:
    cdef Organisation* organisation  # owned: one reference

    # Whether no session uses it.
    cdef bint is_idle(self)

# Of a session: how many flows are still to come up.
cdef class SessionEntry(Entry):
    cdef uint32_t flows_missing
    cdef uint64_t organisation  # number; 0: not known

# Note what names a session outside this process: the first four bytes of its id, and its peer as TLVs of the PROXY
# protocol. Before any worker uses the gauge.
cdef session_name(Gauge* gauge, uint32_t id_head, bytes caller)

# Of the outlets of an import.
cdef class MeterEntry:
    cdef Meter* meter           # owned: one reference
