# An edge's sessions on one worker: which flows they have here, over which lanes these run, and the frames that are
# theirs. What the records in a bundle mean is the business of edge.
#
# In a recovery (its theory is in flow) a session decides who begins. A lane that came back on a path that stands is
# seen by one neighbour alone, so whoever sees it begins. On a new path the initiator begins, for it knows that the
# whole path stands; the responder pauses. Until a flow has resumed it seals nothing new but refusals of OPEN, which go
# with all that is retained. The loss of a way is told once until the flow goes on.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.buf cimport Buf
from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.link.gauge cimport Gauge
from pcgrelay._core.link.shard cimport Lane, Shard
from pcgrelay._core.crypto.renewal cimport Renewals
from pcgrelay._core.base.result cimport Result
from pcgrelay._core.base.wire cimport WIRE_LANES_MAX
from pcgrelay._core.base.map cimport map_next
from pcgrelay._core.stream.stream cimport Stream


cdef enum:
    SESSION_CANDIDATES = 4      # paths that may become the session's

# Of a session's Gauge, on one worker: sums over its flows there, or the greatest of them. The slots are in the record
# of a hand-over: they never change.
cdef enum:
    SESSION_GAUGE_FLOWS_UP = 0
    SESSION_GAUGE_STREAMS = 1
    SESSION_GAUGE_SENT_BYTES = 2
    SESSION_GAUGE_RECEIVED_BYTES = 3
    SESSION_GAUGE_RETAINED = 4  # bytes
    SESSION_GAUGE_EPOCH = 5     # newest in which the far edge seals
    SESSION_GAUGE_MIX = 6       # newest renewal that the far edge has stepped with

# A path that the far edge has not yet spoken over; in_label 0: none.
cdef struct Candidate:
    uint32_t link
    uint32_t in_label
    uint32_t out_label

cdef struct Session:
    Flow* flows[WIRE_LANES_MAX]  # owned, by index; NULL: on another worker
    Gauge* gauge                # owned: one reference
    Renewals renewals
    uint32_t number
    uint32_t flow_count         # of the whole session
    uint32_t priority
    uint32_t marking
    uint32_t link               # 0: no path yet
    uint32_t in_label
    uint32_t out_label
    uint32_t turn               # of the flow that the next stream takes
    Candidate candidates[SESSION_CANDIDATES]
    bint initiator


# Know a session; secret is the session's, from which the flows of this worker are derived. NULL: no memory or
# libcrypto failed.
cdef Session* session_add(Shard* shard, uint32_t number, const uint8_t* secret, const uint8_t* binding, uint32_t suite,
                          bint initiator, uint32_t flows, uint64_t cap, uint32_t marking, uint32_t priority,
                          Gauge* gauge) noexcept nogil
# The session of a flow of an edge.
cdef inline Session* flow_session(const Flow* flow) noexcept nogil:
    return <Session*>flow.session

# The next session in the order of its table, or NULL; *at is 0 at first.
cdef inline Session* session_next(const Shard* shard, uint32_t* at) noexcept nogil:
    return <Session*>map_next(&shard.sessions, at)

# A walk over all streams of all flows; zeroed at first. A stream that leaves its table in a walk may move others to
# places that the walk has passed: stream_walk_again looks at all of its flow once more.
cdef struct StreamWalk:
    Session* session
    uint32_t session_at
    uint32_t flow
    uint32_t stream_at

cdef Stream* stream_walk_next(Shard* shard, StreamWalk* walk) noexcept nogil

cdef inline void stream_walk_again(StreamWalk* walk) noexcept nogil:
    walk.stream_at = 0

cdef Session* session_find(Shard* shard, uint32_t number) noexcept nogil

# Has another organisation than that of this session one on this worker? The look ends with the first.
cdef bint session_has_others(Shard* shard, const Session* session) noexcept nogil

# Forget it: keys wiped, frames dropped. Its streams must be gone.
cdef void session_remove(Shard* shard, Session* session) noexcept nogil

# Lead the flows over this link from now on. A failure ends the session.
cdef Result session_path(Shard* shard, Session* session, uint32_t link, uint32_t in_label,
                         uint32_t out_label) noexcept nogil

# A lane came up or went: attach or detach the flows of its index. *failed: a session that must end, or NULL; with one,
# those that are not attached yet wait for the next call.
cdef Result session_lane_up(Shard* shard, Lane* lane, Session** failed) noexcept nogil
cdef void session_lane_down(Shard* shard, Lane* lane, uint32_t code) noexcept nogil

# A relay says that it cannot forward what we send under label.
cdef void session_lost(Shard* shard, Lane* lane, uint32_t label, uint32_t code) noexcept nogil

# Open a frame of a flow and act on all but bundles. *flow: whose it is, or NULL if nobody's.
# RESULT_OK and type BUNDLE or DATAGRAMS: its records lie in clear behind the prefix. RESULT_DUPLICATE: done with.
# RESULT_PEER_CLOSED: the far edge ends the session, *code says why. RESULT_UNKNOWN_FLOW: no path here has the label.
# Anything else: end the session, with that reason.
cdef Result session_frame(Shard* shard, Lane* lane, const Frame* frame, uint8_t* wire, Flow** flow,
                          uint32_t* code) noexcept nogil

# Act on an opened frame of a flow that is neither BUNDLE nor DATAGRAMS. The answers are those of session_frame.
cdef Result session_rx(Shard* shard, Session* session, Flow* flow, uint32_t type, const uint8_t* body,
                       uint32_t* code) noexcept nogil

# Seal a bundle of length bytes that lies in buf and send it. The reference passes.
cdef Result session_bundle(Shard* shard, Flow* flow, Buf* buf, uint32_t length) noexcept nogil

# Send a sealed frame on the flow's lane; the reference passes. Without a lane a retained frame just waits for RESUME.
cdef Result session_emit(Shard* shard, Flow* flow, Buf* buf) noexcept nogil

# Bring the session's gauge up to what the flow retains now.
cdef inline void session_count_retained(uint64_t* gauge, Flow* flow) noexcept nogil:
    counter_add(&gauge[SESSION_GAUGE_RETAINED], flow.retained_bytes - flow.retained_counted)
    flow.retained_counted = flow.retained_bytes

# Put the flow among those that owe an ACK, at the latest then.
cdef void session_owe_ack(Shard* shard, Flow* flow, uint64_t due_us) noexcept nogil

# Say RESUME; step to the next epoch, if a step is due.
cdef Result session_tx_resume(Shard* shard, Flow* flow) noexcept nogil
cdef Result session_step_if_due(Shard* shard, Flow* flow) noexcept nogil

# Both sides keep this renewal: flows step with it at the next tick or before their next bundle, and are owed the same.
cdef void session_mix(Shard* shard, Session* session, uint64_t mix) noexcept nogil

# Tell the far edge that the session ends.
cdef void session_tx_close(Shard* shard, Session* session, uint32_t code) noexcept nogil
