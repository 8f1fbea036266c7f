from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.base.atomics cimport counter32_get, counter_get, shared_bound, shared_take
from pcgrelay._core.base.stats cimport STATS_SERVICES, ServiceRate
from pcgrelay._core.stream.stream cimport stream_is_shadow


cdef enum:
    SECOND_NS = 1000000000
    US_NS = 1000
    AT_ONCE = 10                # the part of a second whose bytes may come at once


# A rate as its budget has it. bytes: 0: there is none.
cdef struct Terms:
    uint32_t bytes
    uint64_t now_ns
    uint64_t most_ns


# The time in which n bytes flow. It is rounded up, so that no number of short datagrams is more than the rate.
cdef inline uint64_t time_ns(uint64_t n, uint32_t each_second) noexcept nogil:
    return (n * SECOND_NS + each_second - 1) / each_second


# budget_ns: what was taken under a lower rate may have used it up for longer than can be now. Workers read the clock at
# the start of a turn, so what one has just taken may lie a little beyond the most of another: twice as much does not.
cdef inline Terms terms_of(const Shard* shard, const ServiceRate* rate, uint64_t* budget_ns) noexcept nogil:
    cdef Terms terms
    cdef uint32_t at_once
    terms.bytes = counter32_get(&rate.bytes)
    terms.now_ns = terms.most_ns = 0
    if terms.bytes != 0:
        at_once = terms.bytes / AT_ONCE
        terms.now_ns = shard.now_us * US_NS
        terms.most_ns = time_ns(at_once if at_once > RATES_LEAST_BYTES else RATES_LEAST_BYTES, terms.bytes)
        shared_bound(budget_ns, terms.now_ns + 2 * terms.most_ns)
    return terms


cdef bint spend(Shard* shard, const Stream* stream, uint32_t n, bint from_socket) noexcept nogil:
    # -1, of no service, is beyond all others.
    cdef uint32_t place = <uint32_t>stream.number
    cdef ServiceRate* rate
    cdef uint64_t* budget_ns
    cdef Terms terms
    if place >= STATS_SERVICES or stream_is_shadow(stream):
        return True
    rate = &shard.bounds.rate_of_import[place] if stream.opener else &shard.bounds.rate_of_export[place]
    budget_ns = &rate.from_socket_ns if from_socket else &rate.to_socket_ns
    terms = terms_of(shard, rate, budget_ns)
    return terms.bytes == 0 or shared_take(budget_ns, terms.now_ns, time_ns(n, terms.bytes), terms.most_ns)


cdef bint has_room(const Shard* shard, uint32_t import_number, uint32_t n) noexcept nogil:
    cdef ServiceRate* rate
    cdef Terms terms
    if import_number >= STATS_SERVICES:
        return True
    rate = &shard.bounds.rate_of_import[import_number]
    terms = terms_of(shard, rate, &rate.from_socket_ns)
    return terms.bytes == 0 \
        or counter_get(&rate.from_socket_ns) + time_ns(n, terms.bytes) <= terms.now_ns + terms.most_ns
