# A worker's sessions and flows in the record of a hand-over. Tags never change their meaning, as in `lanes`.
from libc.stdint cimport uint16_t

from pcgrelay._core.base.tlv cimport Tlv
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.base.map cimport Map
from pcgrelay._core.session.session cimport Session


cdef void session_write(Tlv* self, uint16_t tag, Shard* shard, Session* session) noexcept nogil

# The container of one session; its lanes must have been read.
cdef void session_read(Tlv* self, Shard* shard, Map* gauges) noexcept nogil
