# What a side of a UDP lane knows of the way to its peer: whether packets arrive, how many do not, how long they may be.
# Pure: time is an argument, and nothing is sent here (docs/protocol.md, 5.6).
#
#   OPENING --REPORT--> UP --silence, loss--> BROKEN --REPORTs without loss for mend_us--> UP
#
# PROBE goes out every probe interval in each state, as long as the longest frame that may go by the UDP lane: so a way
# that loses long packets alone is seen as silence. Then the next shorter length is tried. REPORT says how many packets
# the peer has taken; between two REPORTs that is compared with what was sent between their PROBEs.
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef enum:
    PROBES_KEPT = 8             # PROBEs whose REPORT still counts
    PROBES_WINDOW = 10          # loss is measured over so many PROBEs that were answered: 5 s by default
    PROBES_SILENCE = 4          # probe intervals without a REPORT
    PROBES_LOST_LEAST = 10      # packets: fewer are chance, on a UDP lane that carries little
    PROBES_LOSS_MOST = 100000   # ppm: with more it is not used,
    PROBES_LOSS_MENDED = 50000  # until it loses less than this
    PROBES_MEND_US = 10000000   # for so long; twice as long each time that it breaks again,
    PROBES_MEND_MOST_US = 120000000  # up to this, until it has held for as long

cdef enum UdpState:
    UDP_CLOSED
    UDP_OPENING
    UDP_UP
    UDP_BROKEN

# What became of it.
cdef enum UdpTurn:
    UDP_AS_BEFORE
    UDP_CAME_UP
    UDP_FELL_SILENT             # or, while it is OPENING, still is
    UDP_LOSES

cdef struct UdpProbe:
    uint64_t token
    uint64_t sent_us
    uint64_t sent               # packets up to it, it included

cdef struct UdpSample:
    uint64_t sent
    uint64_t taken

cdef struct UdpProbes:
    UdpProbe probes[PROBES_KEPT]
    UdpSample samples[PROBES_WINDOW]
    UdpSample base              # while it is BROKEN: from when on its loss is looked at,
    uint64_t base_us            # 0: since the next REPORT
    uint64_t due_us             # when the next PROBE goes out
    uint64_t heard_us           # when silence began: the last REPORT, or the last that was made of silence
    uint64_t up_us              # when it came up last
    uint64_t mend_us
    uint64_t round_trip_us
    uint32_t probe_count
    uint32_t sample_count
    uint32_t longest            # body
    uint32_t loss_ppm
    uint8_t state
    bint told                   # that it is silent, of one that was never up


cdef void probes_begin(UdpProbes* self, uint64_t now_us) noexcept nogil

# Begin where another UDP lane of the same index, whose place this one takes, has come to.
cdef void probes_follow(UdpProbes* self, const UdpProbes* other) noexcept nogil

# Note that a PROBE goes out as the last of so many packets.
cdef void probes_tx(UdpProbes* self, uint64_t token, uint64_t sent, uint64_t now_us, uint64_t probe_us) noexcept nogil

# Handle a REPORT. One of an unknown token changes nothing: *known.
cdef UdpTurn probes_rx(UdpProbes* self, uint64_t token, uint64_t taken, uint64_t now_us, bint* known) noexcept nogil

# Look at silence.
cdef UdpTurn probes_tick(UdpProbes* self, uint64_t now_us, uint64_t probe_us) noexcept nogil

# Ignore a time in which this worker did not run.
cdef void probes_forgive(UdpProbes* self, uint64_t away_us, uint64_t now_us) noexcept nogil

# The system sends no packet as long as the longest: try the next shorter one, if there is any.
cdef void probes_shorten(UdpProbes* self) noexcept nogil
