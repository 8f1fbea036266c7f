# Paths that an initiator, or somebody in its name, has opened for a session that has another one. A candidate carries
# nothing: it becomes the path once the far edge has spoken over it, which its keys prove (docs/protocol.md, 9.5).
from libc.stdint cimport uint8_t, uint32_t

from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.link.shard cimport Lane, Shard
from pcgrelay._core.base.result cimport Result
from pcgrelay._core.session.session cimport Session


# Know a candidate. RESULT_NO_MEMORY: the session has no place for another one.
cdef Result candidate_add(Shard* shard, Session* session, uint32_t link, uint32_t in_label,
                          uint32_t out_label) noexcept nogil

# Forget a candidate; one that is not there, or has become the path, is nothing.
cdef void candidate_drop(Shard* shard, Session* session, uint32_t in_label) noexcept nogil

# Lead the flows over this path, whether it was a candidate or not. instead: only if they are led by that label now; 0:
# in any case. So an order that comes late takes no newer path away. A failure ends the session.
cdef Result candidate_lead(Shard* shard, Session* session, uint32_t link, uint32_t in_label, uint32_t out_label,
                           uint32_t instead) noexcept nogil

# A frame whose label is no path's here. RESULT_OK: its candidate has become the path, and the frame was acted on. The
# rest as session_frame.
cdef Result candidate_frame(Shard* shard, Lane* lane, const Frame* frame, uint8_t* wire, Flow** flow,
                            uint32_t* code) noexcept nogil
