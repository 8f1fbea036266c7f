# Building frames from applications' sockets and streams: which stream is next, and how much of a read a frame gets.
from pcgrelay._core.worker.worker cimport Worker


# Whether there is a flow whose streams could be served now.
cdef bint frame_builder_can_serve(Worker* self) noexcept nogil

# Build frames from what streams have, one for each flow in turn, at most WORKER_FRAMES.
cdef void frame_builder_serve(Worker* self) noexcept nogil

# Drop the datagrams that have waited too long for their flow.
cdef void frame_builder_expire(Worker* self) noexcept nogil
