# Orders down to a worker, events up from it. Both use short critical sections under a mutex; a worker takes all its
# orders at once and passes all events of a turn at once, so the cost is per turn. The event descriptors are written by
# worker and core.
#
# Order and Event are tagged unions: `kind` selects the member of `args` or `data`; the comment of each struct names its
# kinds. Fields that a kind does not use are zero.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pcgrelay._core.base.atomics cimport pointer_get
from pcgrelay._core.base.ports cimport PortRange
from pcgrelay._core.base.stats cimport DROP_CAUSES
from pcgrelay._core.link.gauge cimport Gauge
from pcgrelay._core.stream.service_tables cimport Tables


cdef extern from "pthread.h" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t* mutex, const void* attributes)
    int pthread_mutex_destroy(pthread_mutex_t* mutex)
    int pthread_mutex_lock(pthread_mutex_t* mutex)
    int pthread_mutex_unlock(pthread_mutex_t* mutex)


cdef enum OrderKind:
    ORDER_STOP
    ORDER_LINK_ADD
    ORDER_LINK_CLOSE
    ORDER_LINK_DRAIN
    ORDER_LINK_RENEW
    ORDER_LINK_MIX
    ORDER_LANE_ADD
    ORDER_PATH_ADD
    ORDER_PATH_REMOVE
    ORDER_SESSION_ADD
    ORDER_SESSION_PATH
    ORDER_SESSION_CANDIDATE     # out_label 0: no longer
    ORDER_SESSION_CLOSE
    ORDER_SESSION_RENEW
    ORDER_SESSION_MIX
    ORDER_TABLES
    ORDER_LISTEN
    ORDER_UNLISTEN
    ORDER_DRAIN
    ORDER_SETTINGS
    ORDER_STREAM                # an accepted socket for a flow of this worker
    ORDER_NUDGE                 # a round over the streams of an outlet
    ORDER_PORTS
    ORDER_DATAGRAMS             # of clients of another worker's socket

# LINK_ADD. One reference of the gauge passes to the worker.
cdef struct LinkOrder:
    uint32_t number
    uint32_t suite
    uint32_t lanes
    bint dialler
    Gauge* gauge
    uint8_t binding[32]

# LINK_CLOSE, SESSION_CLOSE
cdef struct CloseOrder:
    uint32_t number
    uint32_t code

# LINK_DRAIN
cdef struct DrainOrder:
    uint32_t link
    uint32_t milliseconds

# LINK_RENEW, SESSION_RENEW, with a secret; LINK_MIX, SESSION_MIX, without serial.
cdef struct RenewalOrder:
    uint32_t number             # of the link or session
    uint64_t mix
    uint64_t serial             # returned with the event

# LANE_ADD, with a secret and a socket.
cdef struct LaneOrder:
    uint32_t link
    uint32_t index
    uint32_t number

# PATH_ADD: of a relay, from link a to link b. PATH_REMOVE: the number alone.
cdef struct PathOrder:
    uint32_t number
    uint32_t a_link
    uint32_t a_in
    uint32_t a_out
    uint32_t b_link
    uint32_t b_in
    uint32_t b_out
    uint32_t priority
    uint64_t cap

# SESSION_ADD, with a secret. One reference of the gauge passes to the worker.
cdef struct SessionOrder:
    uint32_t number
    uint32_t suite
    uint32_t flows
    uint32_t marking
    uint32_t priority
    uint32_t ack_bytes
    bint initiator
    uint64_t cap
    Gauge* gauge
    uint8_t binding[32]

# SESSION_PATH, SESSION_CANDIDATE
cdef struct LeadOrder:
    uint32_t session
    uint32_t link
    uint32_t in_label
    uint32_t out_label          # of a candidate: 0: no longer
    uint32_t instead            # of a path: move only flows that use this label; 0: all

# What goes with an application's socket from worker to worker, or from the control plane. Of its set-up, if its import
# has several outlets: see Setup.
cdef struct StreamOrder:
    uint32_t import_number
    uint32_t session            # that was chosen for it; 0: none
    bint shared                 # another process knows the socket
    bint handed                 # the control plane has accepted it: nothing is known of it yet
    bint begun                  # the set-up began on another worker: what follows holds
    uint32_t shadow             # the number of a shadow connection, of which outlet alone holds; 0: none
    uint16_t listener           # in whose counts it is
    uint8_t outlet
    uint8_t tried
    uint8_t moved
    uint8_t client[28]
    uint32_t first_code
    uint32_t first_cause
    uint32_t first_rule
    uint64_t started_us

cdef struct ListenOrder:
    uint32_t import_number
    uint32_t listener           # the number of its counts; 0: none
    bint datagrams              # the socket is one of UDP

# NUDGE, and STREAMS_NUDGED: what was asked, and what the workers before have found.
cdef struct NudgeOrder:
    uint32_t import_number
    uint32_t round              # its number
    uint32_t most               # so many may still be closed
    uint8_t outlet
    bint hard                   # whatever they do, by a reset
    uint64_t idle_us            # else those on which nothing moved for so long
    uint32_t nudged
    uint32_t open               # those left
    uint32_t idle               # of them
    uint64_t oldest_us          # of them: the greatest age

# SETTINGS: all settings that the configuration may change while a worker runs.
cdef struct Settings:
    uint64_t probe_us
    uint64_t handshake_us
    uint64_t linger_us
    uint64_t rekey_frames       # these three: 0, or more than the protocol's limit, means the protocol's
    uint64_t rekey_bytes
    uint64_t rekey_us

# Datagrams of clients whose import has no flow on the worker that has the socket. Behind it, for each one of them:
# client, local address (see Association), u32 length, and its bytes.
cdef struct DatagramBatch:
    uint32_t import_number
    uint32_t origin             # the worker of the socket,
    uint32_t serial             # and the number of its listener there,
    uint32_t counts             # and in whose counts what comes by it is
    uint32_t unlistens          # the orders UNLISTEN that it had carried out by then
    uint32_t count
    uint32_t size               # in bytes, of all that comes behind

cdef union OrderArgs:
    DatagramBatch* datagrams    # DATAGRAMS, with a copy of the socket: it passes
    PortRange* ports            # PORTS: it passes; NULL: the system chooses
    LinkOrder link
    CloseOrder close
    DrainOrder drain
    RenewalOrder renewal
    LaneOrder lane
    PathOrder path
    SessionOrder session
    LeadOrder lead
    StreamOrder stream
    NudgeOrder nudge
    Settings settings
    ListenOrder listen          # LISTEN, with a socket
    int import_number           # UNLISTEN
    Tables* tables              # TABLES: one reference, which passes

cdef struct Order:
    Order* next
    OrderKind kind
    int fd                      # -1: none
    uint8_t secret[32]          # wiped by the worker after use
    OrderArgs args

cdef struct Mailbox:
    pthread_mutex_t mutex
    Order* first                # owned
    Order* last
    int wake_fd                 # eventfd; owned

cdef enum EventKind:
    EVENT_LANE_UP = 1
    EVENT_LANE_DOWN = 2
    EVENT_SESSION_UP = 3
    EVENT_SESSION_DOWN = 4
    EVENT_SESSION_STALLED = 5
    EVENT_SESSION_RESUMED = 6
    EVENT_PEER_DRAINS = 7
    EVENT_IMPORT_WANTED = 8
    EVENT_STREAM_END = 9
    EVENT_STREAM_OPEN = 10
    EVENT_EVENTS_LOST = 11
    EVENT_FLOW_UP = 12          # within the core: SESSION_UP follows when every flow of the session is up
    EVENT_LINK_RENEWED = 13     # of one worker; the face reports it when all workers have
    EVENT_SESSION_RENEWED = 14
    EVENT_SESSION_MOVED = 15
    EVENT_SETUP_ENDED = 16      # an attempt on one outlet of an import
    EVENT_STREAMS_NUDGED = 17   # a round is over
    EVENT_STREAMS_DONE = 18     # made by the face of many STREAM_END
    EVENT_SESSION_AGREED = 22   # a step has shown to an initiator, on one worker, that the responder has told RENEWED

# LANE_UP, LANE_DOWN
cdef struct LaneEvent:
    uint32_t link
    uint32_t index
    uint32_t number
    uint32_t code               # these two: of an end
    uint32_t reason

# PEER_DRAINS
cdef struct DrainEvent:
    uint32_t link
    uint32_t milliseconds

# LINK_RENEWED, SESSION_RENEWED, SESSION_AGREED
cdef struct RenewalEvent:
    uint32_t number             # of the link or session
    uint64_t mix
    uint64_t serial             # of the order; not of AGREED

# FLOW_UP, SESSION_DOWN, SESSION_STALLED, SESSION_RESUMED, SESSION_MOVED
cdef struct SessionEvent:
    uint32_t number
    uint32_t flow               # not of DOWN, MOVED
    uint32_t label              # the label that we gave to the path that was lost (STALLED) or is used now (MOVED)
    uint32_t code               # STALLED, DOWN
    uint32_t reason             # DOWN
    bint remote                 # DOWN: the far edge ended it

# STREAM_END
cdef struct StreamEndEvent:
    uint64_t sent_bytes
    uint64_t received_bytes
    uint64_t open_us
    int number                  # of the import (opener) or export; -1: unknown
    uint32_t session            # 0: none
    uint32_t code
    uint32_t cause
    uint32_t rule
    bint opener
    bint remote                 # the far edge ended it
    uint32_t setup_us           # these: of an import with several outlets; until the last attempt was answered
    uint8_t outlet
    uint8_t moved               # how often it was led on to another outlet
    bint up                     # it was answered
    uint32_t shadow             # 0: an application's
    uint32_t id_head            # these three name it at both edges: of its session (Gauge); no flow: it never had one,
    uint32_t flow               # and 0 here
    uint32_t stream
    uint32_t first_us           # an opener's: until the first byte of the far side; 0: there was none
    bint datagram               # it was an association, and these are of its datagrams
    uint64_t sent_datagrams
    uint64_t received_datagrams
    uint32_t dropped[DROP_CAUSES]
    uint32_t service_length
    uint8_t service[64]

# SETUP_ENDED. Of applications, failures alone are told.
cdef struct SetupEvent:
    uint32_t import_number
    uint32_t session            # 0: none
    uint32_t outcome            # METER_UP...
    uint32_t code
    uint32_t cause
    uint32_t rule
    uint32_t elapsed_us         # of this attempt
    uint32_t shadow             # 0: an application's
    uint8_t outlet
    uint8_t client[28]

cdef union EventData:
    LaneEvent lane
    DrainEvent drain
    RenewalEvent renewal
    SessionEvent session
    StreamEndEvent stream
    SetupEvent setup
    NudgeOrder nudge
    uint32_t import_number      # IMPORT_WANTED

cdef struct Event:
    uint32_t kind
    EventData data

cdef enum:
    OUTBOX_TURN = 1024          # events of one turn, until they are passed on
    OUTBOX_RING = 32768         # events that wait for the control plane,
    OUTBOX_KEPT = 16384         # of which so many places are reserved for links, lanes and sessions
    OUTBOX_PLACES = OUTBOX_RING + OUTBOX_KEPT

# Events of all workers, for the control plane. Events of single streams, of which a peer may cause any number, never
# use the reserved places: they are for the log only, while the loss of another event leaves a link or session in a
# wrong state, or somebody waiting for the end of a shadow's set-up.
cdef struct Outbox:
    pthread_mutex_t mutex
    Event* ring                 # owned
    uint32_t head
    uint32_t count
    uint64_t lost
    uint64_t lost_kept          # of these, events of links, lanes and sessions
    int wake_fd                 # eventfd; owned by core


cdef bint mailbox_start(Mailbox* self, int wake_fd) noexcept nogil

# Append an order; it passes to the mailbox. True: the worker must be woken (its box was empty).
cdef bint mailbox_put(Mailbox* self, Order* order) noexcept nogil

# Take all orders: a list in order, which passes to the caller.
cdef Order* mailbox_drain(Mailbox* self) noexcept nogil
cdef bint mailbox_is_empty(Mailbox* self) noexcept nogil

# Whether there is an order. Read without the lock: one that arrives at this moment may be missed.
cdef inline bint mailbox_has_any(const Mailbox* self) noexcept nogil:
    return pointer_get(<void* const*>&self.first) != NULL

cdef void mailbox_stop(Mailbox* self) noexcept nogil

# A zeroed order, or NULL.
cdef Order* order_new(OrderKind kind) noexcept nogil
cdef void order_free(Order* order) noexcept nogil

cdef bint outbox_start(Outbox* self, int wake_fd) noexcept nogil

# Append n events; those that do not fit are counted as lost. True: the reader must be woken (the outbox was empty).
cdef bint outbox_put(Outbox* self, const Event* events, uint32_t n) noexcept nogil

# Take at most limit events; *lost: how many did not fit since the last call; *lost_kept: of these, how many were not
# of single streams.
cdef uint32_t outbox_drain(Outbox* self, Event* events, uint32_t limit, uint64_t* lost,
                           uint64_t* lost_kept) noexcept nogil
cdef void outbox_stop(Outbox* self) noexcept nogil
