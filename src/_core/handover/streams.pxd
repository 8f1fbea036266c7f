# Streams in the record of a hand-over, with the bytes that they hold. Tags never change their meaning, as in `lanes`.
from libc.stdint cimport uint16_t

from pcgrelay._core.base.tlv cimport Tlv
from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.stream.stream cimport Stream


cdef void stream_write(Tlv* self, uint16_t tag, Stream* stream) noexcept nogil

# The container of one stream. flow: NULL for one that waits for a route.
cdef void stream_read(Tlv* self, Shard* shard, Flow* flow) noexcept nogil
