# A worker's links, lanes and paths in the record of a hand-over: the same functions write and read, depending on the
# cursor. Tags never change their meaning: one that is no longer needed is left unused, a new one gets the next number.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pcgrelay._core.base.bucket cimport Bucket
from pcgrelay._core.base.tlv cimport Tlv
from pcgrelay._core.crypto.epoch cimport Epoch
from pcgrelay._core.link.shard cimport Lane, Shard
from pcgrelay._core.base.map cimport Map
from pcgrelay._core.base.queue cimport Queue
from pcgrelay._core.crypto.renewal cimport Owed, Renewals


# All bytes of a queue as one item: the borders of spans do not matter.
cdef void queue_write(Tlv* self, uint16_t tag, Queue* queue) noexcept nogil
cdef void queue_read(Tlv* self, uint16_t tag, Shard* shard, Queue* queue) noexcept nogil

cdef void epoch_write(Tlv* self, uint16_t tag, Epoch* epoch) noexcept nogil

# floor and control_floor: the least counters that this process may use for sealing. A step is due at once.
cdef void epoch_read(Tlv* self, uint16_t tag, Shard* shard, Epoch* epoch, uint32_t purpose, bint sealing,
                     uint64_t floor, uint64_t control_floor) noexcept nogil

# The secrets of renewals that are kept, under six tags from the first on.
cdef void renewals_fields(Tlv* self, uint16_t first, Renewals* renewals) noexcept nogil

# A token bucket: a time, and how many tokens of at_once are left at that time. This version writes the time at which
# the bucket will be full; another version may have written a time at which some tokens were left.
cdef void bucket_fields(Tlv* self, uint16_t time_tag, uint16_t tokens_tag, Bucket* bucket, uint32_t at_once,
                        uint64_t each_us) noexcept nogil

# What a receiver is owed, under three tags from the first on. What is not in the record stays unchanged.
cdef void owed_fields(Tlv* self, uint16_t first, Owed* owed) noexcept nogil

# Items of the container of a worker. Paths come after their links, and lanes after both.
cdef void links_write(Tlv* self, uint16_t tag, Shard* shard) noexcept nogil
cdef void links_read(Tlv* self, uint16_t tag, Shard* shard, Map* gauges) noexcept nogil
cdef void paths_write(Tlv* self, uint16_t tag, Shard* shard) noexcept nogil
cdef void paths_read(Tlv* self, uint16_t tag, Shard* shard) noexcept nogil
cdef void lane_write(Tlv* self, uint16_t tag, Shard* shard, Lane* lane) noexcept nogil

# The container of one lane.
cdef void lane_read(Tlv* self, Shard* shard) noexcept nogil
