from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.session.session cimport session_next
from pcgrelay._core.stream.flow cimport flow_stream_next
from pcgrelay._core.stream.stream cimport Stream


cdef Stream* stream_walk_next(Shard* shard, StreamWalk* walk) noexcept nogil:
    cdef Stream* stream
    if walk.session == NULL:
        walk.session = session_next(shard, &walk.session_at)
    while walk.session != NULL:
        while walk.flow < walk.session.flow_count:
            if walk.session.flows[walk.flow] != NULL:
                stream = flow_stream_next(walk.session.flows[walk.flow], &walk.stream_at)
                if stream != NULL:
                    return stream
            walk.flow += 1
            walk.stream_at = 0
        walk.flow = 0
        walk.session = session_next(shard, &walk.session_at)
    return NULL
