# The bytes of direct streams: read from one half, and written to the other at once.
from pcgrelay._core.stream.stream cimport Stream
from pcgrelay._core.worker.worker cimport Worker


# Serve the halves that have something to read.
cdef void direct_io_serve(Worker* self) noexcept nogil

# What waited for this half is written, or some of it: its partner may be read again.
cdef void direct_io_written(Worker* self, Stream* stream) noexcept nogil
