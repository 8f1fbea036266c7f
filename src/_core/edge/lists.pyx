from pcgrelay._core.base.map cimport map_remove
from pcgrelay._core.base.timer cimport timer_clear
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.stream.flow cimport Flow, stream_flow
from pcgrelay._core.stream.stream_list cimport list_push, list_remove
from pcgrelay._core.stream.stream cimport LIFE_DEFERRED, PLACE_NONE, PLACE_READY, Stream


cdef void edge_wait(Shard* shard, Stream* stream) noexcept nogil:
    stream.next = shard.waiting
    shard.waiting = stream
    shard.waiting_count += 1


cdef void edge_unwait(Shard* shard, Stream* stream) noexcept nogil:
    cdef Stream** at = &shard.waiting
    while at[0] != NULL and at[0] != stream:
        at = &at[0].next
    if at[0] == stream:
        at[0] = stream.next
        stream.next = NULL
        shard.waiting_count -= 1


cdef void edge_activate(Shard* shard, Flow* flow) noexcept nogil:
    if flow.active:
        return
    flow.active = True
    flow.next_active = NULL
    if shard.active_first == NULL:
        shard.active_first = flow
    else:
        shard.active_last.next_active = flow
    shard.active_last = flow


cdef void edge_ready(Shard* shard, Stream* stream) noexcept nogil:
    cdef Flow* flow = stream_flow(stream)
    if flow == NULL or stream.place != PLACE_NONE or stream.life == LIFE_DEFERRED:
        if stream.direct and stream.place == PLACE_NONE and stream.life != LIFE_DEFERRED:
            list_push(&shard.direct_ready, stream)
        return
    list_push(&flow.bulk if stream.bulk and stream.say == 0 else &flow.small, stream)
    edge_activate(shard, flow)


# In the order of the received records, so that targets are dialled in the order in which their clients connected.
cdef void edge_dirty(Shard* shard, Stream* stream) noexcept nogil:
    if stream.dirty:
        return
    stream.dirty = True
    stream.next_dirty = NULL
    if shard.dirty_streams == NULL:
        shard.dirty_streams = stream
    else:
        shard.dirty_last.next_dirty = stream
    shard.dirty_last = stream


# Freed at the end of the turn: epoll's events of this turn may still name its socket.
cdef void edge_bury(Shard* shard, Stream* stream) noexcept nogil:
    cdef Flow* flow = stream_flow(stream)
    if stream.life == LIFE_DEFERRED:
        return
    stream.life = LIFE_DEFERRED
    if stream.expiry.next != NULL:
        timer_clear(&shard.wheel, &stream.expiry)
    edge_direct_remove(shard, stream)
    if flow != NULL:
        map_remove(&flow.streams, stream.id)
    stream.next = shard.deferred_streams
    shard.deferred_streams = stream


cdef void edge_direct_add(Shard* shard, Stream* stream) noexcept nogil:
    stream.direct = True
    stream.prev_direct = NULL
    stream.next_direct = shard.directs
    if stream.next_direct != NULL:
        stream.next_direct.prev_direct = stream
    shard.directs = stream


cdef void edge_direct_remove(Shard* shard, Stream* stream) noexcept nogil:
    if not stream.direct:
        return
    stream.direct = False
    if stream.place == PLACE_READY:
        list_remove(&shard.direct_ready, stream)
    if stream.prev_direct == NULL:
        shard.directs = stream.next_direct
    else:
        stream.prev_direct.next_direct = stream.next_direct
    if stream.next_direct != NULL:
        stream.next_direct.prev_direct = stream.prev_direct
