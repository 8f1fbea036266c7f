from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.crypto.renewal cimport renewals_agree
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.session.session cimport Session
from pcgrelay._core.stream.flow cimport flow_agree


cdef void session_mix(Shard* shard, Session* session, uint64_t mix) noexcept nogil:
    cdef uint32_t i
    renewals_agree(&session.renewals, mix)
    for i in range(session.flow_count):
        if session.flows[i] != NULL:
            flow_agree(session.flows[i], shard.now_us)
