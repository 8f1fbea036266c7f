# How many bytes a service of datagrams may carry in a second (docs/udp.md). RFC 8085 wants of whoever sends datagrams
# that nothing slows down that somebody limits them, and this is where they come in and go out.
#
# A bucket for each service and direction, which all workers spend from without a lock. What does not fit is dropped at
# once: to a datagram a delay is worse than a loss, and a queue before a limit is full as long as somebody sends more. A
# tenth of a second's worth may come at once, and the longest datagram always.
from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.base.atomics cimport counter32_get
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.stream.stream cimport Stream


cdef enum:
    RATES_LEAST_BYTES = 65536   # at once: no record, and so no datagram, is longer

# Whether a datagram of n bytes that came from the socket of a stream, or is about to go there, is within the rate of
# its service, which is then spent. That of a shadow always is: nobody's application has sent it.
cdef inline bint rates_from_socket(Shard* shard, const Stream* stream, uint32_t n) noexcept nogil:
    return not rates_are_there(shard) or spend(shard, stream, n, True)

cdef inline bint rates_to_socket(Shard* shard, const Stream* stream, uint32_t n) noexcept nogil:
    return not rates_are_there(shard) or spend(shard, stream, n, False)

# Whether one of n bytes of a new client of an import would be. Nothing is spent.
cdef inline bint rates_have_room(const Shard* shard, uint32_t import_number, uint32_t n) noexcept nogil:
    return not rates_are_there(shard) or has_room(shard, import_number, n)

# Whether any service has a rate: where none has, a datagram costs no more than this question.
cdef inline bint rates_are_there(const Shard* shard) noexcept nogil:
    return shard.bounds != NULL and counter32_get(&shard.bounds.rated) != 0

# What the inline functions above do where there is something to do.
cdef bint spend(Shard* shard, const Stream* stream, uint32_t n, bint from_socket) noexcept nogil
cdef bint has_room(const Shard* shard, uint32_t import_number, uint32_t n) noexcept nogil
