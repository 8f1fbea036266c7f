# The session and flow that a new stream of an import takes. What each accept passes through is inline: an import
# without outlets pays nothing for the file being apart from `accept`.
from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.map cimport map_put
from pcgrelay._core.base.stats cimport CAUSE_BUDGET, CAUSE_DONE, CAUSE_LIMIT, Cause
from pcgrelay._core.base.wire cimport WIRE_EARLY
from pcgrelay._core.edge.lists cimport edge_ready
from pcgrelay._core.edge.streams cimport EDGE_STREAMS_MAX, edge_linger
from pcgrelay._core.link.gauge cimport gauge_at
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.session.session cimport SESSION_GAUGE_STREAMS, Session, flow_session
from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.stream.service_tables cimport Import
from pcgrelay._core.stream.stream cimport BREAK_NONE, TX_OPEN, Stream


cdef enum:
    STREAM_ID_MAX = 0xfffffffd
    CHOICE_WANTED_US = 1000000

# The session that was chosen for a connection, and a worker that has flows of it.
cdef struct Elsewhere:
    uint32_t session
    uint32_t worker


# Choose by weight among the routes with the least precedence whose session is up; one of weight 0 only if there is no
# other.
cdef Session* choice_session(Shard* shard, const Import* entry) noexcept nogil

# The flow for a new association; NULL: there is none here. A session is asked for then, at most once in
# CHOICE_WANTED_US, by *wanted_us: when it was asked for last.
cdef Flow* choice_of_datagrams(Shard* shard, const Import* entry, uint64_t* wanted_us) noexcept nogil

# The flow of this session for a new stream; NULL: it is elsewhere.
cdef inline Flow* choice_flow(Shard* shard, Session* session, Elsewhere* elsewhere) noexcept nogil:
    cdef uint32_t _, index
    for _ in range(session.flow_count):
        session.turn += 1
        index = session.turn % session.flow_count
        if session.flows[index] != NULL:
            return session.flows[index]
    session.turn += 1
    elsewhere.session = session.number
    elsewhere.worker = (session.turn % session.flow_count) % shard.workers
    return NULL

# Open the stream over a flow. careful: nothing is sent before the far edge accepts. CAUSE_LIMIT or CAUSE_BUDGET: it is
# not open.
cdef inline Cause choice_join(Shard* shard, Stream* stream, Flow* flow, bint careful) noexcept nogil:
    cdef Session* session = flow_session(flow)
    stream.session = session.number
    if flow.tx_highest > STREAM_ID_MAX or flow.streams.count >= EDGE_STREAMS_MAX:
        return CAUSE_LIMIT
    stream.flow = flow
    stream.id = flow.tx_highest
    flow.tx_highest += 2
    if not map_put(&flow.streams, stream.id, stream):
        stream.flow = NULL
        return CAUSE_BUDGET
    counter_add(&gauge_at(session.gauge, shard.index)[SESSION_GAUGE_STREAMS], 1)
    stream.tx.limit = 0 if careful else WIRE_EARLY
    stream.say = TX_OPEN
    if stream.broken != BREAK_NONE:
        edge_linger(shard, stream)
    edge_ready(shard, stream)
    return CAUSE_DONE
