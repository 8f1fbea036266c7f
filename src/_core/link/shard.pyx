from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.string cimport memset

from pcgrelay._core.base.result cimport RESULT_OK
from pcgrelay._core.crypto.renewal cimport Renewals, renewals_add
from pcgrelay._core.link.mailbox cimport EVENT_STREAM_END, Event, OUTBOX_TURN, outbox_put


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


# The worker that finds the outbox empty must wake its reader: no other will. So this is kept until it is done.
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


cdef void shard_renew(Shard* shard, Renewals* renewals, uint32_t kind, uint32_t number, uint64_t mix,
                      const uint8_t* secret, uint64_t serial) noexcept nogil:
    cdef Event* event
    if renewals_add(renewals, mix, secret, shard.now_us) != RESULT_OK:
        return
    event = shard_event(shard, kind)
    event.data.renewal.number = number
    event.data.renewal.mix = mix
    event.data.renewal.serial = serial
