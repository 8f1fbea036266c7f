from libc.stdint cimport uint32_t

from pcgrelay._core.base.buf cimport Buf, buf_drop
from pcgrelay._core.base.result cimport RESULT_BUDGET, RESULT_OK, Result
from pcgrelay._core.link.lane_send cimport lane_backlog, lane_reserve
from pcgrelay._core.link.shard cimport LANE_BACKLOG_SMALL, Shard, flow_lane
from pcgrelay._core.session.session cimport flow_session, session_emit, session_fit, session_step_if_due
from pcgrelay._core.stream.flow cimport FLOW_UP, Flow
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
