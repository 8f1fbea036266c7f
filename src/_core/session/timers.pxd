# Timers of a session: acknowledgements that are due, requests without an answer, silent peers.
from libc.stdint cimport uint64_t

from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.base.result cimport Result
from pcgrelay._core.session.session cimport Session


# Send the ACKs that are due; return when the next one is due (or 0). *failed: a session that must end.
cdef uint64_t session_acks(Shard* shard, Session** failed, Result* reason) noexcept nogil

# Re-key idle flows, and send RESUME again where it got no answer. RESULT_SILENT: the far edge acknowledges nothing.
cdef Result session_tick(Shard* shard, Session* session) noexcept nogil

# Ignore a time in which this worker did not run: that it received nothing is not the peers' fault.
cdef void session_forgive(Session* session, uint64_t away_us) noexcept nogil

# A session that must end with BUSY because memory is short: its peer's organisation holds most of the memory and
# acknowledges nothing. NULL: there is none.
cdef Session* session_hoarder(Shard* shard) noexcept nogil
