# A link on one worker: add, find, renew, remove.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.link.gauge cimport Gauge
from pcgrelay._core.link.shard cimport Link, Shard


cdef Link* link_add(Shard* shard, uint32_t number, uint32_t suite, bint dialler, uint32_t lanes,
                    const uint8_t* binding, Gauge* gauge) noexcept nogil
cdef Link* link_find(Shard* shard, uint32_t number) noexcept nogil

# Note that both sides keep a renewal: lanes step with it as soon as they send, and their peers owe the same.
cdef void link_mix(Shard* shard, Link* link, uint64_t mix) noexcept nogil

# Forget the link. Its lanes must be closed.
cdef void link_remove(Shard* shard, Link* link) noexcept nogil

# Update the gauge to the round trip of the slowest lane, after that of a lane has changed or a lane has closed.
cdef void link_count_round_trip(Shard* shard, const Link* link) noexcept nogil
