# Streams that are closed by order of the control plane, because their import moves away from the outlet they are on.
#
# Where nothing has moved for long and nothing is under way, a stream is closed as a server closes an idle connection:
# both sides get FIN. How long nothing moved is known from one look to the next: each notes how much had moved, so the
# streams themselves pay nothing. It makes no system call: whether sockets hold something the worker asks.
from libc.stdint cimport uint64_t

from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.stream.stream cimport Setup, Stream


# Is it an application's that is open, and was not let go?
cdef bint nudge_may(const Setup* setup) noexcept nogil

# Look at it: has nothing moved for so long, and is nothing queued here?
cdef bint nudge_is_idle(Shard* shard, Setup* setup, uint64_t idle_us) noexcept nogil

# Close it: by FIN to both sides, or, if hard, by a reset.
cdef void nudge(Shard* shard, Stream* stream, bint hard) noexcept nogil
