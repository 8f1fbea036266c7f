from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy, memset

from pcgrelay._core.base.atomics cimport figure_set
from pcgrelay._core.base.buf cimport pool_alloc, pool_free
from pcgrelay._core.link.gauge cimport LINK_GAUGE_ROUND_TRIP, Gauge, gauge_at, gauge_drop
from pcgrelay._core.link.mailbox cimport EVENT_STREAM_END, OUTBOX_TURN, Event, outbox_put
from pcgrelay._core.base.map cimport map_find, map_put, map_take
from pcgrelay._core.crypto.renewal cimport Renewals, owed_begin, renewals_add, renewals_agree, renewals_wipe
from pcgrelay._core.base.result cimport RESULT_OK


# -- events -----------------------------------------------------------------------------------------------------------

cdef Event* shard_event(Shard* shard, uint32_t kind) noexcept nogil:
    cdef Event* event
    if shard.event_count == OUTBOX_TURN:
        events_put(shard)
    event = &shard.events[shard.event_count]
    shard.event_count += 1
    memset(event, 0, sizeof(Event))
    event.kind = kind
    if kind != EVENT_STREAM_END:
        shard.events_due = True
    return event


# Whoever finds the outbox empty has to wake its reader: nobody after it will. So this is kept until it is done.
cdef void events_put(Shard* shard) noexcept nogil:
    if shard.event_count != 0 and shard.outbox != NULL \
            and outbox_put(shard.outbox, shard.events, shard.event_count):
        shard.wake_due = True
    shard.event_count = 0


cdef void shard_events_pass(Shard* shard, bint* wake) noexcept nogil:
    if shard.events_due or shard.event_count >= EVENTS_WAIT:
        events_put(shard)
        shard.events_due = False
    wake[0] = shard.wake_due
    shard.wake_due = False


# -- links ------------------------------------------------------------------------------------------------------------

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


cdef void shard_renew(Shard* shard, Renewals* renewals, uint32_t kind, uint32_t number, uint64_t mix,
                      const uint8_t* secret, uint64_t serial) noexcept nogil:
    cdef Event* event
    if renewals_add(renewals, mix, secret, shard.now_us) != RESULT_OK:
        return
    event = shard_event(shard, kind)
    event.data.renewal.number = number
    event.data.renewal.mix = mix
    event.data.renewal.serial = serial


cdef void link_mix(Shard* shard, Link* link, uint64_t mix) noexcept nogil:
    cdef Lane* lane = shard.lanes
    renewals_agree(&link.renewals, mix)
    while lane != NULL:
        if lane.link == link:
            owed_begin(&lane.owed, link.renewals.agreed_id, False, shard.now_us)
            lane_dirty(shard, lane)
        lane = lane.next


cdef void link_remove(Shard* shard, Link* link) noexcept nogil:
    map_take(&shard.links, link.number)
    renewals_wipe(&link.renewals)
    gauge_drop(link.gauge)
    pool_free(&shard.pool, link, sizeof(Link))


cdef void link_count_round_trip(Shard* shard, const Link* link) noexcept nogil:
    cdef uint64_t slowest_us = 0
    cdef uint32_t i
    for i in range(link.lane_count):
        if link.lanes[i] != NULL and lane_is_up(link.lanes[i]) and link.lanes[i].round_trip_us > slowest_us:
            slowest_us = link.lanes[i].round_trip_us
    figure_set(&gauge_at(link.gauge, shard.index)[LINK_GAUGE_ROUND_TRIP], slowest_us)
