# A flow: one lane index of a session, end to end. It numbers, seals, retains and acknowledges frames; it opens, orders
# and refuses received ones; it re-keys and resumes. It knows no socket, no lane and no clock (docs/protocol.md, 6).
#
#   STARTING --FLOW_CONFIRM--> UP <--RESUME both ways--> RESUMING     CLOSED from anywhere
#
# Theory. A path is a chain of TCP connections: on each link, the lane with the flow's index. All frames of a flow have
# one priority, so they stay in order as long as the path stands. Frames are lost only with a lane or a path, or when a
# relay drops them and sends LOST. A flow therefore has no retransmission timer, no window of received numbers and no
# selective acknowledgement. It retains what the far edge has not acknowledged, and after a loss both sides send the
# number that they expect next, in RESUME.
#
#                   tx_acked             tx_next                          rx_next
#   sender   --------[== retained frames ==[------->      receiver  --------|-------->
#            freed by ACK or RESUME         next number             delivered  the only number accepted
#
# Recovery. `break`, `pause` and `rx_resume` below change the state; session attaches lanes, timers repeats RESUME.
#
#   lane or path lost               flow_pause: RESUMING, nothing is sent
#   lane back, or a gap was seen    flow_break: RESUMING, resume_id + 1
#        RESUME(id, rx_next)  -------------------------->   id is greater: adopt it, free what is acknowledged,
#                                                           answer, send all that is retained again; UP
#                             <--------------------------   RESUME(id, rx_next)
#   id is ours, and no answer came yet:
#   free, send all that is retained again; UP
#
# If both sides begin, the greater id wins; if the ids are equal, each RESUME is the answer to the other. A RESUME that
# has neither a greater id nor answers ours acknowledges and does nothing else.
#
# Invariants:
#   1. The retained frames are exactly those numbered from tx_acked up to tx_next, oldest first. A number is used once
#      in the life of a flow, on whatever path.
#   2. A numbered frame is sealed once. It is sent again with the same bytes and another label in the header, so one
#      number is never used for two bodies with one key.
#   3. Of numbered frames only rx_next is opened: a lower number is a duplicate, a greater one a gap. Bundles are
#      delivered once and in order. A failed tag is never due to the order: it ends the session.
#   4. Volatile frames (ACK, RESUME, FLOW_CLOSE) have numbers and a key of their own. They are not retained, and one may
#      be missing: any number not below rx_control is accepted. DATAGRAMS have another such key and numbers, and come in
#      any order: flow_datagrams takes each number once, within a window.
#   5. At most one FLOW_REKEY of a direction is not acknowledged (rekey_waits; rx_step at the receiver). Until it is,
#      the sender seals volatile frames with the previous key, which the receiver keeps: the RESUME after a loss must
#      open at an edge that has not received the step.
#   6. Retained bytes stay within the cap of the path, so a peer that acknowledges nothing stops its own flow only.
#      FLOW_UNACKED_US then ends the session.
#   7. Time in which a flow resumes counts neither for the age of its epoch nor for a mix that is owed.
#
# What was tried:
#   - Both sides began to resume on a new path. The responder's RESUME overtook PATH_ACCEPT and was dropped by the
#     relay, which cost two seconds for each loss. Now only the initiator begins there; the responder pauses.
#   - RESUME was repeated at a fixed interval. Each one has a greater id, so an answer that took longer than the
#     interval was always void, and the two sides never agreed. Now the interval doubles (FLOW_RESUME_DOUBLINGS).
#   - A RESUME with an id that both sides had already made a flow go on. A peer could have frames sent again without
#     limit. Now they are counted (FLOW_RESUMES).
#   - Frames that still wait in another lane are copied to be sent again, because their header there has the old label.
#     Without a limit a peer that read nothing and resumed repeatedly used up the reserve of memory (SESSION_COPIES).
#   - Bulk was read as far as its window allowed. Most of it waited in the sockets of the lane, ahead of small messages.
#     Now pace measures what the path holds.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pcgrelay._core.base.buf cimport Buf, Pool
from pcgrelay._core.crypto.epoch cimport Epoch, Limits
from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.base.bucket cimport Bucket
from pcgrelay._core.base.map cimport Map, map_next
from pcgrelay._core.base.organisation cimport Holding
from pcgrelay._core.frame.pace cimport Pace
from pcgrelay._core.crypto.renewal cimport Owed, Renewals
from pcgrelay._core.crypto.replay cimport Replay
from pcgrelay._core.base.result cimport Result
from pcgrelay._core.stream.stream cimport AssociationList, Stream
from pcgrelay._core.stream.stream_list cimport StreamList


cdef enum:
    FLOW_STARTING = 0
    FLOW_UP = 1
    FLOW_RESUMING = 2
    FLOW_CLOSED = 3

cdef enum:
    FLOW_ACK_BYTES = 65536      # acknowledge at the latest after so many bytes or frames,
    FLOW_ACK_FRAMES = 64
    FLOW_ACK_US = 25000         # or so long
    FLOW_PEER_ACK_BYTES = 262144    # a peer that lists no feature for it acknowledges after so many
    FLOW_UNACKED_US = 120000000     # the session ends if the peer acknowledges nothing for so long;
    FLOW_STUCK_US = 2000000     # while memory is very short, it may end after so long
    FLOW_STUCK_ROUNDS = 8       # and so many round trips
    FLOW_RESUMES = 60           # accepted in FLOW_RESUMES_US
    FLOW_RESUMES_US = 60000000
    FLOW_RESUME_AGAIN_US = 2000000  # RESUME is repeated after this time, which doubles each time,
    FLOW_RESUME_DOUBLINGS = 3       # at most so often
    FLOW_LATE_BURST = 100000
    FLOW_LATE_US = 100          # one more each so long: 10,000 a second

cdef extern from *:
    """
    #define FLOW_NUMBER_MAX ((1ull << 48) - 1)
    """
    const uint64_t FLOW_NUMBER_MAX

cdef struct Flow:
    Epoch tx
    Epoch rx
    Pace pace
    uint8_t binding[32]
    void* session               # Session*, of the edge
    Renewals* renewals          # of the session; borrowed. NULL: none
    void* lane                  # Lane* that carries it now, or NULL
    Map streams                 # by id
    StreamList small            # streams with something to send or read: interactive ones first,
    StreamList bulk             # then those whose last read was large
    AssociationList datagrams   # associations with datagrams to send
    Flow* next_active           # in the shard's list of flows with ready streams
    Flow* next_due              # in the shard's list of flows that owe an ACK
    Buf* retained               # oldest first
    Buf* retained_last
    uint64_t retained_bytes
    uint64_t retained_counted   # of these, counted in the session's gauge
    uint64_t retained_held      # memory of the retained frames: a small frame occupies more than its bytes
    Holding* holding            # what the peer's organisation holds of this worker's memory; NULL: not known
    uint64_t copied_bytes       # of frames copied to be sent again, since the lane was last seen empty
    uint64_t progress_us        # since when the oldest retained frame is the oldest
    uint64_t cap
    uint64_t tx_next            # number of the next frame
    uint64_t tx_acked           # the far edge expects this one next
    uint64_t tx_control
    uint64_t rx_next
    uint64_t rx_control         # the least volatile number that is accepted
    uint64_t tx_datagrams       # number of the next DATAGRAMS
    Replay rx_datagrams         # and those that were taken
    uint64_t rx_told            # the greatest number that our ACKs and RESUMEs have sent as expected next
    uint64_t rx_stepped_us      # when the peer's last step came
    uint64_t rx_step            # rx_told must reach this before the next FLOW_REKEY is accepted; 0: no condition
    uint64_t tx_mix             # the renewal with which tx has stepped last; 0: none
    uint64_t tx_mix_acked       # the same, of the last step that the far edge has acknowledged
    uint64_t stepped_counted    # of flow_stepped, counted in the session's gauge
    Owed owed                   # the renewal with which the peer must step
    uint64_t rekey_number       # of the FLOW_REKEY that waits for its acknowledgement
    uint64_t ack_due_us         # 0: nothing to acknowledge
    uint64_t ack_bytes
    uint64_t resumes_since_us
    uint64_t resume_sent_us
    uint32_t unanswered         # RESUMEs without an answer in a row on this path
    uint64_t resuming_us        # since when it resumes
    uint64_t round_trip_us      # smoothed, from frames to their ACK
    uint64_t timed_number       # a frame whose ACK is being timed
    uint64_t timed_us           # 0: none
    Bucket late_us              # what was taken of FLOW_LATE_BURST
    uint64_t sent_bytes
    uint64_t received_bytes
    uint32_t ack_frames
    uint32_t peer_ack_bytes     # the far edge acknowledges at the latest after so many
    uint32_t resume_id
    uint32_t loss_told          # label of the path whose loss was reported; 0: none since the flow last resumed
    uint32_t resumes
    uint32_t rx_highest         # the greatest stream id the peer opened
    uint32_t tx_highest         # the next id that we open
    uint16_t index
    uint8_t state
    bint initiator
    bint confirmed_tx           # our FLOW_CONFIRM was sent
    bint rekey_waits
    bint answered               # no answer with resume_id is awaited
    bint active                 # in the list of active flows
    bint due                    # in the list of those that owe an ACK


# Initialise a flow from its secret (epoch 0 of both directions). The caller wipes secret.
cdef Result flow_start(Flow* self, uint16_t index, const uint8_t* secret, uint32_t suite, bint initiator,
                       const uint8_t* binding, uint64_t cap) noexcept nogil

# Wipe keys and drop retained frames. The streams must have been removed.
cdef void flow_stop(Flow* self, Pool* pool) noexcept nogil

# Note that the session has agreed on a renewal: the far edge owes a step with it.
cdef void flow_agree(Flow* self, uint64_t now_us) noexcept nogil

# Whether the far edge knows of a renewal newer than any with which it has stepped, so that a plain step of it counts.
# The answer to an initiator may be lost: it knows once it has acknowledged our step, which it takes for the answer.
cdef inline bint flow_far_knows(const Flow* self) noexcept nogil:
    return self.initiator or self.tx_mix_acked > self.owed.mix

# Whether the time for that step is over. Only time in which the flow is up counts.
cdef bint flow_mix_is_overdue(const Flow* self, uint64_t now_us) noexcept nogil

# The newest renewal after which the next may be made, as far as steps go: ours is acknowledged, and to an initiator the
# far edge's has arrived. A responder cannot wait for that: the initiator may not have heard that both keep the renewal.
cdef inline uint64_t flow_stepped(const Flow* self) noexcept nogil:
    return self.tx_mix_acked if self.tx_mix_acked <= self.owed.mix or not self.initiator else self.owed.mix

# Whether so many bundles of any size may be sealed now: retained bytes within the cap, their memory within two caps.
cdef bint flow_has_room(const Flow* self, uint32_t bundles) noexcept nogil

# Whether bulk may be read for it now. More than the path holds would only wait in sockets.
cdef bint flow_bears_bulk(const Flow* self, uint64_t now_us) noexcept nogil

# The flow of a stream, or NULL while it waits for a route.
cdef inline Flow* stream_flow(const Stream* stream) noexcept nogil:
    return <Flow*>stream.flow

# Iterate over the streams of a flow: the next one, or NULL; *at starts at 0, and 0 begins again.
cdef inline Stream* flow_stream_next(const Flow* self, uint32_t* at) noexcept nogil:
    return <Stream*>map_next(&self.streams, at)

# Whether its streams may be read at all now. Not, while memory is short, if its peer holds more than is left for all
# others, or if far more is in flight than the path holds.
cdef inline bint flow_bears_reads(const Flow* self, const Pool* pool, uint64_t now_us) noexcept nogil:
    return pool.used <= pool.limit / 2 or flow_bears_reads_now(self, pool, now_us)

# Whether its peer holds so much that it gets the minimum only.
cdef inline bint flow_is_greedy(const Flow* self, const Pool* pool) noexcept nogil:
    return pool.used > pool.limit / 2 and flow_is_greedy_now(self, pool)

# The same, when more than half of the memory is used.
cdef bint flow_bears_reads_now(const Flow* self, const Pool* pool, uint64_t now_us) noexcept nogil
cdef bint flow_is_greedy_now(const Flow* self, const Pool* pool) noexcept nogil

# Number and seal the body of length bytes that lies in clear in buf behind its prefix, and retain it. One reference
# passes to the flow, also on failure. RESULT_KEY_LIMIT, RESULT_CRYPTO: the session must end.
cdef Result flow_seal(Flow* self, Pool* pool, uint32_t type, Buf* buf, uint32_t length, uint64_t now_us) noexcept nogil

# Append a sealed frame to those that are retained.
cdef void flow_retain(Flow* self, Buf* buf, uint64_t now_us) noexcept nogil

# Make FLOW_CONFIRM (frame 0), sealed and retained; *out is borrowed from the flow.
cdef Result flow_confirm(Flow* self, Pool* pool, uint64_t now_us, Buf** out) noexcept nogil

# Make FLOW_REKEY, sealed and retained, and step; *out is borrowed from the flow.
cdef Result flow_rekey(Flow* self, Pool* pool, uint64_t now_us, Buf** out) noexcept nogil

# Whether a step is due and may be made.
cdef bint flow_must_rekey(const Flow* self, const Limits* limits, uint64_t now_us) noexcept nogil

# Make a volatile frame, other than DATAGRAMS; *out carries one reference for the caller.
cdef Result flow_volatile(Flow* self, Pool* pool, uint32_t type, const uint8_t* body, uint32_t length,
                          Buf** out) noexcept nogil
cdef Result flow_ack(Flow* self, Pool* pool, Buf** out) noexcept nogil
cdef Result flow_resume(Flow* self, Pool* pool, uint64_t now_us, Buf** out) noexcept nogil

# Encode at p the header in clear, with this label, of a frame that flow_seal or the functions above made.
cdef void flow_header(const Buf* buf, uint32_t label, uint8_t* p) noexcept nogil

# Check order, epoch and tag of a frame of this flow, other than DATAGRAMS, and open it in place. RESULT_OK: its body
# may be read. RESULT_DUPLICATE: ignore it. RESULT_GAP: ignore it, and resume. RESULT_MIX_OVERDUE: it opens, but too
# late for an epoch without the newest mix; this and anything else ends the session.
cdef Result flow_open(Flow* self, const Frame* frame, uint8_t* wire, uint64_t now_us) noexcept nogil

# Handle the body of an opened frame of the flow itself. RESULT_OK or a refusal. The responder's FLOW_REKEY may agree on
# a renewal.
cdef Result flow_rx_confirm(Flow* self, const uint8_t* body) noexcept nogil
cdef Result flow_rx_rekey(Flow* self, const uint8_t* body, uint64_t now_us) noexcept nogil
cdef Result flow_rx_ack(Flow* self, Pool* pool, uint64_t next_number, uint64_t now_us) noexcept nogil

# Handle a RESUME. *answer: the caller must send flow_resume first; *again: then send everything retained again.
cdef Result flow_rx_resume(Flow* self, Pool* pool, const uint8_t* body, uint64_t now_us, bint* answer,
                           bint* again) noexcept nogil

# Pause, because the path or lane is lost and there is no other yet: nothing is sealed until the flow has resumed.
cdef void flow_pause(Flow* self, uint64_t now_us) noexcept nogil

# Whether the loss of the path with this label is to be reported: once until the flow has resumed, however often a
# neighbour sends LOST.
cdef bint flow_loss_is_news(Flow* self, uint32_t label) noexcept nogil

# Begin a resumption, because the path or lane was lost or is new, or a gap was seen. RESULT_TOO_MANY_RESUMES ends the
# session.
cdef Result flow_break(Flow* self, uint64_t now_us) noexcept nogil

# Count a late record. RESULT_GLITCHES: one too many.
cdef Result flow_late(Flow* self, uint64_t now_us) noexcept nogil
