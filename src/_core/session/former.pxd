# The path that a session has used before its present one. What the far edge sent there before it knew of the change may
# still come. RESUME brings numbered frames again, but DATAGRAMS would be lost. So for a moment they are taken under the
# former label as well (docs/protocol.md, 9.5). They open with the flow's keys and within its window, as on any path.
# Nothing else is taken there, and no fault of whoever carries it ends the session.
from libc.stdint cimport uint8_t, uint32_t

from pcgrelay._core.base.result cimport Result
from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.link.shard cimport Lane, Shard
from pcgrelay._core.session.session cimport Session
from pcgrelay._core.stream.flow cimport Flow


# The session is about to change to a path over this link. A path without a link was left for what it may not carry:
# neither that one nor one before it counts as a former one.
cdef void former_keep(Shard* shard, Session* session, uint32_t link, uint32_t in_label) noexcept nogil

# Take nothing under a former label any more.
cdef void former_forget(Shard* shard, Session* session) noexcept nogil

# Whether these are DATAGRAMS of the former path of a session.
cdef bint former_takes(const Shard* shard, const Session* session, const Lane* lane, const Frame* frame) noexcept nogil

# Open them. RESULT_OK: their records lie in clear behind the prefix. RESULT_DUPLICATE: nothing is to be done; what does
# not open has ended the former path.
cdef Result former_frame(Shard* shard, Session* session, Lane* lane, const Frame* frame, uint8_t* wire,
                         Flow** flow) noexcept nogil
