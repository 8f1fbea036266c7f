from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.base.tlv cimport Tlv, tlv_bytes, tlv_enter, tlv_fail, tlv_number
from pcgrelay._core.crypto.epoch cimport epoch_wipe
from pcgrelay._core.handover.flows cimport session_read, session_write
from pcgrelay._core.handover.lanes cimport lane_read, lane_write, links_read, links_write, paths_read, paths_write
from pcgrelay._core.handover.streams cimport direct_read, directs_write, stream_read, stream_write
from pcgrelay._core.link.shard cimport Lane, Link, Shard, link_next
from pcgrelay._core.base.map cimport Map
from pcgrelay._core.crypto.renewal cimport renewals_wipe
from pcgrelay._core.base.result cimport RESULT_OK
from pcgrelay._core.session.session cimport Session, session_next
from pcgrelay._core.base.stats cimport STATS_SERVICES
from pcgrelay._core.stream.stream cimport Stream


cdef enum:
    TAG_COUNT = 1
    TAG_REFUSED = 2
    TAG_CAUSE = 3
    TAG_STREAMS_OPEN = 4
    TAG_OF_IMPORT = 5
    TAG_OF_EXPORT = 6
    # 7 was a single turn count for all imports.
    TAG_TOKEN = 8
    TAG_WINDOWS = 9
    TAG_LINK = 10
    TAG_PATH = 11
    TAG_LANE = 12
    TAG_SESSION = 13
    TAG_WAITING = 14
    TAG_TURNS = 15
    TAG_DIRECT = 16
    TAG_OF_LISTENER = 17


cdef void shard_fields(Tlv* self, Shard* shard) noexcept nogil:
    tlv_bytes(self, TAG_COUNT, shard.stats.count, sizeof(shard.stats.count))
    tlv_bytes(self, TAG_REFUSED, shard.stats.refused, sizeof(shard.stats.refused))
    tlv_bytes(self, TAG_CAUSE, shard.stats.cause, sizeof(shard.stats.cause))
    tlv_number(self, TAG_STREAMS_OPEN, &shard.stats.streams, 8)
    tlv_bytes(self, TAG_OF_IMPORT, shard.stats.of_import, STATS_SERVICES * 4)
    tlv_bytes(self, TAG_OF_EXPORT, shard.stats.of_export, STATS_SERVICES * 4)
    tlv_bytes(self, TAG_OF_LISTENER, shard.stats.of_listener, sizeof(shard.stats.of_listener))
    tlv_bytes(self, TAG_TURNS, shard.turns, sizeof(shard.turns))
    tlv_number(self, TAG_TOKEN, &shard.token, 8)
    tlv_number(self, TAG_WINDOWS, &shard.windows, 8)


cdef void handover_write(Tlv* self, Shard* shard) noexcept nogil:
    cdef uint32_t at = 0
    cdef Lane* lane = shard.lanes
    cdef Session* session
    cdef Stream* stream = shard.waiting
    shard_fields(self, shard)
    links_write(self, TAG_LINK, shard)
    paths_write(self, TAG_PATH, shard)
    while lane != NULL:
        lane_write(self, TAG_LANE, shard, lane)
        lane = lane.next
    session = session_next(shard, &at)
    while session != NULL:
        session_write(self, TAG_SESSION, shard, session)
        session = session_next(shard, &at)
    while stream != NULL:
        stream_write(self, TAG_WAITING, stream)
        stream = stream.next
    directs_write(self, TAG_DIRECT, shard)


cdef void handover_read(Tlv* self, Shard* shard, Map* link_gauges, Map* session_gauges) noexcept nogil:
    cdef Tlv inner
    cdef uint64_t at = 0
    shard_fields(self, shard)
    links_read(self, TAG_LINK, shard, link_gauges)
    paths_read(self, TAG_PATH, shard)
    # Some LOST frames may be owed; the tick checks.
    shard.losts_owed = True
    while tlv_enter(self, TAG_LANE, &at, &inner):
        lane_read(&inner, shard)
        if inner.result != RESULT_OK:
            tlv_fail(self, inner.result)
    at = 0
    while tlv_enter(self, TAG_SESSION, &at, &inner):
        session_read(&inner, shard, session_gauges)
        if inner.result != RESULT_OK:
            tlv_fail(self, inner.result)
    at = 0
    while tlv_enter(self, TAG_WAITING, &at, &inner):
        stream_read(&inner, shard, NULL, False)
        if inner.result != RESULT_OK:
            tlv_fail(self, inner.result)
    turn_waiting(shard)
    at = 0
    while tlv_enter(self, TAG_DIRECT, &at, &inner):
        direct_read(&inner, shard)
        if inner.result != RESULT_OK:
            tlv_fail(self, inner.result)


# Each was added at the front, and the list must have the newest first.
cdef void turn_waiting(Shard* shard) noexcept nogil:
    cdef Stream* stream = shard.waiting
    cdef Stream* following
    shard.waiting = NULL
    while stream != NULL:
        following = stream.next
        stream.next = shard.waiting
        shard.waiting = stream
        stream = following


cdef void handover_wipe(Shard* shard) noexcept nogil:
    cdef Lane* lane = shard.lanes
    cdef Link* link
    cdef Session* session
    cdef uint32_t at = 0
    cdef uint32_t i
    while lane != NULL:
        epoch_wipe(&lane.tx)
        epoch_wipe(&lane.rx)
        lane = lane.next
    link = link_next(shard, &at)
    while link != NULL:
        renewals_wipe(&link.renewals)
        link = link_next(shard, &at)
    at = 0
    session = session_next(shard, &at)
    while session != NULL:
        renewals_wipe(&session.renewals)
        for i in range(session.flow_count):
            if session.flows[i] != NULL:
                epoch_wipe(&session.flows[i].tx)
                epoch_wipe(&session.flows[i].rx)
        session = session_next(shard, &at)
