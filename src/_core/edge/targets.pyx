from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pcgrelay._core.base.timer cimport timer_set
from pcgrelay._core.edge.streams cimport EDGE_LOOK_US, EDGE_NEXT_US
from pcgrelay._core.stream.service_tables cimport Export, Import, Outlet, Sources, tables_export, tables_import
from pcgrelay._core.stream.stream cimport DIAL_TRYING


# Where a stream is to be connected to: an export's targets, or those of an outlet.
cdef const Target* targets_of(const Shard* shard, const Stream* stream, uint32_t* count) noexcept nogil:
    cdef const Export* entry
    cdef const Outlet* outlet
    if stream.direct:
        outlet = direct_outlet(shard, stream)
        count[0] = 0 if outlet == NULL else outlet.target_count
        return NULL if outlet == NULL else outlet.targets
    entry = tables_export(shard.tables, stream.service, stream.service_length)
    count[0] = 0 if entry == NULL else entry.target_count
    return NULL if entry == NULL else entry.targets


# The outlet that a direct stream was led to, by the tables of now; NULL: it is there no more.
cdef const Outlet* direct_outlet(const Shard* shard, const Stream* stream) noexcept nogil:
    cdef const Stream* opener = stream if stream.opener else stream.partner
    cdef const Import* entry
    if opener == NULL or opener.setup == NULL:
        return NULL
    entry = tables_import(shard.tables, <uint32_t>opener.number)
    if entry == NULL or entry.outlets == NULL or opener.setup.outlet >= entry.outlets.count:
        return NULL
    return &entry.outlets.outlet[opener.setup.outlet]


cdef const Target* targets_next(Shard* shard, Stream* stream) noexcept nogil:
    cdef uint32_t count = 0
    cdef const Target* targets = targets_of(shard, stream, &count)
    if stream.target >= count:
        return NULL
    stream.target += 1
    return &targets[stream.target - 1]


cdef bint targets_source(Shard* shard, const Stream* stream, uint16_t family, const Source** source) noexcept nogil:
    cdef const Sources* sources = sources_of(shard, stream)
    cdef uint32_t i
    source[0] = NULL
    if sources == NULL or sources.count == 0:
        return True
    shard.source_turn += 1
    for i in range(sources.count):
        source[0] = &sources.each[(shard.source_turn + i) % sources.count]
        if (<const uint16_t*>source[0].address)[0] == family:
            return True
    return False


cdef uint32_t targets_source_count(const Shard* shard, const Stream* stream) noexcept nogil:
    cdef const Sources* sources = sources_of(shard, stream)
    return 1 if sources == NULL or sources.count == 0 else sources.count


cdef const Sources* sources_of(const Shard* shard, const Stream* stream) noexcept nogil:
    cdef const Outlet* outlet
    cdef const Export* entry
    if stream.direct:
        outlet = direct_outlet(shard, stream)
        return NULL if outlet == NULL else &outlet.sources
    entry = tables_export(shard.tables, stream.service, stream.service_length)
    return NULL if entry == NULL else &entry.sources


cdef bint targets_tell_caller(const Shard* shard, const Stream* stream) noexcept nogil:
    cdef const Export* entry
    if stream.direct or stream.flow == NULL:
        return False
    entry = tables_export(shard.tables, stream.service, stream.service_length)
    return entry != NULL and entry.tells_caller


cdef void targets_again(Shard* shard, Stream* stream) noexcept nogil:
    cdef uint64_t next_us = shard.now_us + EDGE_LOOK_US
    stream.target -= 1
    stream.dial = DIAL_TRYING
    timer_set(&shard.wheel, &stream.timer, next_us if next_us < stream.due_us else stream.due_us)


cdef void targets_dialled(Shard* shard, Stream* stream) noexcept nogil:
    cdef uint64_t next_us = stream.due_us
    cdef uint32_t count = 0
    targets_of(shard, stream, &count)
    stream.dial = DIAL_TRYING
    if stream.target < count and shard.now_us + EDGE_NEXT_US < next_us:
        next_us = shard.now_us + EDGE_NEXT_US
    timer_set(&shard.wheel, &stream.timer, next_us)
