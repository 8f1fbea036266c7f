# A worker's links, lanes and paths in the record of a hand-over: the same functions write and read, depending on the
# cursor. Tags never change their meaning: one that is no longer needed is left unused, a new one gets the next number.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pcgrelay._core.base.bucket cimport Bucket
from pcgrelay._core.base.tlv cimport Tlv
from pcgrelay._core.link.shard cimport Lane, Shard
from pcgrelay._core.base.map cimport Map
from pcgrelay._core.base.queue cimport Queue


# All bytes of a queue as one item: the borders of spans do not matter.
cdef void queue_write(Tlv* self, uint16_t tag, Queue* queue) noexcept nogil
cdef void queue_read(Tlv* self, uint16_t tag, Shard* shard, Queue* queue) noexcept nogil

# A token bucket: a time, and how many tokens of at_once are left at that time. This version writes the time at which
# the bucket will be full; another version may have written a time at which some tokens were left.
cdef void bucket_fields(Tlv* self, uint16_t time_tag, uint16_t tokens_tag, Bucket* bucket, uint32_t at_once,
                        uint64_t each_us) noexcept nogil

# Items of the container of a worker. Paths come after their links, and lanes after both.
cdef void links_write(Tlv* self, uint16_t tag, Shard* shard) noexcept nogil
cdef void links_read(Tlv* self, uint16_t tag, Shard* shard, Map* gauges) noexcept nogil
cdef void paths_write(Tlv* self, uint16_t tag, Shard* shard) noexcept nogil
cdef void paths_read(Tlv* self, uint16_t tag, Shard* shard) noexcept nogil
cdef void lane_write(Tlv* self, uint16_t tag, Shard* shard, Lane* lane) noexcept nogil

# The container of one lane.
cdef void lane_read(Tlv* self, Shard* shard) noexcept nogil
