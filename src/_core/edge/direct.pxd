# A direct stream: the application's half and its target's, each the other's partner (stream.pxd). What one half reads
# the other writes; while something waits to be written there, nothing more is read, so that TCP's own flow control
# holds from end to end. It makes no system call. Datagrams have an association in place of the first half, and nothing
# holds them back.
from libc.stdint cimport uint64_t

from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.stream.stream cimport Stream


# Give an application's stream the half that is to be connected to its outlet, by due_us. False: no memory.
cdef bint direct_begin(Shard* shard, Stream* stream, uint64_t due_us) noexcept nogil

# n bytes were read from this half, and are its partner's to write.
cdef void direct_moved(Shard* shard, Stream* stream, uint64_t n) noexcept nogil

# Its FIN was read, and all before it passed on.
cdef void direct_fin(Shard* shard, Stream* stream) noexcept nogil
