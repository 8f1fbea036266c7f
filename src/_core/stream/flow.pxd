# A flow: one lane index of a session, end to end. It numbers, seals, retains and acknowledges frames; it opens, orders
# and refuses those that come; it re-keys and resumes. It knows no socket, no lane and no clock (docs/protocol.md 6).
#
#   STARTING --FLOW_CONFIRM--> UP <--RESUME both ways--> RESUMING     CLOSED from anywhere
#
# Theory. A path is a chain of TCP connections: on each link, the lane with the flow's index. All frames of a flow have
# one priority, so they stay in order as long as the path stands. Frames are lost only with a lane or a path, or where a
# relay drops them and says so. A flow therefore has no retransmission timer, no window of received numbers and no
# selective acknowledgement. It retains what the far edge has not acknowledged, and after a loss both sides say what
# they expect next. That is RESUME.
#
#                   tx_acked             tx_next                          rx_next
#   sender   --------[== retained frames ==[------->      receiver  --------|-------->
#            freed by ACK or RESUME         next number             delivered  the only number taken
#
# Recovery. `break`, `pause` and `rx_resume` below are the state; session says which lane a flow has, timers asks again.
#
#   lane or path lost               flow_pause: RESUMING, nothing is sent
#   lane back, or a gap was seen    flow_break: RESUMING, resume_id + 1
#        RESUME(id, rx_next)  -------------------------->   id is greater: take it over, free what is acknowledged,
#                                                           answer, send all that is retained again; UP
#                             <--------------------------   RESUME(id, rx_next)
#   id is ours, and no answer came yet:
#   free, send all that is retained again; UP
#
# If both sides begin, the greater id wins; if the ids are equal, each RESUME is the answer to the other. A RESUME that
# is neither news nor the answer acknowledges and does nothing else.
#
# Invariants:
#   1. Retained are exactly the numbers from tx_acked up to tx_next, oldest first. A number is used once in the life of
#      a flow, whatever becomes of its path.
#   2. A numbered frame is sealed once. To send it again is to send the same bytes with another label in the header, so
#      a number never stands for two bodies under one key.
#   3. Of numbered frames only rx_next is opened: what is below is a duplicate, what is above a gap. Bundles are
#      delivered once and in order. A tag that fails is never a matter of order: it ends the session.
#   4. Volatile frames (ACK, RESUME, FLOW_CLOSE, DATAGRAMS) have numbers and a key of their own. They are not retained,
#      and one may be missing: any number that is not below rx_control is taken.
#   5. At most one FLOW_REKEY of a direction is not acknowledged (rekey_waits; rx_step at the receiver). Until it is,
#      the sender's volatile frames stay under the key before, which the receiver keeps: the RESUME after a loss must
#      open at an edge that has not seen the step.
#   6. Retained bytes stay within the cap of the path, so a peer that acknowledges nothing stops its own flow alone.
#      FLOW_UNACKED_US then ends the session.
#   7. Time in which a flow resumes counts neither for the age of its epoch nor for a mix that is owed.
#
# What was tried:
#   - Both sides began to resume on a new path. The responder's RESUME overtook the news of the path and was dropped by
#     the relay: two seconds for each loss. Only the initiator begins there; the responder pauses.
#   - RESUME was repeated at a fixed interval. Each one has a greater id, so an answer that took longer than the
#     interval was always void, and the two sides never met. The interval doubles (FLOW_RESUME_DOUBLINGS).
#   - A RESUME with an id that both sides had made a flow go on. Frames were sent again as often as a peer liked, and no
#     budget counted it (FLOW_RESUMES).
#   - Frames that still wait in another lane are copied to be sent again, since their header there has the old label.
#     Without a bound a peer that read nothing and resumed again and again used up the reserve of memory
#     (SESSION_COPIES).
#   - Bulk was read as far as its window went. Most of it waited in the sockets of the lane, in front of small messages.
#     pace measures what the path holds.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pcgrelay._core.base.buf cimport Buf, Pool
from pcgrelay._core.crypto.epoch cimport Epoch, Limits
from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.base.bucket cimport Bucket
from pcgrelay._core.base.map cimport Map, map_next
from pcgrelay._core.base.organisation cimport Holding
from pcgrelay._core.frame.pace cimport Pace
from pcgrelay._core.crypto.renewal cimport Owed, Renewals
from pcgrelay._core.base.result cimport Result
from pcgrelay._core.stream.stream cimport Stream


cdef enum:
    FLOW_STARTING = 0
    FLOW_UP = 1
    FLOW_RESUMING = 2
    FLOW_CLOSED = 3

cdef enum:
    FLOW_ACK_BYTES = 262144     # acknowledge no later than after so much,
    FLOW_ACK_FRAMES = 64
    FLOW_ACK_US = 25000         # or so long
    FLOW_UNACKED_US = 120000000     # a peer that acknowledges nothing for so long has its session ended
    FLOW_STUCK_US = 2000000     # while memory is very short, one that acknowledges nothing for so long,
    FLOW_STUCK_ROUNDS = 8       # and so many round trips, may have to go
    FLOW_RESUMES = 60           # in FLOW_RESUMES_US
    FLOW_RESUMES_US = 60000000
    FLOW_RESUME_AGAIN_US = 2000000  # and twice as long after each that got no answer,
    FLOW_RESUME_DOUBLINGS = 3       # so many times
    FLOW_LATE_BURST = 100000
    FLOW_LATE_US = 100          # one more each so long: 10,000 a second

cdef struct StreamList:
    Stream* head
    Stream* tail

cdef struct Flow:
    Epoch tx
    Epoch rx
    Pace pace
    uint8_t binding[32]
    void* session               # Session*, of the edge
    Renewals* renewals          # of the session; borrowed. NULL: none
    void* lane                  # Lane* that carries it now, or NULL
    Map streams                 # by id
    StreamList small            # streams with something to say or read: interactive ones first,
    StreamList bulk             # those whose last read was large after them
    Flow* next_active           # in the shard's list of flows with ready streams
    Flow* next_due              # in the shard's list of flows that owe an ACK
    Buf* retained               # oldest first
    Buf* retained_last
    uint64_t retained_bytes
    uint64_t retained_counted   # of these, counted in the session's gauge
    uint64_t retained_held      # memory of what is retained: a small frame holds more than its bytes
    Holding* holding            # what the peer's organisation holds of this worker's memory; NULL: it is not known
    uint64_t copied_bytes       # of frames that were copied to be sent again, since the lane was last seen empty
    uint64_t progress_us        # since when the oldest retained frame is the oldest
    uint64_t cap
    uint64_t tx_next            # number of the next frame
    uint64_t tx_acked           # the far edge expects this one next
    uint64_t tx_control
    uint64_t rx_next
    uint64_t rx_control         # the least volatile number that is taken
    uint64_t rx_told            # the greatest number that an ACK or RESUME of ours has asked for
    uint64_t rx_step            # what must be asked for before the next FLOW_REKEY is taken; 0: anything
    uint64_t tx_mix             # the renewal that tx has stepped with last; 0: none
    Owed owed                   # what rx is to step with
    uint64_t rekey_number       # of the FLOW_REKEY that waits for its acknowledgement
    uint64_t ack_due_us         # 0: nothing to acknowledge
    uint64_t ack_bytes
    uint64_t resumes_since_us
    uint64_t resume_sent_us
    uint32_t unanswered         # RESUMEs in a row on this way
    uint64_t resuming_us        # since when it resumes
    uint64_t round_trip_us      # smoothed, from frames to their ACK
    uint64_t timed_number       # a frame whose ACK is being timed
    uint64_t timed_us           # 0: none
    Bucket late_us              # what was taken of FLOW_LATE_BURST
    uint64_t sent_bytes
    uint64_t received_bytes
    uint32_t ack_frames
    uint32_t resume_id
    uint32_t loss_told          # label of the way whose loss the control plane knows; 0: none since it last went on
    uint32_t resumes
    uint32_t rx_highest         # the greatest stream id the peer opened
    uint32_t tx_highest         # the next id that we open
    uint16_t index
    uint8_t state
    bint initiator
    bint confirmed_tx           # our FLOW_CONFIRM was sent
    bint rekey_waits
    bint answered               # nobody waits for a RESUME with resume_id
    bint active                 # in the list of active flows
    bint due                    # in the list of those that owe an ACK


# Set a flow up from its secret (epoch 0 of both directions). The caller wipes secret.
cdef Result flow_start(Flow* self, uint16_t index, const uint8_t* secret, uint32_t suite, bint initiator,
                       const uint8_t* binding, uint64_t cap) noexcept nogil

# Wipe keys, drop retained frames. Streams must be gone before.
cdef void flow_stop(Flow* self, Pool* pool) noexcept nogil

# Both sides keep the renewal that the session's have agreed on: the far edge owes a step with it.
cdef void flow_agree(Flow* self, uint64_t now_us) noexcept nogil

# May so many bundles of any size be sealed now: what is retained within the cap, and its memory within two?
cdef bint flow_has_room(const Flow* self, uint32_t bundles) noexcept nogil

# May bulk be read for it now? More than the path holds would only wait on its way.
cdef bint flow_bears_bulk(const Flow* self, uint64_t now_us) noexcept nogil

# The flow of a stream, or NULL while it waits for a route.
cdef inline Flow* stream_flow(const Stream* stream) noexcept nogil:
    return <Flow*>stream.flow

# The next stream of a flow in the order of its table, or NULL; *at is 0 at first, and 0 begins again.
cdef inline Stream* flow_stream_next(const Flow* self, uint32_t* at) noexcept nogil:
    return <Stream*>map_next(&self.streams, at)

# May streams of it be read at all now? Not, while memory is short, if its peer holds more than is left for all others,
# or if far more is on the way than the path holds.
cdef inline bint flow_bears_reads(const Flow* self, const Pool* pool, uint64_t now_us) noexcept nogil:
    return pool.used <= pool.limit / 2 or flow_bears_reads_now(self, pool, now_us)

# Does its peer hold so much that it gets no more than it must?
cdef inline bint flow_is_greedy(const Flow* self, const Pool* pool) noexcept nogil:
    return pool.used > pool.limit / 2 and flow_is_greedy_now(self, pool)

# The same, when more than half of the memory is used.
cdef bint flow_bears_reads_now(const Flow* self, const Pool* pool, uint64_t now_us) noexcept nogil
cdef bint flow_is_greedy_now(const Flow* self, const Pool* pool) noexcept nogil

# Number and seal the body of length bytes that lies in clear in buf behind its prefix, and retain it. One reference
# passes to the flow. RESULT_KEY_LIMIT and RESULT_CRYPTO end the session; the reference has passed all the same.
cdef Result flow_seal(Flow* self, Pool* pool, uint32_t type, Buf* buf, uint32_t length, uint64_t now_us) noexcept nogil

# Put a sealed frame behind those that are retained.
cdef void flow_retain(Flow* self, Buf* buf, uint64_t now_us) noexcept nogil

# Make FLOW_CONFIRM (frame 0), sealed and retained; *out is borrowed from the flow.
cdef Result flow_confirm(Flow* self, Pool* pool, uint64_t now_us, Buf** out) noexcept nogil

# Make FLOW_REKEY, sealed and retained, and step; *out is borrowed from the flow.
cdef Result flow_rekey(Flow* self, Pool* pool, uint64_t now_us, Buf** out) noexcept nogil

# Is a step due, and may one be made?
cdef bint flow_must_rekey(const Flow* self, const Limits* limits, uint64_t now_us) noexcept nogil

# Make a volatile frame; *out carries one reference for the caller.
cdef Result flow_volatile(Flow* self, Pool* pool, uint32_t type, const uint8_t* body, uint32_t length,
                          Buf** out) noexcept nogil
cdef Result flow_ack(Flow* self, Pool* pool, Buf** out) noexcept nogil
cdef Result flow_resume(Flow* self, Pool* pool, uint64_t now_us, Buf** out) noexcept nogil

# Write the header of a frame that flow_seal or the makers above gave, for this label, in clear.
cdef void flow_header(const Buf* buf, uint32_t label, uint8_t* p) noexcept nogil

# Open a frame of this flow in place: order, epoch and tag. RESULT_OK: its body may be read. RESULT_DUPLICATE: to be
# ignored. RESULT_GAP: to be ignored, and resume. RESULT_MIX_OVERDUE: it opens, but comes too late under an epoch
# without the newest mix. Anything else ends the session too.
cdef Result flow_open(Flow* self, const Frame* frame, uint8_t* wire, uint64_t now_us) noexcept nogil

# What the body of an opened frame means for the flow itself. RESULT_OK or a refusal.
cdef Result flow_rx_confirm(Flow* self, const uint8_t* body) noexcept nogil
cdef Result flow_rx_rekey(Flow* self, const uint8_t* body, uint64_t now_us) noexcept nogil
cdef Result flow_rx_ack(Flow* self, Pool* pool, uint64_t next_number, uint64_t now_us) noexcept nogil

# RESUME came. *answer: the caller must send flow_resume first; *again: then re-send everything retained.
cdef Result flow_rx_resume(Flow* self, Pool* pool, const uint8_t* body, uint64_t now_us, bint* answer,
                           bint* again) noexcept nogil

# The path or lane is lost and there is no other yet: nothing is sealed until the flow has resumed.
cdef void flow_pause(Flow* self, uint64_t now_us) noexcept nogil

# The way under this label is lost: is that to be told? Once until it goes on, however often a neighbour says LOST.
cdef bint flow_loss_is_news(Flow* self, uint32_t label) noexcept nogil

# The path or lane is lost or new, or a gap was seen: begin a resumption. RESULT_TOO_MANY_RESUMES ends the session.
cdef Result flow_break(Flow* self, uint64_t now_us) noexcept nogil

# A late record came. RESULT_GLITCHES: one too many.
cdef Result flow_late(Flow* self, uint64_t now_us) noexcept nogil

# Lists of ready streams.
cdef void list_push(StreamList* self, Stream* stream) noexcept nogil
cdef Stream* list_pop(StreamList* self) noexcept nogil
