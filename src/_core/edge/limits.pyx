from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from pcgrelay._core.base.atomics cimport atomic_add, counter32_get, counter_get, shared_spend
from pcgrelay._core.base.bucket cimport bucket_has
from pcgrelay._core.base.organisation cimport Share, organisation_share
from pcgrelay._core.base.stats cimport (
    CAUSE_DONE, CAUSE_DURATION, CAUSE_IDLE, CAUSE_LIMIT, CAUSE_ORGANISATION_LIMIT, CAUSE_RATE_LIMIT, STATS_SERVICES,
    Bounds, ServiceBounds,
)
from pcgrelay._core.base.timer cimport timer_clear, timer_set
from pcgrelay._core.base.wire cimport CODE_TIMEOUT
from pcgrelay._core.edge.streams cimport edge_abort
from pcgrelay._core.session.stream_walk cimport StreamWalk, stream_walk_next
from pcgrelay._core.stream.stream cimport FAR_CUT, LIFE_LIVE, stream_is_shadow, stream_young_until


cdef enum:
    SECOND_US = 1000000
    IDLE_LOOKS = 4              # in an idle time
    REST_US = 10000             # of a listener


cdef inline const ServiceBounds* bounds_of(const Shard* shard, int number, bint opener) noexcept nogil:
    # -1, of no service, is beyond all others.
    cdef uint32_t place = <uint32_t>number
    if shard.bounds == NULL or place >= STATS_SERVICES:
        return NULL
    return &shard.bounds.of_import[place] if opener else &shard.bounds.of_export[place]


cdef bint is_full(const Bounds* bounds, uint32_t most, uint32_t number, bint opener, uint32_t more) noexcept nogil:
    cdef uint32_t i
    if most == 0:
        return False
    for i in range(bounds.workers):
        more += counter32_get(&bounds.stats[i].of_import[number] if opener else &bounds.stats[i].of_export[number])
    return more > most


# A second's worth may come at once.
cdef bint spend(uint64_t* until_us, uint64_t now_us, uint32_t each_second) noexcept nogil:
    cdef uint64_t each_us
    if each_second == 0:
        return True
    each_us = SECOND_US / each_second if each_second < SECOND_US else 1
    if not bucket_has(counter_get(until_us), now_us, each_second, each_us):
        return False
    shared_spend(until_us, now_us, each_us, each_second * each_us)
    return True


cdef Cause import_limit(Shard* shard, uint32_t number, bint fresh) noexcept nogil:
    cdef const ServiceBounds* most = &shard.bounds.of_import[number]
    if is_full(shard.bounds, counter32_get(&most.streams), number, True, 1):
        return CAUSE_LIMIT
    if fresh and not spend(&shard.bounds.import_rate_us[number], shard.now_us, counter32_get(&most.each_second)):
        return CAUSE_RATE_LIMIT
    return CAUSE_DONE


cdef bint limits_may_associate(Shard* shard, Clients* clients, uint32_t each_second) noexcept nogil:
    cdef uint64_t* budget = &clients.begun_us
    if shard.bounds != NULL and clients.number < STATS_SERVICES:
        budget = &shard.bounds.import_rate_us[clients.number]
    if limits_rests(shard, clients):
        return False
    if spend(budget, shard.now_us, each_second):
        return True
    clients.rest_us = shard.now_us + REST_US
    return False


cdef bint limits_is_full(const Shard* shard, uint32_t number, uint32_t most, uint32_t own) noexcept nogil:
    if most == 0:
        return False
    if shard.bounds == NULL or number >= STATS_SERVICES:
        return own >= most
    return own >= most or is_full(shard.bounds, most, number, True, 1)


# What one organisation has of all exports together.
cdef Cause limits_of_peer(Shard* shard, Organisation* peer) noexcept nogil:
    cdef const ServiceBounds* most = &shard.bounds.of_peer
    cdef uint32_t streams = counter32_get(&most.streams)
    if streams != 0 and <uint32_t>atomic_add(&peer.streams, 0) > streams:
        return CAUSE_ORGANISATION_LIMIT
    if not spend(&peer.rate_us, shard.now_us, counter32_get(&most.each_second)):
        return CAUSE_RATE_LIMIT
    return CAUSE_DONE


cdef Cause limits_of_export(Shard* shard, Organisation* peer, uint32_t number) noexcept nogil:
    cdef const ServiceBounds* most = bounds_of(shard, <int>number, False)
    cdef Share* share = organisation_share(peer, <int>number)
    cdef uint32_t of_each
    cdef Cause cause = CAUSE_DONE
    if shard.bounds != NULL and peer != NULL:
        cause = limits_of_peer(shard, peer)
    if most == NULL or cause != CAUSE_DONE:
        return cause
    if share != NULL:
        # First what this organisation alone has used up.
        of_each = counter32_get(&most.of_each)
        if of_each != 0 and <uint32_t>atomic_add(&share.streams, 0) > of_each:
            return CAUSE_ORGANISATION_LIMIT
    if is_full(shard.bounds, counter32_get(&most.streams), number, False, 0):
        return CAUSE_LIMIT
    if share != NULL and not spend(&share.rate_us, shard.now_us, counter32_get(&most.each_second)):
        return CAUSE_RATE_LIMIT
    return CAUSE_DONE


cdef inline uint64_t moved(const Stream* stream) noexcept nogil:
    return stream.tx.sent + stream.rx.consumed


cdef void watch(Shard* shard, Stream* stream) noexcept nogil:
    cdef const ServiceBounds* most = bounds_of(shard, stream.number, stream.opener)
    cdef uint64_t idle_us, lasts_us
    cdef uint64_t due_us = 0
    if most == NULL or stream_is_shadow(stream) or (stream.direct and not stream.opener):
        return
    idle_us = <uint64_t>counter32_get(&most.idle_s) * SECOND_US
    lasts_us = <uint64_t>counter32_get(&most.lasts_s) * SECOND_US
    stream.expiry.owner = stream
    if idle_us == 0:
        stream.still_us = 0
    else:
        if stream.still_us == 0:
            stream.still_us = shard.now_us
            stream.still_bytes = moved(stream)
        due_us = shard.now_us + idle_us / IDLE_LOOKS
    if lasts_us != 0 and (due_us == 0 or stream.opened_us + lasts_us < due_us):
        due_us = stream.opened_us + lasts_us
    if stream.young and (due_us == 0 or stream_young_until(stream) < due_us):
        due_us = stream_young_until(stream)
    if due_us != 0:
        timer_set(&shard.wheel, &stream.expiry, due_us)
    else:
        timer_clear(&shard.wheel, &stream.expiry)


cdef void limits_grow_up(Shard* shard, Stream* stream) noexcept nogil:
    stream.young = True
    stream.expiry.owner = stream
    if stream.expiry.next == NULL or stream_young_until(stream) < stream.expiry.due_us:
        timer_set(&shard.wheel, &stream.expiry, stream_young_until(stream))


cdef void limits_timer(Shard* shard, Stream* stream) noexcept nogil:
    cdef const ServiceBounds* most = bounds_of(shard, stream.number, stream.opener)
    cdef uint64_t idle_us, lasts_us
    if most == NULL or stream.life != LIFE_LIVE or (stream.direct and not stream.opener):
        return
    idle_us = <uint64_t>counter32_get(&most.idle_s) * SECOND_US
    lasts_us = <uint64_t>counter32_get(&most.lasts_s) * SECOND_US
    if moved(stream) != stream.still_bytes:
        stream.still_bytes = moved(stream)
        stream.still_us = shard.now_us
    if stream.far == FAR_CUT:
        # It has ended, and is only still read by its application.
        watch(shard, stream)
    elif lasts_us != 0 and shard.now_us >= stream.opened_us + lasts_us:
        edge_abort(shard, stream, CODE_TIMEOUT, CAUSE_DURATION)
    elif idle_us != 0 and stream.still_us != 0 and shard.now_us >= stream.still_us + idle_us:
        edge_abort(shard, stream, CODE_TIMEOUT, CAUSE_IDLE)
    else:
        watch(shard, stream)


cdef void limits_follow(Shard* shard) noexcept nogil:
    cdef StreamWalk walk
    cdef Stream* stream
    cdef uint32_t times
    if shard.bounds == NULL:
        return
    times = counter32_get(&shard.bounds.times)
    if times == shard.times_seen:
        return
    shard.times_seen = times
    memset(&walk, 0, sizeof(StreamWalk))
    stream = stream_walk_next(shard, &walk)
    while stream != NULL:
        if stream.life == LIFE_LIVE:
            watch(shard, stream)
        stream = stream_walk_next(shard, &walk)
    stream = shard.waiting
    while stream != NULL:
        watch(shard, stream)
        stream = stream.next
    stream = shard.directs
    while stream != NULL:
        if stream.life == LIFE_LIVE:
            watch(shard, stream)
        stream = stream.next_direct
