# Where the target of a stream is, and from where it is connected to: that of an export, or of a direct outlet.
from libc.stdint cimport uint16_t, uint32_t

from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.stream.service_tables cimport Source, Target
from pcgrelay._core.stream.stream cimport Stream


# The next address to connect an answering stream to, or NULL if none is left.
cdef const Target* targets_next(Shard* shard, Stream* stream) noexcept nogil

# The address to connect it from, to a target of this family; NULL: the system's choice. False: there are only addresses
# of another family.
cdef bint targets_source(Shard* shard, const Stream* stream, uint16_t family, const Source** source) noexcept nogil

# How many addresses there are to connect it from, of any family; at least 1, the system's choice.
cdef uint32_t targets_source_count(const Shard* shard, const Stream* stream) noexcept nogil

# Whether its target is told who calls, before the first byte.
cdef bint targets_tell_caller(const Shard* shard, const Stream* stream) noexcept nogil

# Its target accepts no more connections for a moment: try this address again soon, until the deadline.
cdef void targets_again(Shard* shard, Stream* stream) noexcept nogil

# A connection to one of them is under way: the timer is set for the next one's turn, or for the deadline.
cdef void targets_dialled(Shard* shard, Stream* stream) noexcept nogil
