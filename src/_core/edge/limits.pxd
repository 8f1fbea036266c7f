# Limits of a service's streams, as its configuration sets them: how many, how many of one organisation, how many new
# ones in a second, how long without a byte, how long at all; and of one organisation, what it has of all exports
# together. Counts are over all workers, and may be exceeded by one for each worker. Idle and life time have a timer of
# their own, so that nothing that moves bytes looks at them.
from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.base.atomics cimport counter32_get
from pcgrelay._core.base.organisation cimport Organisation
from pcgrelay._core.base.stats cimport CAUSE_DONE, STATS_SERVICES, Cause, ServiceBounds
from pcgrelay._core.edge.clients cimport Clients
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.stream.stream cimport Stream


# Why an import may have no more streams; CAUSE_DONE: it may. fresh: the application has just come, and takes one of
# what there is in a second; else another worker had it before.
cdef inline Cause limits_of_import(Shard* shard, uint32_t number, bint fresh) noexcept nogil:
    cdef const ServiceBounds* most
    if shard.bounds == NULL or number >= STATS_SERVICES:
        return CAUSE_DONE
    most = &shard.bounds.of_import[number]
    if counter32_get(&most.streams) == 0 and counter32_get(&most.each_second) == 0:
        return CAUSE_DONE
    return import_limit(shard, number, fresh)

# The same for an export, with this stream of an organisation (NULL: not known) counted already.
cdef Cause limits_of_export(Shard* shard, Organisation* peer, uint32_t number) noexcept nogil

# Whether a new association of a listener is within the rate of its import, one of which is then spent. The listener has
# a budget of its own if the node's workers have none in common. Once one was beyond the rate, the listener rests: what
# the rate allows meanwhile begins together afterwards. Beside a flood that is a turn, a frame and a call now and then,
# and not for each of them; how many begin in a second is the same.
cdef bint limits_may_associate(Shard* shard, Clients* clients, uint32_t each_second) noexcept nogil

cdef inline bint limits_rests(const Shard* shard, const Clients* clients) noexcept nogil:
    return shard.now_us < clients.rest_us

# Whether the import has so many streams, on all workers; own: those of this listener.
cdef bint limits_is_full(const Shard* shard, uint32_t number, uint32_t most, uint32_t own) noexcept nogil

# (Re)start a stream's expiry timer, or clear it where its service has no such limits.
cdef inline void limits_watch(Shard* shard, Stream* stream) noexcept nogil:
    if shard.bounds != NULL and counter32_get(&shard.bounds.timed) != 0:
        watch(shard, stream)

# The connection to its target is made, and young: the same timer says when it is so no more, whatever limits there are.
cdef void limits_grow_up(Shard* shard, Stream* stream) noexcept nogil

# The timer has expired: end the stream, or go on watching it.
cdef void limits_timer(Shard* shard, Stream* stream) noexcept nogil

# Watch all streams by other limits, if the control plane has changed any. Called once a tick.
cdef void limits_follow(Shard* shard) noexcept nogil

# What the two inline functions above do where there is something to do.
cdef Cause import_limit(Shard* shard, uint32_t number, bint fresh) noexcept nogil
cdef void watch(Shard* shard, Stream* stream) noexcept nogil
