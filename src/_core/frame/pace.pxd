# How many bulk bytes a flow may have in flight. More than the path holds would wait in sockets, where small frames
# cannot overtake them and where they leave the processor caches.
#
# The model is that of BBR (draft-ietf-ccwg-bbr): the greatest rate at which the far edge acknowledged and the least
# round trip, both of the last PACE_PERIOD_US, give what the path holds; twice that may be in flight. At the end of each
# period half of it is held back, so that a round trip without a queue of this flow is measured.
from libc.stdint cimport uint64_t


cdef enum:
    PACE_LEAST = 65536
    PACE_FIRST = 524288         # before anything was measured
    PACE_PERIOD_US = 10000000
    PACE_DRAIN_US = 300000      # the end of a period

cdef struct Pace:
    uint64_t rate               # bytes a second: the greatest of the last period, or of this one if that is more
    uint64_t rate_so_far        # of this period
    uint64_t round_us           # the least round trip, likewise; 0: none yet
    uint64_t round_so_far_us
    uint64_t period_us          # when this period ends
    uint64_t since_us           # since when bytes are counted
    uint64_t bytes              # acknowledged since


# Count n bytes that the far edge acknowledged.
cdef void pace_acknowledged(Pace* self, uint64_t n, uint64_t now_us) noexcept nogil

# Measure a round trip: a frame was acknowledged so long after it was sealed.
cdef void pace_round(Pace* self, uint64_t round_us, uint64_t now_us) noexcept nogil

# How many bytes may be in flight before bulk waits. ack_bytes, ack_us: how rarely the far edge acknowledges.
cdef uint64_t pace_limit(const Pace* self, uint64_t ack_bytes, uint64_t ack_us, uint64_t now_us) noexcept nogil

# Forget what was measured, because the path has changed.
cdef void pace_forget(Pace* self) noexcept nogil
