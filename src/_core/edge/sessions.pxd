# How a session ends at an edge: its streams end with it.
from libc.stdint cimport uint32_t

from pcgrelay._core.base.result cimport Result
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.session.session cimport Session


# End a session: its streams are reset, and it is freed. It failed for this reason: the far edge and the control plane
# are told.
cdef void edge_session_fail(Shard* shard, Session* session, Result reason) noexcept nogil
# The same, by order of the control plane: the far edge is told.
cdef void edge_session_close(Shard* shard, Session* session, uint32_t code) noexcept nogil
# The same, because the far edge said so: the control plane is told.
cdef void edge_session_rx_close(Shard* shard, Session* session, uint32_t code) noexcept nogil
