# An edge's sessions on one worker: their flows here, the lanes that carry these, and the frames of the flows. The
# records in a bundle are for `edge`.
#
# In a recovery (its theory is in flow) the session decides which side begins. A lane that came back on a path that
# stands is seen by one neighbour alone, so the side that sees it begins. On a new path the initiator begins, because it
# knows that the whole path stands; the responder pauses. Until a flow has resumed it seals nothing new except refusals
# of OPEN, which are sent with all that is retained. The loss of a path is reported once until the flow goes on.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.base.organisation cimport organisation_count
from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.buf cimport Buf, Pool
from pcgrelay._core.stream.flow cimport Flow, flow_stepped
from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.link.gauge cimport Gauge
from pcgrelay._core.link.shard cimport Lane, Shard
from pcgrelay._core.crypto.renewal cimport Renewals
from pcgrelay._core.base.result cimport Result
from pcgrelay._core.base.wire cimport WIRE_LANES_MAX
from pcgrelay._core.base.map cimport map_next


cdef enum:
    SESSION_CANDIDATES = 4      # paths that may become the session's

# Slots of a session's Gauge on one worker: sums over its flows there, or the greatest of them. They are part of the
# hand-over record: the numbers never change.
cdef enum:
    SESSION_GAUGE_FLOWS_UP = 0
    SESSION_GAUGE_STREAMS = 1
    SESSION_GAUGE_SENT_BYTES = 2
    SESSION_GAUGE_RECEIVED_BYTES = 3
    SESSION_GAUGE_RETAINED = 4  # bytes
    SESSION_GAUGE_EPOCH = 5     # newest epoch in which the far edge seals
    SESSION_GAUGE_MIX = 6       # newest renewal with which the far edge has stepped
    SESSION_GAUGE_STEPPED = 7   # sum of flow_stepped over the flows

# A path over which the far edge has not sent a frame yet; in_label 0: none.
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
    uint32_t turn               # selects the flow of the next stream
    Candidate candidates[SESSION_CANDIDATES]
    bint initiator


# Add a session; the keys of this worker's flows are derived from its secret. NULL: no memory, or libcrypto failed.
# ack_bytes: how many bytes its far edge takes at most before it acknowledges.
cdef Session* session_add(Shard* shard, uint32_t number, const uint8_t* secret, const uint8_t* binding, uint32_t suite,
                          bint initiator, uint32_t flows, uint64_t cap, uint32_t ack_bytes, uint32_t marking,
                          uint32_t priority, Gauge* gauge) noexcept nogil
# The session of a flow of an edge.
cdef inline Session* flow_session(const Flow* flow) noexcept nogil:
    return <Session*>flow.session

# Count a stream of an export that the peer opened (n = 1), or one less (-1), as its organisation's.
cdef inline void session_count_export(const Session* session, int export, int n) noexcept nogil:
    organisation_count(session.gauge.organisation, export, session.marking, session.priority, n)

# Iterate over the sessions: the next one, or NULL; *at starts at 0.
cdef inline Session* session_next(const Shard* shard, uint32_t* at) noexcept nogil:
    return <Session*>map_next(&shard.sessions, at)

cdef Session* session_find(Shard* shard, uint32_t number) noexcept nogil

# Whether another organisation than this session's has a session on this worker. The search ends with the first.
cdef bint session_has_others(Shard* shard, const Session* session) noexcept nogil

# Remove a session: its keys are wiped and its frames dropped. Its streams must have been removed.
cdef void session_remove(Shard* shard, Session* session) noexcept nogil

# Use a path over this link for the flows from now on. A failure ends the session.
cdef Result session_path(Shard* shard, Session* session, uint32_t link, uint32_t in_label,
                         uint32_t out_label) noexcept nogil

# Attach or detach the flows of a lane that came up or was lost. *failed: a session that must end, or NULL; if there is
# one, flows that are not attached yet wait for the next call.
cdef Result session_lane_up(Shard* shard, Lane* lane, Session** failed) noexcept nogil
cdef void session_lane_down(Shard* shard, Lane* lane, uint32_t code) noexcept nogil

# Handle a LOST: a relay cannot forward what is sent with this label.
cdef void session_lost(Shard* shard, Lane* lane, uint32_t label, uint32_t code) noexcept nogil

# Open a frame of a flow and handle all but bundles. *flow: the flow, or NULL if there is none.
# RESULT_OK and type BUNDLE or DATAGRAMS: its records lie in clear behind the prefix. RESULT_DUPLICATE: ignore it.
# RESULT_PEER_CLOSED: the far edge ends the session, with *code. RESULT_UNKNOWN_FLOW: no path here has the label.
# Anything else: end the session for that reason.
cdef Result session_frame(Shard* shard, Lane* lane, const Frame* frame, uint8_t* wire, Flow** flow,
                          uint32_t* code) noexcept nogil

# Handle an opened frame of a flow that is neither BUNDLE nor DATAGRAMS. The results are those of session_frame.
cdef Result session_rx(Shard* shard, Session* session, Flow* flow, uint32_t type, const uint8_t* body,
                       uint32_t* code) noexcept nogil

# Seal a bundle of length bytes in buf and send it. The reference passes.
cdef Result session_bundle(Shard* shard, Flow* flow, Buf* buf, uint32_t length) noexcept nogil

# The same content in a small buffer, if it is small: so it occupies little while it waits. The reference passes.
cdef Buf* session_fit(Pool* pool, Buf* buf, uint32_t length) noexcept nogil

# Send a sealed frame on the flow's lane; the reference passes. Without a lane a retained frame just waits for RESUME.
cdef Result session_emit(Shard* shard, Flow* flow, Buf* buf) noexcept nogil

# Update the session's gauge to what the flow retains now, and to the renewal with which it has stepped.
cdef inline void session_count_flow(uint64_t* gauge, Flow* flow) noexcept nogil:
    counter_add(&gauge[SESSION_GAUGE_RETAINED], flow.retained_bytes - flow.retained_counted)
    flow.retained_counted = flow.retained_bytes
    if flow.stepped_counted != flow_stepped(flow):
        counter_add(&gauge[SESSION_GAUGE_STEPPED], flow_stepped(flow) - flow.stepped_counted)
        flow.stepped_counted = flow_stepped(flow)

# Note that the flow owes an ACK, which must be sent at that time at the latest.
cdef void session_owe_ack(Shard* shard, Flow* flow, uint64_t due_us) noexcept nogil

# Send RESUME; step to the next epoch, if a step is due.
cdef Result session_tx_resume(Shard* shard, Flow* flow) noexcept nogil
cdef Result session_step_if_due(Shard* shard, Flow* flow) noexcept nogil

# Send FLOW_CLOSE: the session ends.
cdef void session_tx_close(Shard* shard, Session* session, uint32_t code) noexcept nogil
