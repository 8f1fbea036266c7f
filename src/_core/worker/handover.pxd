# The hand-over of a worker to its successor in another process: its shard, its listeners, and the epoll registration of
# their descriptors.
from pcgrelay._core.base.tlv cimport Tlv
from pcgrelay._core.base.map cimport Map
from pcgrelay._core.worker.worker cimport Worker


# Write all that a worker has into its container. Its thread must have ended, and loop_quiesce returned True.
cdef void worker_handover_write(Tlv* self, Worker* worker) noexcept nogil

# Restore it in a worker that was started and not launched, and watch its sockets. The memory budget does not limit what
# was there before, only what is allocated later. self.result: the failure, if any.
cdef void worker_handover_read(Tlv* self, Worker* worker, Map* link_gauges, Map* session_gauges) noexcept nogil
