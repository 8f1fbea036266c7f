# The datagrams of direct outlets. What clients say waits at their association and goes to a socket that is connected to
# the target; what comes there goes to the client at once.
from pcgrelay._core.stream.stream cimport Stream
from pcgrelay._core.worker.worker cimport Worker


# Connect the target's half if it has no socket yet, and write what waits at its association.
cdef void direct_datagrams_deliver(Worker* self, Stream* stream) noexcept nogil

# Read what the target has sent to this half, at most WORKER_DATAGRAMS datagrams; or it cannot be reached.
cdef void direct_datagrams_event(Worker* self, Stream* stream) noexcept nogil
