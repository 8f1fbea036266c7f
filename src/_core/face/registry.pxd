# What the face keeps of each link and session while the workers have the rest.
from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.link.gauge cimport Gauge
from pcgrelay._core.crypto.lane_keys cimport LinkKeys
from pcgrelay._core.base.organisation cimport Organisation


# Which renewal the workers are to keep, and how many have yet to.
cdef class Entry:
    cdef Gauge* gauge           # owned: one reference
    cdef uint64_t serial        # of the last renewal that was handed to them
    cdef uint32_t missing

    # A renewal is handed to so many workers: its serial.
    cdef uint64_t renew(self, uint32_t workers)

    # A worker keeps the renewal of that serial. Do all, and is it the last?
    cdef bint is_renewed(self, uint64_t serial)

# Of a link: the secrets from which its lanes begin.
cdef class LinkEntry(Entry):
    cdef LinkKeys keys
    cdef bint dialler
    cdef bint inherited         # from the process before: it opens no lane, and has no keys for one

# Budgets of a peer organisation, kept while anybody may need them.
cdef class OrganisationEntry:
    cdef Organisation* organisation  # owned: one reference

    # Whether no session has it.
    cdef bint is_idle(self)

# Of a session: how many flows are still to come up.
cdef class SessionEntry(Entry):
    cdef uint32_t flows_missing
    cdef uint64_t organisation  # number; 0: not known
