# The lists in which an edge's streams wait for their turn.
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.stream.stream cimport Stream


# Put it before those that wait for a route; take it from there, if it is there.
cdef void edge_wait(Shard* shard, Stream* stream) noexcept nogil
cdef void edge_unwait(Shard* shard, Stream* stream) noexcept nogil

# Have the stream served in this turn or the next.
cdef void edge_ready(Shard* shard, Stream* stream) noexcept nogil
cdef void edge_dirty(Shard* shard, Stream* stream) noexcept nogil
cdef void edge_activate(Shard* shard, Flow* flow) noexcept nogil

# Free a stream at the end of the turn: it has sent its last record and is in no list.
cdef void edge_bury(Shard* shard, Stream* stream) noexcept nogil

# Make it half of a direct stream; it is that no longer.
cdef void edge_direct_add(Shard* shard, Stream* stream) noexcept nogil
cdef void edge_direct_remove(Shard* shard, Stream* stream) noexcept nogil
