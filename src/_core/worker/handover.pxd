# What a worker leaves to the one that takes its place in another process: its shard, its listeners, and the watching of
# all their descriptors.
from pcgrelay._core.base.tlv cimport Tlv
from pcgrelay._core.base.map cimport Map
from pcgrelay._core.worker.worker cimport Worker


# Write all that a worker has into its container. Its thread must have ended, and loop_quiesce said that all is done.
cdef void worker_handover_write(Tlv* self, Worker* worker) noexcept nogil

# Take it into a worker that was started and not launched, and watch its sockets. The budget is no bound for what was
# there before: it is one again for all that comes. self.result says what was wrong.
cdef void worker_handover_read(Tlv* self, Worker* worker, Map* link_gauges, Map* session_gauges) noexcept nogil
