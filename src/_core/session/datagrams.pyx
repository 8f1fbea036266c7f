from libc.stdint cimport uint32_t, uint8_t

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.buf cimport Buf, buf_data, buf_drop
from pcgrelay._core.base.map cimport map_find
from pcgrelay._core.base.result cimport RESULT_BUDGET, RESULT_OK, RESULT_UNKNOWN_FLOW, Result
from pcgrelay._core.base.stats cimport COUNT_UNKNOWN_FLOWS
from pcgrelay._core.link.gauge cimport gauge_at
from pcgrelay._core.link.lane_send cimport lane_backlog, lane_reserve
from pcgrelay._core.link.shard cimport LANE_BACKLOG_SMALL, Shard, UdpLane, flow_lane
from pcgrelay._core.link.udp_lane cimport udp_lane_push
from pcgrelay._core.session.former cimport former_frame, former_takes
from pcgrelay._core.session.session cimport (
    SESSION_GAUGE_SENT_BYTES, Session, flow_session, session_emit, session_fit, session_rx_datagrams,
    session_step_if_due,
)
from pcgrelay._core.stream.flow cimport FLOW_UP, Flow, flow_header
from pcgrelay._core.stream.flow_datagrams cimport (
    flow_bears_datagrams, flow_prepare_datagrams, flow_seal_datagrams,
)


cdef bint session_takes_datagrams(const Shard* shard, const Flow* flow) noexcept nogil:
    return flow.state == FLOW_UP and flow.lane != NULL and flow_bears_datagrams(flow, shard.now_us) \
        and lane_backlog(flow_lane(flow), flow_session(flow).priority) < LANE_BACKLOG_SMALL


cdef Result session_datagrams_begin(Shard* shard, Flow* flow) noexcept nogil:
    cdef Result answer
    if flow.state != FLOW_UP or flow.lane == NULL:
        return RESULT_BUDGET
    answer = session_step_if_due(shard, flow)
    if answer != RESULT_OK:
        return answer
    if not session_takes_datagrams(shard, flow) or not flow_prepare_datagrams(flow, shard.now_us) \
            or not lane_reserve(shard, flow_lane(flow), flow_session(flow).priority):
        return RESULT_BUDGET
    return RESULT_OK


cdef Result session_datagrams(Shard* shard, Flow* flow, Buf* buf, uint32_t length) noexcept nogil:
    cdef Result answer = session_datagrams_begin(shard, flow)
    if answer == RESULT_OK:
        buf = session_fit(&shard.pool, buf, length)
        answer = flow_seal_datagrams(flow, buf, length, shard.now_us)
    if answer != RESULT_OK:
        buf_drop(&shard.pool, buf)
        return answer
    return session_emit(shard, flow, buf)


# -- UDP lanes --------------------------------------------------------------------------------------------------------

cdef Result session_packet_begin(Shard* shard, Flow* flow) noexcept nogil:
    cdef Result answer = session_step_if_due(shard, flow)
    if answer != RESULT_OK:
        return answer
    return RESULT_OK if flow_prepare_datagrams(flow, shard.now_us) else RESULT_BUDGET


cdef Result session_packet(Shard* shard, Flow* flow, UdpLane* lane, Buf* buf, uint32_t length) noexcept nogil:
    cdef Session* session = flow_session(flow)
    cdef Result answer = flow_seal_datagrams(flow, buf, length, shard.now_us)
    if answer == RESULT_OK:
        flow_header(buf, session.out_label, buf_data(buf))
        counter_add(&gauge_at(session.gauge, shard.index)[SESSION_GAUGE_SENT_BYTES], buf.length)
        udp_lane_push(shard, lane, buf_data(buf), length)
    buf_drop(&shard.pool, buf)
    return answer


cdef Result session_rx_packet(Shard* shard, const UdpLane* lane, const Frame* frame, uint8_t* wire,
                              Flow** flow) noexcept nogil:
    cdef Session* session = <Session*>map_find(&shard.labels, frame.flow)
    flow[0] = NULL
    if session == NULL:
        session = <Session*>map_find(&shard.candidates, frame.flow)
        if session != NULL and former_takes(shard, session, lane.link.number, lane.index, frame):
            return former_frame(shard, session, lane.index, frame, wire, flow)
    elif session.link == lane.link.number and lane.index < session.flow_count:
        flow[0] = session.flows[lane.index]
    if flow[0] == NULL:
        counter_add(&shard.stats.count[COUNT_UNKNOWN_FLOWS], 1)
        return RESULT_UNKNOWN_FLOW
    return session_rx_datagrams(shard, session, flow[0], frame, wire)
