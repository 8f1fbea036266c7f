from libc.stdint cimport uint32_t, uint8_t

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.map cimport map_put
from pcgrelay._core.base.result cimport RESULT_DUPLICATE, RESULT_OK, Result, result_place
from pcgrelay._core.base.wire cimport FRAME_DATAGRAMS
from pcgrelay._core.session.session cimport session_rx_datagrams, session_unlabel


cdef enum:
    FORMER_US = 1000000         # a datagram that comes still later is worth nothing to most who use them


cdef void former_forget(Shard* shard, Session* session) noexcept nogil:
    session_unlabel(&shard.candidates, session, session.former.in_label)
    session.former.in_label = 0


cdef void former_keep(Shard* shard, Session* session, uint32_t link, uint32_t in_label) noexcept nogil:
    former_forget(shard, session)
    if link == 0 or session.link == 0 or session.in_label == 0 or session.in_label == in_label \
            or not map_put(&shard.candidates, session.in_label, session):
        return
    session.former.link = session.link
    session.former.in_label = session.in_label
    session.former.until_us = shard.now_us + FORMER_US


cdef bint former_takes(const Shard* shard, const Session* session, const Lane* lane, const Frame* frame) noexcept nogil:
    return frame.type == FRAME_DATAGRAMS and frame.flow == session.former.in_label \
        and session.former.link == lane.link.number and shard.now_us < session.former.until_us \
        and lane.index < session.flow_count and session.flows[lane.index] != NULL


cdef Result former_frame(Shard* shard, Session* session, Lane* lane, const Frame* frame, uint8_t* wire,
                         Flow** flow) noexcept nogil:
    cdef Result answer = session_rx_datagrams(shard, session, session.flows[lane.index], frame, wire)
    flow[0] = session.flows[lane.index]
    if answer == RESULT_OK or answer == RESULT_DUPLICATE:
        return answer
    # Who has led the path does not have the keys: it had one attempt, and the session is not affected.
    counter_add(&shard.stats.refused[result_place(answer)], 1)
    former_forget(shard, session)
    return RESULT_DUPLICATE
