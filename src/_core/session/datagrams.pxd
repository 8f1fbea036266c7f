# DATAGRAMS frames of an edge's sessions. What cannot be sent at once is dropped: a datagram that waits is of less use
# than the next one, and the application or its peer sends again what it needs.
from libc.stdint cimport uint32_t, uint8_t

from pcgrelay._core.base.buf cimport Buf
from pcgrelay._core.base.result cimport Result
from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.link.shard cimport Shard, UdpLane, flow_lane
from pcgrelay._core.stream.flow cimport FLOW_UP, Flow


# Whether a frame of datagrams of this flow would be sent now. Ask before one is built: what it would carry may wait,
# and grow old, in the queues of its streams.
cdef bint session_takes_datagrams(const Shard* shard, const Flow* flow) noexcept nogil

# Prepare for a frame of them: make a step of the epoch if one is due. RESULT_OK: the next session_datagrams is sent, if
# it is called at once. RESULT_BUDGET: not now. Anything else ends the session.
cdef Result session_datagrams_begin(Shard* shard, Flow* flow) noexcept nogil

# Seal DATAGRAMS of length bytes in buf and send them. The reference passes; it is not retained. RESULT_BUDGET: nothing
# was sent, for nobody had prepared for it. Anything else ends the session.
cdef Result session_datagrams(Shard* shard, Flow* flow, Buf* buf, uint32_t length) noexcept nogil

# The UDP lane by which datagrams of a flow may go; NULL: there is none.
cdef inline UdpLane* session_udp_lane(const Flow* flow) noexcept nogil:
    return NULL if flow.state != FLOW_UP or flow.lane == NULL \
        else flow_lane(flow).link.udp_lanes[flow_lane(flow).index]

# Prepare for a frame that goes by a UDP lane: as session_datagrams_begin, but nothing waits there.
cdef Result session_packet_begin(Shard* shard, Flow* flow) noexcept nogil

# Seal DATAGRAMS of length bytes in buf, and send them by the UDP lane. The reference passes. The results are those of
# session_datagrams.
cdef Result session_packet(Shard* shard, Flow* flow, UdpLane* lane, Buf* buf, uint32_t length) noexcept nogil

# Open DATAGRAMS that came by a UDP lane. *flow: the flow, or NULL. RESULT_OK: records in clear lie behind the prefix.
# RESULT_DUPLICATE, RESULT_UNKNOWN_FLOW: ignore it; it is counted. Anything else: end the session for that reason.
cdef Result session_rx_packet(Shard* shard, const UdpLane* lane, const Frame* frame, uint8_t* wire,
                              Flow** flow) noexcept nogil
