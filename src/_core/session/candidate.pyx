from libc.stdint cimport uint32_t, uint8_t

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.stream.flow cimport FLOW_RESUMING, Flow, flow_open
from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.link.gauge cimport gauge_at
from pcgrelay._core.link.shard cimport Lane, Shard, shard_event
from pcgrelay._core.link.mailbox cimport EVENT_SESSION_MOVED, Event
from pcgrelay._core.base.map cimport map_find, map_put, map_remove
from pcgrelay._core.base.result cimport (
    RESULT_DUPLICATE, RESULT_NO_MEMORY, RESULT_OK, RESULT_UNKNOWN_FLOW, Result, result_place,
)
from pcgrelay._core.link.lane_send cimport lane_tx_unknown
from pcgrelay._core.session.former cimport former_forget, former_frame, former_keep, former_takes
from pcgrelay._core.session.session cimport (
    SESSION_CANDIDATES, SESSION_GAUGE_RECEIVED_BYTES, Candidate, Session, session_owe_ack, session_path, session_rx,
)
from pcgrelay._core.base.stats cimport COUNT_DUPLICATES, COUNT_UNKNOWN_FLOWS
from pcgrelay._core.base.wire cimport FRAME_DATAGRAMS, FRAME_FLOW_CONFIRM, FRAME_RESUME, WIRE_PREFIX, wire_get32


cdef Candidate* find(Session* session, uint32_t in_label) noexcept nogil:
    cdef uint32_t i
    for i in range(SESSION_CANDIDATES):
        if session.candidates[i].in_label == in_label:
            return &session.candidates[i]
    return NULL


cdef Result candidate_add(Shard* shard, Session* session, uint32_t link, uint32_t in_label,
                          uint32_t out_label) noexcept nogil:
    cdef Candidate* candidate = find(session, 0)
    if candidate == NULL or not map_put(&shard.candidates, in_label, session):
        return RESULT_NO_MEMORY
    candidate.link = link
    candidate.in_label = in_label
    candidate.out_label = out_label
    return RESULT_OK


cdef void candidate_drop(Shard* shard, Session* session, uint32_t in_label) noexcept nogil:
    cdef Candidate* candidate = find(session, in_label)
    if in_label == 0:
        former_forget(shard, session)
        return
    if candidate == NULL:
        return
    map_remove(&shard.candidates, in_label)
    candidate.in_label = 0


cdef Result candidate_lead(Shard* shard, Session* session, uint32_t link, uint32_t in_label, uint32_t out_label,
                           uint32_t instead) noexcept nogil:
    if instead != 0 and (session.in_label != instead or session.in_label == in_label):
        return RESULT_OK
    former_keep(shard, session, link, in_label)
    if in_label != 0:
        candidate_drop(shard, session, in_label)
    return session_path(shard, session, link, in_label, out_label)


# Whether the frame is the far edge's: it begins to resume, or answers a RESUME of this side.
cdef inline bint resumes(const Flow* flow, uint32_t id) noexcept nogil:
    return id > flow.resume_id or (id == flow.resume_id and flow.state == FLOW_RESUMING and not flow.answered)


cdef Result candidate_frame(Shard* shard, Lane* lane, const Frame* frame, uint8_t* wire, Flow** flow,
                            uint32_t* code) noexcept nogil:
    cdef Session* session = <Session*>map_find(&shard.candidates, frame.flow)
    cdef Candidate* candidate = NULL if session == NULL else find(session, frame.flow)
    cdef Flow* mine = NULL
    cdef Result answer
    flow[0] = NULL
    if session != NULL and former_takes(shard, session, lane, frame):
        return former_frame(shard, session, lane, frame, wire, flow)
    if candidate != NULL and candidate.link == lane.link.number and lane.index < session.flow_count:
        mine = session.flows[lane.index]
    if mine == NULL:
        counter_add(&shard.stats.count[COUNT_UNKNOWN_FLOWS], 1)
        counter_add(&shard.stats.refused[<int>RESULT_UNKNOWN_FLOW], 1)
        if frame.type != FRAME_DATAGRAMS:
            # Without room for LOST, the next such frame is answered.
            lane_tx_unknown(shard, lane, frame.flow)
        return RESULT_DUPLICATE
    if frame.type != FRAME_RESUME and (frame.type != FRAME_FLOW_CONFIRM or mine.rx_next != 0):
        # Nothing has proved yet that the far edge is at the other end.
        counter_add(&shard.stats.count[COUNT_UNKNOWN_FLOWS], 1)
        return RESULT_DUPLICATE
    answer = flow_open(mine, frame, wire, shard.now_us)
    if answer == RESULT_DUPLICATE:
        counter_add(&shard.stats.count[COUNT_DUPLICATES], 1)
        return answer
    if answer != RESULT_OK:
        # The node that opened it does not have the keys: it had one attempt, and the session is not affected.
        counter_add(&shard.stats.refused[result_place(answer)], 1)
        candidate_drop(shard, session, frame.flow)
        return RESULT_DUPLICATE
    if frame.type == FRAME_RESUME and not resumes(mine, wire_get32(wire + WIRE_PREFIX)):
        return RESULT_DUPLICATE
    flow[0] = mine
    return move(shard, session, candidate, mine, lane, frame, wire, code)


# Make the candidate the path of all flows here: the far edge moves them all together.
cdef Result move(Shard* shard, Session* session, Candidate* candidate, Flow* flow, Lane* lane, const Frame* frame,
                 uint8_t* wire, uint32_t* code) noexcept nogil:
    cdef uint32_t link = candidate.link
    cdef uint32_t out_label = candidate.out_label
    cdef Event* event
    cdef Result answer = candidate_lead(shard, session, link, frame.flow, out_label, 0)
    if answer != RESULT_OK:
        return answer
    event = shard_event(shard, EVENT_SESSION_MOVED)
    event.data.session.number = session.number
    event.data.session.label = frame.flow
    counter_add(&gauge_at(session.gauge, shard.index)[SESSION_GAUGE_RECEIVED_BYTES], WIRE_PREFIX + frame.length)
    if flow.ack_due_us != 0:
        session_owe_ack(shard, flow, flow.ack_due_us)
    flow.lane = lane
    return session_rx(shard, session, flow, frame.type, wire + WIRE_PREFIX, code)
