from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy

from pcgrelay._core.base.atomics cimport counter_set
from pcgrelay._core.base.buf cimport pool_alloc, pool_free
from pcgrelay._core.base.map cimport map_find, map_put, map_remove
from pcgrelay._core.crypto.renewal cimport owed_begin, renewals_agree, renewals_wipe
from pcgrelay._core.link.gauge cimport Gauge, LINK_GAUGE_ROUND_TRIP, gauge_at, gauge_drop
from pcgrelay._core.link.shard cimport Lane, Link, Shard, lane_dirty, lane_is_up


cdef Link* link_add(Shard* shard, uint32_t number, uint32_t suite, bint dialler, uint32_t lanes,
                    const uint8_t* binding, Gauge* gauge) noexcept nogil:
    cdef Link* link = <Link*>pool_alloc(&shard.pool, sizeof(Link))
    if link == NULL:
        return NULL
    link.number = number
    link.suite = suite
    link.dialler = dialler
    link.lane_count = lanes
    link.gauge = gauge
    memcpy(link.binding, binding, 32)
    if not map_put(&shard.links, number, link):
        pool_free(&shard.pool, link, sizeof(Link))
        return NULL
    return link


cdef Link* link_find(Shard* shard, uint32_t number) noexcept nogil:
    return <Link*>map_find(&shard.links, number)


cdef void link_mix(Shard* shard, Link* link, uint64_t mix) noexcept nogil:
    cdef Lane* lane = shard.lanes
    renewals_agree(&link.renewals, mix)
    while lane != NULL:
        if lane.link == link:
            owed_begin(&lane.owed, link.renewals.agreed_id, False, shard.now_us)
            lane_dirty(shard, lane)
        lane = lane.next


cdef void link_remove(Shard* shard, Link* link) noexcept nogil:
    map_remove(&shard.links, link.number)
    renewals_wipe(&link.renewals)
    gauge_drop(link.gauge)
    pool_free(&shard.pool, link, sizeof(Link))


cdef void link_count_round_trip(Shard* shard, const Link* link) noexcept nogil:
    cdef uint64_t slowest_us = 0
    cdef uint32_t i
    for i in range(link.lane_count):
        if link.lanes[i] != NULL and lane_is_up(link.lanes[i]) and link.lanes[i].round_trip_us > slowest_us:
            slowest_us = link.lanes[i].round_trip_us
    counter_set(&gauge_at(link.gauge, shard.index)[LINK_GAUGE_ROUND_TRIP], slowest_us)
