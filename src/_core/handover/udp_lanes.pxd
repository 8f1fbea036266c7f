# A worker's UDP lanes and their sockets in the record of a hand-over. Tags as in `lanes`.
from libc.stdint cimport uint16_t

from pcgrelay._core.base.tlv cimport Tlv
from pcgrelay._core.link.shard cimport Shard


# Items of the container of a worker. Sockets come before the UDP lanes, and links before both.
cdef void udp_write(Tlv* self, uint16_t socket_tag, uint16_t lane_tag, Shard* shard) noexcept nogil
cdef void udp_read(Tlv* self, uint16_t socket_tag, uint16_t lane_tag, Shard* shard) noexcept nogil
