# What time brings to a session: acknowledgements that are due, questions that got no answer, peers that are silent.
from libc.stdint cimport uint64_t

from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.base.result cimport Result
from pcgrelay._core.session.session cimport Session


# Send ACKs that are due; answer when the next one is (or 0). *failed: a session that must end.
cdef uint64_t session_acks(Shard* shard, Session** failed, Result* reason) noexcept nogil

# Re-key idle flows, ask again where a RESUME got no answer. RESULT_SILENT: the far edge acknowledges nothing.
cdef Result session_tick(Shard* shard, Session* session) noexcept nogil

# This worker did not run for so long: its peers are not to blame for what it did not hear.
cdef void session_forgive(Session* session, uint64_t away_us) noexcept nogil

# A session that must end with BUSY, for the little memory that is left: its peer's organisation holds most of it, and
# acknowledges nothing. NULL: none.
cdef Session* session_hoarder(Shard* shard) noexcept nogil
