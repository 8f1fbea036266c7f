from libc.stdint cimport uint32_t

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.map cimport map_free
from pcgrelay._core.base.result cimport RESULT_PEER_CLOSED, Result, result_code, result_place, result_reason
from pcgrelay._core.base.stats cimport CAUSE_SESSION_LOST
from pcgrelay._core.edge.lists cimport edge_bury, edge_dirty
from pcgrelay._core.edge.streams cimport edge_finish, edge_release_lost
from pcgrelay._core.link.mailbox cimport EVENT_SESSION_DOWN, Event
from pcgrelay._core.link.shard cimport Shard, shard_event
from pcgrelay._core.session.session cimport Session, session_remove, session_tx_close
from pcgrelay._core.stream.flow cimport Flow, flow_stream_next
from pcgrelay._core.stream.stream_list cimport list_pop
from pcgrelay._core.stream.stream cimport (
    FAR_ENDED, FAR_OPEN, LIFE_LIVE, STREAM_FORGET, Stream, stream_is_pending, stream_step,
)


cdef void edge_session_fail(Shard* shard, Session* session, Result reason) noexcept nogil:
    cdef uint32_t code = result_code(reason)
    end_streams(shard, session, code, False)
    session_tx_close(shard, session, code)
    session_down(shard, session, code, reason, False)
    session_remove(shard, session)


cdef void edge_session_close(Shard* shard, Session* session, uint32_t code) noexcept nogil:
    end_streams(shard, session, code, False)
    session_tx_close(shard, session, code)
    session_remove(shard, session)


cdef void edge_session_rx_close(Shard* shard, Session* session, uint32_t code) noexcept nogil:
    end_streams(shard, session, code, True)
    session_down(shard, session, code, RESULT_PEER_CLOSED, True)
    session_remove(shard, session)


# Count the end of a session, and tell the control plane. remote: the far edge ended it.
cdef void session_down(Shard* shard, const Session* session, uint32_t code, Result reason, bint remote) noexcept nogil:
    cdef Event* event = shard_event(shard, EVENT_SESSION_DOWN)
    counter_add(&shard.stats.refused[result_place(reason)], 1)
    event.data.session.number = session.number
    event.data.session.code = code
    event.data.session.reason = result_reason(reason)
    event.data.session.remote = remote


# The far edge learns of their end from that of the session: nothing is said for the single stream.
cdef void end_streams(Shard* shard, Session* session, uint32_t code, bint remote) noexcept nogil:
    cdef uint32_t i, at
    cdef Flow* flow
    cdef Stream* stream
    for i in range(session.flow_count):
        flow = session.flows[i]
        if flow == NULL:
            continue
        while list_pop(&flow.small) != NULL or list_pop(&flow.bulk) != NULL:
            pass
        # They leave the table all at once: each taken out by itself would be looked for from the start.
        at = 0
        stream = flow_stream_next(flow, &at)
        while stream != NULL:
            if stream_is_pending(stream) and edge_release_lost(shard, stream, code):
                stream = flow_stream_next(flow, &at)
                continue
            if remote and stream.far == FAR_OPEN:
                stream.far = FAR_ENDED
            if stream.life == LIFE_LIVE:
                stream.code = code
                stream.cause = CAUSE_SESSION_LOST
                edge_finish(shard, stream)
                edge_dirty(shard, stream)
            stream_step(stream, STREAM_FORGET)
            stream.flow = NULL
            edge_bury(shard, stream)
            stream = flow_stream_next(flow, &at)
        map_free(&flow.streams)
