# Orders down to a worker, events up from it. Both are short critical sections under a mutex; a worker takes all its
# orders at once and gives all the events of a turn at once, so the price is per turn. The event descriptors are
# written by worker and core.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from pcgrelay._core.atomics cimport pointer_get


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
    ORDER_LIMITS
    ORDER_STREAM                # an accepted socket for a flow of this worker
    ORDER_PROBE                 # another probe interval from now on
    ORDER_HANDSHAKE             # another deadline of CONFIRM from now on
    ORDER_HALF_CLOSED           # half-closed streams end if nothing moves for so long, from now on

cdef struct Order:
    Order* next
    OrderKind kind
    int fd
    uint64_t a
    uint64_t b
    uint64_t c
    uint64_t d
    uint64_t e
    uint64_t f
    uint64_t g
    uint64_t h
    void* pointer               # meaning and owner by kind
    uint8_t secret[32]          # wiped by the worker when it has used it
    uint8_t binding[32]

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
    EVENT_FLOW_UP = 12          # within the core: SESSION_UP when every flow of the session said so
    EVENT_LINK_RENEWED = 13     # of one worker; the face tells it when all have said so
    EVENT_SESSION_RENEWED = 14
    EVENT_SESSION_MOVED = 15

cdef struct Event:
    uint32_t kind
    uint32_t text_length
    int64_t a
    int64_t b
    int64_t c
    int64_t d
    int64_t e
    int64_t f
    int64_t g
    int64_t h
    int64_t i
    uint8_t text[64]

cdef enum:
    OUTBOX_TURN = 1024          # events of one turn that wait to be passed on
    OUTBOX_RING = 32768         # events that wait for the control plane,
    OUTBOX_KEPT = 16384         # and places that are kept for what lasts
    OUTBOX_PLACES = OUTBOX_RING + OUTBOX_KEPT

# Events of all workers, for the control plane. Those of single streams, of which a peer may cause any number, never
# take the last places: they are for the log, while the loss of any other leaves a link or session in a wrong state.
cdef struct Outbox:
    pthread_mutex_t mutex
    Event* ring                 # owned
    uint32_t head
    uint32_t count
    uint64_t lost
    uint64_t lost_kept          # of these, of links, lanes and sessions
    int wake_fd                 # eventfd; owned by core


cdef bint mailbox_start(Mailbox* self, int wake_fd) noexcept nogil

# Append an order; it passes to the mailbox. True: the worker must be woken (its box was empty).
cdef bint mailbox_put(Mailbox* self, Order* order) noexcept nogil

# Take everything: a list in order, which passes to the caller.
cdef Order* mailbox_take(Mailbox* self) noexcept nogil
cdef bint mailbox_is_empty(Mailbox* self) noexcept nogil

# Is there an order? A look without the lock: one that comes at this moment may be missed.
cdef inline bint mailbox_has_any(const Mailbox* self) noexcept nogil:
    return pointer_get(<void* const*>&self.first) != NULL

cdef void mailbox_stop(Mailbox* self) noexcept nogil

# A zeroed order, or NULL.
cdef Order* order_new(OrderKind kind) noexcept nogil
cdef void order_free(Order* order) noexcept nogil

cdef bint outbox_start(Outbox* self, int wake_fd) noexcept nogil

# Append n events; those that do not fit are counted as lost. True: the reader must be woken (it was empty).
cdef bint outbox_put(Outbox* self, const Event* events, uint32_t n) noexcept nogil

# Take at most limit events; *lost: how many did not fit since the last time; *lost_kept: of these, how many were not of
# single streams.
cdef uint32_t outbox_take(Outbox* self, Event* events, uint32_t limit, uint64_t* lost,
                          uint64_t* lost_kept) noexcept nogil
cdef void outbox_stop(Outbox* self) noexcept nogil
