from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc

from pcgrelay._core.base.buf cimport pool_alloc, pool_free
from pcgrelay._core.base.handle cimport HANDLE_UDP_LANES
from pcgrelay._core.base.map cimport map_find, map_put
from pcgrelay._core.base.result cimport RESULT_BAD_FIELD, RESULT_NO_MEMORY, RESULT_OK
from pcgrelay._core.base.tlv cimport (
    Tlv, tlv_bytes, tlv_descriptor, tlv_enter, tlv_fail, tlv_number, tlv_open, tlv_shut,
)
from pcgrelay._core.base.wire cimport PURPOSE_HOP_HEADER, WIRE_UDP_BODY_MAX
from pcgrelay._core.crypto.replay cimport replay_close
from pcgrelay._core.handover.keys cimport epoch_read, epoch_write
from pcgrelay._core.link.gauge cimport gauge_udp_begin
from pcgrelay._core.link.link cimport link_find
from pcgrelay._core.link.shard cimport UdpLane, UdpSocket
from pcgrelay._core.link.udp_probes cimport UDP_BROKEN, UDP_OPENING, UDP_UP, UdpProbes, probes_begin


cdef enum:
    SOCKET_NUMBER = 1
    SOCKET_DESCRIPTOR = 2

cdef enum:
    UDP_LINK = 1
    UDP_SOCKET = 2
    UDP_INDEX = 3
    UDP_NUMBER = 4
    UDP_TOKEN = 5
    UDP_PEER_TOKEN = 6
    UDP_PEER = 7
    UDP_PEER_LENGTH = 8
    UDP_TX = 9
    UDP_RX = 10
    UDP_TX_NUMBER = 11
    UDP_WINDOW = 12
    UDP_SENT = 13
    UDP_TAKEN = 14
    UDP_REFUSED = 15
    UDP_OPENED = 16
    UDP_UNTIL = 17
    UDP_REPORTS_AT = 18
    UDP_TOLD_SPENT = 19
    UDP_USED = 20
    UDP_STATE = 21
    UDP_LONGEST = 22
    UDP_MEND = 23
    UDP_UP_SINCE = 24
    UDP_ROUND_TRIP = 25
    UDP_TOLD_SILENT = 26

cdef extern from *:
    """
    /* Hop numbers that are not used in a hand-over, so that none is used twice, whatever the other process did last. */
    #define UDP_SKIPPED 65536
    """
    const uint64_t UDP_SKIPPED


cdef void udp_write(Tlv* self, uint16_t socket_tag, uint16_t lane_tag, Shard* shard) noexcept nogil:
    cdef UdpSocket* socket = shard.udp_sockets
    cdef UdpLane* lane = shard.udp_lanes
    cdef uint64_t mark
    while socket != NULL:
        mark = tlv_open(self, socket_tag)
        tlv_number(self, SOCKET_NUMBER, &socket.number, 4)
        tlv_descriptor(self, SOCKET_DESCRIPTOR, &socket.handle.fd)
        tlv_shut(self, mark)
        socket = socket.next
    while lane != NULL:
        lane_write(self, lane_tag, lane)
        lane = lane.next


cdef void lane_fields(Tlv* self, UdpLane* lane) noexcept nogil:
    tlv_number(self, UDP_INDEX, &lane.index, 4)
    tlv_number(self, UDP_NUMBER, &lane.number, 4)
    tlv_number(self, UDP_TOKEN, &lane.token, 4)
    tlv_number(self, UDP_PEER_TOKEN, &lane.peer_token, 4)
    tlv_bytes(self, UDP_PEER, lane.peer, sizeof(lane.peer))
    tlv_number(self, UDP_PEER_LENGTH, &lane.peer_length, 4)
    tlv_number(self, UDP_TX_NUMBER, &lane.tx_number, 8)
    tlv_number(self, UDP_WINDOW, &lane.window.next, 8)
    tlv_number(self, UDP_SENT, &lane.sent_packets, 8)
    tlv_number(self, UDP_TAKEN, &lane.taken_packets, 8)
    tlv_number(self, UDP_REFUSED, &lane.refused_packets, 8)
    tlv_number(self, UDP_OPENED, &lane.opened_us, 8)
    tlv_number(self, UDP_UNTIL, &lane.until_us, 8)
    tlv_number(self, UDP_REPORTS_AT, &lane.reports_us, 8)
    tlv_number(self, UDP_TOLD_SPENT, &lane.told_spent, sizeof(lane.told_spent))


# Silence and loss are measured anew.
cdef void probes_fields(Tlv* self, UdpProbes* probes) noexcept nogil:
    tlv_number(self, UDP_STATE, &probes.state, 1)
    tlv_number(self, UDP_LONGEST, &probes.longest, 4)
    tlv_number(self, UDP_MEND, &probes.mend_us, 8)
    tlv_number(self, UDP_UP_SINCE, &probes.up_us, 8)
    tlv_number(self, UDP_ROUND_TRIP, &probes.round_trip_us, 8)
    tlv_number(self, UDP_TOLD_SILENT, &probes.told, sizeof(probes.told))


cdef void lane_write(Tlv* self, uint16_t tag, UdpLane* lane) noexcept nogil:
    cdef uint64_t mark = tlv_open(self, tag)
    cdef bint used = lane.link.udp_lanes[lane.index] == lane
    tlv_number(self, UDP_LINK, &lane.link.number, 4)
    tlv_number(self, UDP_SOCKET, &lane.socket.number, 4)
    tlv_number(self, UDP_USED, &used, sizeof(used))
    lane_fields(self, lane)
    probes_fields(self, &lane.probes)
    epoch_write(self, UDP_TX, &lane.tx)
    epoch_write(self, UDP_RX, &lane.rx)
    tlv_shut(self, mark)


cdef void udp_read(Tlv* self, uint16_t socket_tag, uint16_t lane_tag, Shard* shard) noexcept nogil:
    cdef Tlv inner
    cdef uint64_t at = 0
    while tlv_enter(self, socket_tag, &at, &inner):
        socket_read(&inner, shard)
        if inner.result != RESULT_OK:
            tlv_fail(self, inner.result)
    at = 0
    while tlv_enter(self, lane_tag, &at, &inner):
        lane_read(&inner, shard)
        if inner.result != RESULT_OK:
            tlv_fail(self, inner.result)


cdef UdpSocket* find_socket(Shard* shard, uint32_t number) noexcept nogil:
    cdef UdpSocket* socket = shard.udp_sockets
    while socket != NULL and socket.number != number:
        socket = socket.next
    return socket


cdef void socket_read(Tlv* self, Shard* shard) noexcept nogil:
    cdef UdpSocket* socket = <UdpSocket*>calloc(1, sizeof(UdpSocket))
    if socket == NULL:
        tlv_fail(self, RESULT_NO_MEMORY)
        return
    socket.handle.kind = HANDLE_UDP_LANES
    socket.handle.fd = -1
    tlv_number(self, SOCKET_NUMBER, &socket.number, 4)
    tlv_descriptor(self, SOCKET_DESCRIPTOR, &socket.handle.fd)
    if socket.number == 0 or socket.handle.fd < 0 or find_socket(shard, socket.number) != NULL:
        tlv_fail(self, RESULT_BAD_FIELD)
    # In any case: it is closed with the others.
    socket.next = shard.udp_sockets
    shard.udp_sockets = socket


cdef void lane_read(Tlv* self, Shard* shard) noexcept nogil:
    cdef uint32_t link = 0
    cdef uint32_t socket = 0
    cdef bint used = False
    cdef UdpLane* lane = <UdpLane*>pool_alloc(&shard.pool, sizeof(UdpLane))
    if lane == NULL:
        tlv_fail(self, RESULT_NO_MEMORY)
        return
    tlv_number(self, UDP_LINK, &link, 4)
    tlv_number(self, UDP_SOCKET, &socket, 4)
    tlv_number(self, UDP_USED, &used, sizeof(used))
    lane.link = link_find(shard, link)
    lane.socket = find_socket(shard, socket)
    lane_fields(self, lane)
    probes_begin(&lane.probes, shard.now_us)
    probes_fields(self, &lane.probes)
    if self.result != RESULT_OK or not is_sound(shard, lane, used) \
            or not map_put(&shard.udp_tokens, lane.token, lane):
        tlv_fail(self, RESULT_BAD_FIELD)
        pool_free(&shard.pool, lane, sizeof(UdpLane))
        return
    # It is counted from here on.
    lane.sent_counted = lane.sent_packets
    lane.taken_counted = lane.taken_packets
    lane.refused_counted = lane.refused_packets
    lane.tx_number += UDP_SKIPPED
    replay_close(&lane.window)
    lane.next = shard.udp_lanes
    shard.udp_lanes = lane
    if used:
        lane.link.udp_lanes[lane.index] = lane
    epoch_read(self, UDP_TX, shard, &lane.tx, PURPOSE_HOP_HEADER, True, lane.tx_number, lane.tx_number)
    epoch_read(self, UDP_RX, shard, &lane.rx, PURPOSE_HOP_HEADER, False, 0, 0)


cdef bint is_sound(Shard* shard, const UdpLane* lane, bint used) noexcept nogil:
    if lane.link == NULL or lane.socket == NULL or not gauge_udp_begin(lane.link.gauge):
        return False
    if lane.index >= lane.link.lane_count or lane.index % shard.workers != shard.index or lane.token == 0 \
            or map_find(&shard.udp_tokens, lane.token) != NULL or lane.peer_length > sizeof(lane.peer):
        return False
    if not UDP_OPENING <= lane.probes.state <= UDP_BROKEN or not 0 < lane.probes.longest <= WIRE_UDP_BODY_MAX:
        return False
    return not used or (lane.probes.state == UDP_UP and lane.link.udp_lanes[lane.index] == NULL
                        and lane.peer_token != 0 and lane.peer_length != 0)
