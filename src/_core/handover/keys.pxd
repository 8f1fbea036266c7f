# Keys in the record of a hand-over. Tags never change their meaning, as in `lanes`.
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pcgrelay._core.base.tlv cimport Tlv
from pcgrelay._core.crypto.epoch cimport Epoch
from pcgrelay._core.crypto.renewal cimport Owed, Renewals
from pcgrelay._core.link.shard cimport Shard


cdef void epoch_write(Tlv* self, uint16_t tag, Epoch* epoch) noexcept nogil

# floor and control_floor: the least counters that this process may use for sealing. A step is due at once.
cdef void epoch_read(Tlv* self, uint16_t tag, Shard* shard, Epoch* epoch, uint32_t purpose, bint sealing,
                     uint64_t floor, uint64_t control_floor) noexcept nogil

# The secrets of renewals that are kept, under six tags from the first on.
cdef void renewals_fields(Tlv* self, uint16_t first, Renewals* renewals) noexcept nogil

# What a receiver is owed, under three tags from the first on. What is not in the record stays unchanged.
cdef void owed_fields(Tlv* self, uint16_t first, Owed* owed) noexcept nogil
