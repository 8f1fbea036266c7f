# What a worker owns, written into the state record of a hand-over and read from it (docs/decisions/0009): counters,
# links and lanes, a relay's paths, an edge's sessions, flows and streams, with keys, numbers and all bytes that are on
# their way.
#
# Theory. No worker runs while its state is written, so there is no moment in it: what is in memory is the state. Each
# worker has a container in the record, and a worker of the same index reads it in the new process.
#
#   old process                                        new process
#   workers stop at the end of a turn                  workers are made and not launched
#   loop_quiesce: orders done, nothing borrowed
#   worker_handover_write, handover_write   -- record, sockets ->  worker_handover_read, handover_read;
#                                                                  sockets are watched
#                                <---- TAKEN --------
#   GO; loop_abandon wipes keys  ----- GO ---------->   workers are launched; each epoch steps before it seals
#
#   worker { counters, LINK*, PATH*, LANE*, SESSION* { FLOW* { RETAINED*, STREAM* } }, WAITING*, DIRECT*, LISTENER* }
#
# Until GO the old process may launch its workers again. It finds everything as it was, because writing changes nothing
# but the mark that a socket has a copy elsewhere (Handle.shared).
#
# Invariants:
#   1. The same function writes and reads the fields of a container, so writer and reader cannot disagree. What is
#      missing keeps its default, and an unknown tag is passed over. So a tag is never used for another thing.
#   2. One process may seal at a time. The new one sets the least counter of each key to what was left to it, and makes
#      a step of epoch due before anything else is sealed.
#   3. Containers are read in the order of their references: paths and lanes after links, flows after the lanes that
#      carry them, streams after their flow. So each reference is looked up as it is read.
#   4. The record is an input. What no worker leaves behind is refused (RESULT_BAD_FIELD), before a socket is watched. A
#      shard that was refused is let go with its process.
#   5. What a socket holds unread stays in the kernel: a first watching by epoll tells of it again. Readiness is not in
#      the record, and neither are lists, nor places in them.
#   6. The budget of memory does not bound what was there before, or a record could be refused halfway.
#
# What was tried:
#   - Streams were queued in the order of a table. The numbers of OPEN have to rise, so the far edge ended the session.
#     They are put in order of their ids.
#   - Sockets were closed as if nobody else had them. A new process that hung kept them open: epoll told of handles that
#     were freed, and the far end saw no end. Now a shared one is unwatched, and shut down first.
#   - What a lane had measured of its rate was left out. A slow lane was then sealed far ahead, where nothing urgent
#     overtakes it. tests/source/test_handover_fields.py has a reason for each field that is left out.
from pcgrelay._core.base.tlv cimport Tlv
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.base.map cimport Map


cdef enum:
    HANDOVER_VERSION = 3        # 2: renewals. 3: outlets and direct streams
    HANDOVER_LEAST = 1          # the oldest version that is read

# Write all that the shard owns. The turn must be over: nothing borrowed, nothing deferred, no order taken and not done.
cdef void handover_write(Tlv* self, Shard* shard) noexcept nogil

# Read it into a shard that has only been started. link_gauges and session_gauges have the Gauge of each number, of
# which this worker takes references of its own. Sockets are not watched yet, and what lanes and applications are to be
# sent is marked so. Each direction's epoch is due to step. self.result says what was wrong, which may be that no worker
# leaves such a thing; then the shard is let go with its process.
cdef void handover_read(Tlv* self, Shard* shard, Map* link_gauges, Map* session_gauges) noexcept nogil

# Wipe all keys of a shard: whoever has them now is another process.
cdef void handover_wipe(Shard* shard) noexcept nogil
