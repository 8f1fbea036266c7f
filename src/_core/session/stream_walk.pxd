# A walk over all streams of all flows of this worker's sessions.
from libc.stdint cimport uint32_t

from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.session.session cimport Session
from pcgrelay._core.stream.stream cimport Stream


# Zeroed at first. Removing a stream from its table may move others to places that the walk has passed:
# stream_walk_again visits all streams of its flow once more.
cdef struct StreamWalk:
    Session* session
    uint32_t session_at
    uint32_t flow
    uint32_t stream_at

cdef Stream* stream_walk_next(Shard* shard, StreamWalk* walk) noexcept nogil

cdef inline void stream_walk_again(StreamWalk* walk) noexcept nogil:
    walk.stream_at = 0
