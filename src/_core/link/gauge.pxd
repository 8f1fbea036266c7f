# The counters of a link or session that the control plane reads while the workers write them.
from libc.stdint cimport uint32_t, uint64_t, uint8_t

from pcgrelay._core.base.organisation cimport Organisation


# One slot for each worker, freed with the last reference.
cdef struct Gauge:
    int references
    uint32_t slots
    uint64_t* values            # slots x GAUGE_VALUES
    uint64_t* udp               # of a link that had a UDP lane: UDP_GAUGE_VALUES for each index
    Organisation* organisation  # of a session's peer: one reference; NULL: of a link, or not known
    # Of a session, written before any worker has it:
    uint32_t id_head            # the first four bytes of its id, which both edges know
    uint32_t caller_length
    uint8_t* caller             # owned: who its peer is, as TLVs of the PROXY protocol; NULL: nobody asks

cdef enum:
    GAUGE_VALUES = 16           # a cache line or two of its own for each worker

# Slots of a link on one worker: sums over its lanes there, or the greatest of them. Those of a session are in
# `session`. They are part of the hand-over record: the numbers never change.
cdef enum:
    LINK_GAUGE_LANES_UP = 0
    LINK_GAUGE_ROUND_TRIP = 1   # us, of the slowest lane that is up; 0: no lane is up
    LINK_GAUGE_SENT_BYTES = 2
    LINK_GAUGE_RECEIVED_BYTES = 3
    LINK_GAUGE_SENT_FRAMES = 4
    LINK_GAUGE_RECEIVED_FRAMES = 5
    LINK_GAUGE_MIX = 6          # newest renewal with which the other side has stepped
    LINK_GAUGE_PINGS = 7        # sent
    LINK_GAUGE_PINGS_LATE = 8   # of these, counted as lost
    LINK_GAUGE_STEPPED = 9      # sum of the newest renewals with which each lane has stepped both ways


# Of the newest UDP lane of one index; the last three count since the first one.
cdef enum:
    UDP_GAUGE_NUMBER = 0
    UDP_GAUGE_STATE = 1         # UdpState
    UDP_GAUGE_LONGEST = 2
    UDP_GAUGE_ROUND_TRIP = 3
    UDP_GAUGE_LOSS = 4
    UDP_GAUGE_SENT = 5
    UDP_GAUGE_TAKEN = 6
    UDP_GAUGE_REFUSED = 7
    UDP_GAUGE_VALUES = 8


cdef Gauge* gauge_new(uint32_t slots, int references) noexcept nogil
cdef void gauge_drop(Gauge* self) noexcept nogil
# Add a reference, for the caller.
cdef Gauge* gauge_hold(Gauge* self) noexcept nogil
# Have room for the figures of UDP lanes, before any worker makes one. False: no memory.
cdef bint gauge_udp_begin(Gauge* self) noexcept nogil
# Those of one index; NULL: there is no room for them.
cdef inline uint64_t* gauge_udp_at(Gauge* self, uint32_t index) noexcept nogil:
    return NULL if self.udp == NULL else self.udp + index * UDP_GAUGE_VALUES
cdef inline uint64_t* gauge_at(Gauge* self, uint32_t slot) noexcept nogil:
    return self.values + slot * GAUGE_VALUES
