# Candidates: paths that the initiator, or an attacker in its name, has opened for a session that has another path. A
# candidate carries nothing. It becomes the path once a frame of the far edge that came over it opens, which proves the
# keys (docs/protocol.md, 9.5).
from libc.stdint cimport uint8_t, uint32_t

from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.link.shard cimport Lane, Shard
from pcgrelay._core.base.result cimport Result
from pcgrelay._core.session.session cimport Session


# Add a candidate. RESULT_NO_MEMORY: the session has no place for another one.
cdef Result candidate_add(Shard* shard, Session* session, uint32_t link, uint32_t in_label,
                          uint32_t out_label) noexcept nogil

# Remove a candidate. One that is not there, or has become the path, is ignored. in_label 0: take nothing more of the
# path that the session has left.
cdef void candidate_drop(Shard* shard, Session* session, uint32_t in_label) noexcept nogil

# Use this path for the flows, whether it was a candidate or not. instead: only if they use that label now; 0: in any
# case. So a late order does not replace a newer path. A failure ends the session.
cdef Result candidate_lead(Shard* shard, Session* session, uint32_t link, uint32_t in_label, uint32_t out_label,
                           uint32_t instead) noexcept nogil

# Handle a frame whose label is not that of a path. RESULT_OK: its candidate has become the path, and the frame was
# handled; or it is DATAGRAMS of the path before, whose records lie in clear behind the prefix. The other results are
# those of session_frame.
cdef Result candidate_frame(Shard* shard, Lane* lane, const Frame* frame, uint8_t* wire, Flow** flow,
                            uint32_t* code) noexcept nogil
