# Frames made of what applications' sockets and streams have: whose turn it is, and how much of a read one frame takes.
from pcgrelay._core.worker.worker cimport Worker


# Is there a flow whose streams could be served right now?
cdef bint frame_builder_can_serve(Worker* self) noexcept nogil

# Make frames of what streams have, a frame for each flow in turn, at most WORKER_FRAMES.
cdef void frame_builder_serve(Worker* self) noexcept nogil
