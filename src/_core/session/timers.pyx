from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.base.buf cimport Buf
from pcgrelay._core.stream.flow cimport (
    FLOW_RESUME_AGAIN_US, FLOW_RESUME_DOUBLINGS, FLOW_RESUMING, FLOW_STUCK_ROUNDS, FLOW_STUCK_US, FLOW_UNACKED_US,
    FLOW_UP, Flow, flow_ack, flow_break, flow_is_greedy,
)
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.base.organisation cimport Holding, holding_bytes
from pcgrelay._core.crypto.renewal cimport owed_forgive
from pcgrelay._core.base.result cimport RESULT_OK, RESULT_SILENT, Result
from pcgrelay._core.session.session cimport (
    Session, flow_session, session_emit, session_next, session_owe_ack, session_step_if_due, session_tx_resume,
)


cdef uint64_t session_acks(Shard* shard, Session** failed, Result* reason) noexcept nogil:
    cdef Flow* flow = shard.due
    cdef Flow* following
    cdef Buf* buf
    cdef Result answer
    cdef uint64_t next_us = 0
    shard.due = NULL
    failed[0] = NULL
    while flow != NULL:
        following = flow.next_due
        flow.due = False
        if flow.ack_due_us == 0 or flow.lane == NULL or flow.state == FLOW_RESUMING:
            # RESUME acknowledges the same, once there is a lane.
            flow.ack_due_us = 0
        elif flow.ack_due_us > shard.now_us:
            session_owe_ack(shard, flow, flow.ack_due_us)
            if next_us == 0 or flow.ack_due_us < next_us:
                next_us = flow.ack_due_us
        else:
            buf = NULL
            answer = flow_ack(flow, &shard.pool, &buf)
            if answer == RESULT_OK:
                answer = session_emit(shard, flow, buf)
            if answer != RESULT_OK and failed[0] == NULL:
                failed[0] = flow_session(flow)
                reason[0] = answer
        flow = following
    return next_us


cdef Result session_tick(Shard* shard, Session* session) noexcept nogil:
    cdef uint32_t i
    cdef Flow* flow
    cdef Result answer = RESULT_OK
    for i in range(session.flow_count):
        flow = session.flows[i]
        if flow == NULL or flow.lane == NULL or answer != RESULT_OK:
            continue
        if flow.state == FLOW_RESUMING and shard.now_us - flow.resume_sent_us > FLOW_RESUME_AGAIN_US << flow.unanswered:
            # The answer may only be late, behind much data on a slow path; a new RESUME would make it void.
            if flow.unanswered < FLOW_RESUME_DOUBLINGS:
                flow.unanswered += 1
            answer = flow_break(flow, shard.now_us)
            if answer == RESULT_OK:
                answer = session_tx_resume(shard, flow)
        elif flow.state == FLOW_UP and flow.retained != NULL and shard.now_us > flow.progress_us + FLOW_UNACKED_US:
            answer = RESULT_SILENT
        else:
            answer = session_step_if_due(shard, flow)
    return answer


# The session of the organisation that holds most whose flow has been without acknowledgement for longest, if that is
# long.
cdef Session* session_hoarder(Shard* shard) noexcept nogil:
    cdef Session* session
    cdef Session* found = NULL
    cdef Holding* most = NULL
    cdef Holding* holding
    cdef Flow* flow
    cdef uint64_t oldest_us = shard.now_us
    cdef uint32_t i, at = 0
    if shard.pool.used < shard.pool.limit / 8 * 7:
        return NULL
    session = session_next(shard, &at)
    while session != NULL:
        if session.gauge.organisation != NULL:
            holding = &session.gauge.organisation.holdings[shard.index]
            if most == NULL or holding_bytes(holding) > holding_bytes(most):
                most = holding
        session = session_next(shard, &at)
    at = 0
    session = session_next(shard, &at)
    while session != NULL:
        for i in range(session.flow_count):
            flow = session.flows[i]
            if flow != NULL and flow.holding == most and flow.progress_us < oldest_us \
                    and flow_is_greedy(flow, &shard.pool) and is_stuck(shard, flow):
                oldest_us = flow.progress_us
                found = session
        session = session_next(shard, &at)
    return found


# Whether nothing was acknowledged for longer than any path explains. Never for a flow that makes progress.
cdef bint is_stuck(const Shard* shard, const Flow* flow) noexcept nogil:
    cdef uint64_t borne_us = FLOW_STUCK_ROUNDS * flow.round_trip_us
    if borne_us < FLOW_STUCK_US:
        borne_us = FLOW_STUCK_US
    return flow.retained != NULL and shard.now_us > flow.progress_us + borne_us


cdef void session_forgive(Session* session, uint64_t away_us) noexcept nogil:
    cdef uint32_t i
    for i in range(session.flow_count):
        if session.flows[i] != NULL:
            session.flows[i].progress_us += away_us
            owed_forgive(&session.flows[i].owed, away_us)
