# What a worker owns, written into the state record of a hand-over and read from it (docs/decisions/0009): counters,
# links and lanes, a relay's paths, an edge's sessions, flows and streams, with keys, numbers and all bytes that are on
# their way. Writing changes nothing.
from pcgrelay._core.cursor cimport Cursor
from pcgrelay._core.link cimport Shard
from pcgrelay._core.map cimport Map


cdef enum:
    HANDOVER_VERSION = 2        # 2: renewals
    HANDOVER_LEAST = 1          # the oldest version that is read

# Write all that the shard owns. The turn must be over: nothing borrowed, nothing buried, no order taken and not done.
cdef void handover_write(Cursor* self, Shard* shard) noexcept nogil

# Read it into a shard that has only been started. link_gauges and session_gauges have the Gauge of each number, of
# which this worker takes references of its own. Sockets are not watched yet, and what lanes and applications are to be
# sent is marked so. Each direction's epoch is due to step. self.result says what was wrong, which may be that no worker
# leaves such a thing; then the shard is let go with its process.
cdef void handover_read(Cursor* self, Shard* shard, Map* link_gauges, Map* session_gauges) noexcept nogil

# Wipe all keys of a shard: whoever has them now is another process.
cdef void handover_wipe(Shard* shard) noexcept nogil
