# What a session does with a renewal that both of its control planes have told (docs/protocol.md, 9.9). To an initiator
# whose answer is missing, the responder's first step with it says the same: session_rx, EVENT_SESSION_AGREED.
from libc.stdint cimport uint64_t

from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.session.session cimport Session


# Note that both sides keep a renewal: flows step with it at the next tick or before their next bundle, and are owed
# the same.
cdef void session_mix(Shard* shard, Session* session, uint64_t mix) noexcept nogil
