# Streams in the record of a hand-over, with the bytes that they hold. Tags never change their meaning, as in `lanes`.
from libc.stdint cimport uint16_t

from pcgrelay._core.base.tlv cimport Tlv
from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.stream.stream cimport Stream


cdef void stream_write(Tlv* self, uint16_t tag, Stream* stream) noexcept nogil

# The container of one stream, which is put in its place. flow: NULL for one that waits for a route, or is half of a
# direct stream. NULL: it was refused, and self.result says why.
cdef Stream* stream_read(Tlv* self, Shard* shard, Flow* flow, bint direct) noexcept nogil

# Mark what it has to say or to write.
cdef void stream_goes_on(Shard* shard, Stream* stream) noexcept nogil

# All direct streams, each in a container of its own; read one.
cdef void directs_write(Tlv* self, uint16_t tag, Shard* shard) noexcept nogil
cdef void direct_read(Tlv* self, Shard* shard) noexcept nogil
