from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy, memset

from pcgrelay._core.base.ports cimport (
    PORTS_ADDRESS, PORTS_AGAIN_US, PORTS_UNKNOWN, PortRing, ports_closed, ports_number, ports_restore, ports_ring,
)
from pcgrelay._core.base.tlv cimport (
    Tlv, tlv_bytes, tlv_enter, tlv_fail, tlv_next, tlv_number, tlv_open, tlv_raw, tlv_shut,
)
from pcgrelay._core.crypto.epoch cimport epoch_wipe
from pcgrelay._core.handover.flows cimport session_read, session_write
from pcgrelay._core.handover.lanes cimport lane_read, lane_write, links_read, links_write, paths_read, paths_write
from pcgrelay._core.handover.streams cimport direct_read, directs_write, stream_read, stream_write
from pcgrelay._core.handover.udp_lanes cimport udp_read, udp_write
from pcgrelay._core.link.shard cimport Lane, Link, Shard, UdpLane, link_next
from pcgrelay._core.base.map cimport Map, map_find, map_put
from pcgrelay._core.crypto.renewal cimport renewals_wipe
from pcgrelay._core.base.result cimport RESULT_BAD_FIELD, RESULT_NO_MEMORY, RESULT_OK
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
    TAG_PORTS = 18              # it writes its rings of ports, be there none
    TAG_RING = 19
    TAG_DROPPED_DATAGRAMS = 20
    TAG_UDP_SOCKET = 21
    TAG_UDP_LANE = 22

cdef enum:
    RING_NUMBER = 1
    RING_SOURCE = 2
    RING_TARGET = 3
    RING_CLOSED = 4             # for each half: the time << 16, and the port


cdef void shard_fields(Tlv* self, Shard* shard) noexcept nogil:
    tlv_bytes(self, TAG_COUNT, shard.stats.count, sizeof(shard.stats.count))
    tlv_bytes(self, TAG_REFUSED, shard.stats.refused, sizeof(shard.stats.refused))
    tlv_bytes(self, TAG_CAUSE, shard.stats.cause, sizeof(shard.stats.cause))
    tlv_bytes(self, TAG_DROPPED_DATAGRAMS, shard.stats.dropped, sizeof(shard.stats.dropped))
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
    rings_write(self, shard)
    links_write(self, TAG_LINK, shard)
    paths_write(self, TAG_PATH, shard)
    while lane != NULL:
        lane_write(self, TAG_LANE, shard, lane)
        lane = lane.next
    udp_write(self, TAG_UDP_SOCKET, TAG_UDP_LANE, shard)
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
    rings_read(self, shard)
    links_read(self, TAG_LINK, shard, link_gauges)
    paths_read(self, TAG_PATH, shard)
    # Some LOST frames may be owed; the tick checks.
    shard.losts_owed = True
    while tlv_enter(self, TAG_LANE, &at, &inner):
        lane_read(&inner, shard)
        if inner.result != RESULT_OK:
            tlv_fail(self, inner.result)
    udp_read(self, TAG_UDP_SOCKET, TAG_UDP_LANE, shard)
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


# Of the ports that were closed, those that may not be used yet.
cdef void rings_write(Tlv* self, Shard* shard) noexcept nogil:
    cdef PortRing* ring = shard.ports.rings
    cdef uint8_t known = 1
    cdef uint64_t mark
    ports_number(&shard.ports)
    tlv_number(self, TAG_PORTS, &known, 1)
    while ring != NULL:
        mark = tlv_open(self, TAG_RING)
        tlv_number(self, RING_NUMBER, &ring.number, 4)
        tlv_bytes(self, RING_SOURCE, ring.source, PORTS_ADDRESS)
        tlv_bytes(self, RING_TARGET, ring.target, PORTS_ADDRESS)
        closed_write(self, shard, ring, 0)
        closed_write(self, shard, ring, 1)
        tlv_shut(self, mark)
        ring = ring.next


cdef void closed_write(Tlv* self, Shard* shard, PortRing* ring, uint32_t half) noexcept nogil:
    cdef uint64_t mark = tlv_open(self, RING_CLOSED)
    cdef uint64_t closed_us = 0, item
    cdef uint32_t at = 0
    cdef uint16_t port
    while True:
        port = ports_closed(&shard.ports, ring, half, at, &closed_us)
        if port == 0:
            break
        at += 1
        if closed_us + PORTS_AGAIN_US > shard.now_us:
            item = closed_us << 16 | port
            tlv_raw(self, &item, sizeof(item))
    tlv_shut(self, mark)


cdef void rings_read(Tlv* self, Shard* shard) noexcept nogil:
    cdef Tlv inner
    cdef uint64_t at = 0
    cdef uint8_t known = 0
    tlv_number(self, TAG_PORTS, &known, 1)
    if not known:
        # An older process, that had its ports from the system.
        shard.ports.from_us = PORTS_UNKNOWN
    while tlv_enter(self, TAG_RING, &at, &inner):
        ring_read(&inner, shard)
        if inner.result != RESULT_OK:
            tlv_fail(self, inner.result)


cdef void ring_read(Tlv* self, Shard* shard) noexcept nogil:
    cdef uint8_t source[PORTS_ADDRESS]
    cdef uint8_t target[PORTS_ADDRESS]
    cdef uint32_t number = 0
    cdef PortRing* ring
    memset(source, 0, sizeof(source))
    memset(target, 0, sizeof(target))
    tlv_number(self, RING_NUMBER, &number, 4)
    tlv_bytes(self, RING_SOURCE, source, PORTS_ADDRESS)
    tlv_bytes(self, RING_TARGET, target, PORTS_ADDRESS)
    if self.result != RESULT_OK or number == 0 or map_find(&shard.ports.by_number, number) != NULL:
        tlv_fail(self, RESULT_BAD_FIELD)
        return
    ring = ports_ring(&shard.ports, &shard.pool, source, target, shard.now_us, True)
    if ring == NULL or not map_put(&shard.ports.by_number, number, ring):
        tlv_fail(self, RESULT_NO_MEMORY)
        return
    closed_read(self, shard, ring)


cdef void closed_read(Tlv* self, Shard* shard, PortRing* ring) noexcept nogil:
    cdef uint64_t at = 0, n = 0, item
    cdef uint8_t* p = NULL
    while tlv_next(self, RING_CLOSED, &at, &p, &n):
        while n >= sizeof(item):
            memcpy(&item, p, sizeof(item))
            p += sizeof(item)
            n -= sizeof(item)
            if not ports_restore(&shard.ports, &shard.pool, ring, item & 0xffff, item >> 16, False):
                tlv_fail(self, RESULT_BAD_FIELD)
                return


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
    cdef UdpLane* udp = shard.udp_lanes
    cdef Link* link
    cdef Session* session
    cdef uint32_t at = 0
    cdef uint32_t i
    while lane != NULL:
        epoch_wipe(&lane.tx)
        epoch_wipe(&lane.rx)
        lane = lane.next
    while udp != NULL:
        epoch_wipe(&udp.tx)
        epoch_wipe(&udp.rx)
        udp = udp.next
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
