# DATAGRAMS frames of an edge's sessions. What cannot be sent at once is dropped: a datagram that waits is of less use
# than the next one, and the application or its peer sends again what it needs.
from libc.stdint cimport uint32_t

from pcgrelay._core.base.buf cimport Buf
from pcgrelay._core.base.result cimport Result
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.stream.flow cimport Flow


# Whether a frame of datagrams of this flow would be sent now. Ask before one is built: what it would carry may wait,
# and grow old, in the queues of its streams.
cdef bint session_takes_datagrams(const Shard* shard, const Flow* flow) noexcept nogil

# Prepare for a frame of them: make a step of the epoch if one is due. RESULT_OK: the next session_datagrams is sent, if
# it is called at once. RESULT_BUDGET: not now. Anything else ends the session.
cdef Result session_datagrams_begin(Shard* shard, Flow* flow) noexcept nogil

# Seal DATAGRAMS of length bytes in buf and send them. The reference passes; it is not retained. RESULT_BUDGET: nothing
# was sent, for nobody had prepared for it. Anything else ends the session.
cdef Result session_datagrams(Shard* shard, Flow* flow, Buf* buf, uint32_t length) noexcept nogil
