from libc.stdint cimport uint32_t

from pcgrelay._core.base.buf cimport Buf, buf_drop
from pcgrelay._core.base.result cimport RESULT_BUDGET, RESULT_NO_MEMORY, RESULT_OK, Result
from pcgrelay._core.crypto.epoch cimport epoch_spares
from pcgrelay._core.link.lane_send cimport lane_backlog
from pcgrelay._core.link.shard cimport LANE_BACKLOG_SMALL, Shard, flow_lane
from pcgrelay._core.session.session cimport flow_session, session_emit, session_fit, session_step_if_due
from pcgrelay._core.stream.flow cimport FLOW_UP, Flow
from pcgrelay._core.stream.flow_datagrams cimport flow_seal_datagrams


cdef bint session_takes_datagrams(const Shard* shard, const Flow* flow) noexcept nogil:
    return flow.state == FLOW_UP and flow.lane != NULL and epoch_spares(&flow.tx, shard.now_us) \
        and lane_backlog(flow_lane(flow), flow_session(flow).priority) < LANE_BACKLOG_SMALL


cdef Result session_datagrams(Shard* shard, Flow* flow, Buf* buf, uint32_t length) noexcept nogil:
    cdef Result answer = RESULT_BUDGET
    if flow.state == FLOW_UP and flow.lane != NULL:
        answer = session_step_if_due(shard, flow)
    if answer == RESULT_OK and not session_takes_datagrams(shard, flow):
        answer = RESULT_BUDGET
    if answer == RESULT_OK:
        buf = session_fit(&shard.pool, buf, length)
        answer = flow_seal_datagrams(flow, buf, length, shard.now_us)
    if answer != RESULT_OK:
        buf_drop(&shard.pool, buf)
        return answer
    # A full queue of the lane drops it too.
    answer = session_emit(shard, flow, buf)
    return RESULT_BUDGET if answer == RESULT_NO_MEMORY else answer
