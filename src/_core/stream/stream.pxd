# A stream at one edge: the state table of docs/protocol.md, 7.1, and the record of one application connection.
#
#   IDLE --tx OPEN--> OPENING --rx ACCEPT--> OPEN --FIN--> HALF_* --FIN--> CLOSED
#   IDLE --rx OPEN--> ANSWERING --tx ACCEPT--^          (RESET from anywhere --> CLOSED)
#   A FIN of the opener may come before ACCEPT: OPENING_FIN, ANSWERING_FIN.
#
# Two events are not of the protocol. FORGET ends a stream in any state without a record, because nobody is left to be
# told. AGAIN takes back an OPEN that was not answered, or answered by RESET: the application's connection is led to
# another outlet, and what is left of the stream at the far edge is reset by another record. The state is written here
# alone.
#
# A stream of datagrams is an association: of one client, or with the target on its behalf. It opens and is accepted as
# any other, but has neither credit nor FIN; RESET alone ends it, with the code DONE once it is idle.
#
# A direct stream has no far edge. It is two streams, the application's and that of its target: each is the other's
# partner, and what one reads the other writes. Of datagrams the first one is the association, and writes by the socket
# that all clients of its import have.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pcgrelay._core.frame.credit cimport ReceiveCredit, SendCredit
from pcgrelay._core.base.buf cimport Buf, Pool, pool_alloc, pool_free
from pcgrelay._core.base.handle cimport Handle
from pcgrelay._core.base.queue cimport Queue
from pcgrelay._core.base.stats cimport DROP_CAUSES
from pcgrelay._core.base.timer cimport Timer
from pcgrelay._core.base.wire cimport WIRE_SERVICE_MAX
from pcgrelay._core.stream.meter cimport Meter


cdef enum StreamState:
    STREAM_IDLE = 0
    STREAM_OPENING = 1
    STREAM_OPENING_FIN = 2
    STREAM_ANSWERING = 3
    STREAM_ANSWERING_FIN = 4
    STREAM_OPEN = 5
    STREAM_HALF_LOCAL = 6
    STREAM_HALF_REMOTE = 7
    STREAM_CLOSED = 8
    STREAM_STATES = 9
    STREAM_REFUSED = 255

cdef enum StreamEvent:
    STREAM_TX_OPEN = 0
    STREAM_RX_OPEN = 1
    STREAM_TX_ACCEPT = 2
    STREAM_RX_ACCEPT = 3
    STREAM_TX_DATA = 4
    STREAM_RX_DATA = 5
    STREAM_TX_FIN = 6
    STREAM_RX_FIN = 7
    STREAM_RESET = 8
    STREAM_FORGET = 9           # the far edge knows, or was never told of the stream
    STREAM_AGAIN = 10           # the opener's: the set-up failed and begins on another outlet
    STREAM_EVENTS = 11

cdef extern from *:
    """
    #define X 255
    static const unsigned char stream_table[9][11] = {
    /*                  tx OPEN rx OPEN tx ACC rx ACC tx DATA rx DATA tx FIN rx FIN RESET FORGET AGAIN */
    /* IDLE          */ { 1,      3,      X,     X,     X,      X,      X,     X,     X,     8,    0 },
    /* OPENING       */ { X,      X,      X,     5,     1,      X,      2,     X,     8,     8,    0 },
    /* OPENING_FIN   */ { X,      X,      X,     6,     X,      X,      X,     X,     8,     8,    X },
    /* ANSWERING     */ { X,      X,      5,     X,     X,      3,      X,     4,     8,     8,    X },
    /* ANSWERING_FIN */ { X,      X,      7,     X,     X,      X,      X,     X,     8,     8,    X },
    /* OPEN          */ { X,      X,      X,     X,     5,      5,      6,     7,     8,     8,    X },
    /* HALF_LOCAL    */ { X,      X,      X,     X,     X,      6,      X,     8,     8,     8,    X },
    /* HALF_REMOTE   */ { X,      X,      X,     X,     7,      X,      8,     X,     8,     8,    X },
    /* CLOSED        */ { X,      X,      X,     X,     X,      X,      X,     X,     X,     8,    0 },
    };
    #undef X
    """
    const uint8_t stream_table[9][11]

# The records that a stream has to send next.
cdef enum:
    TX_OPEN = 1
    TX_ACCEPT = 2
    TX_CREDIT = 4
    TX_RESET = 8

cdef enum StreamPlace:
    PLACE_NONE = 0              # in no list
    PLACE_READY = 1             # in its flow's list, small or bulk

# Whether the application's connection is broken: reset, or dead. What it had sent before is still read.
cdef enum StreamBreak:
    BREAK_NONE = 0
    BREAK_TOLD = 1              # the socket still has the error behind its bytes; if a read returns 0, FIN came before
    BREAK_TAKEN = 2             # a call has cleared the error of the socket: its end looks like FIN, but is none
    BREAK_LEFT = 3              # it is let go in order: its end counts as FIN, and what comes for it is dropped

# The direction from the application.
cdef enum StreamInput:
    IN_OPEN = 0
    IN_HANGUP = 1               # the socket has seen the application's FIN, perhaps behind bytes
    IN_ENDED = 2                # the FIN was read

# The direction to the application.
cdef enum StreamOutput:
    OUT_OPEN = 0
    OUT_FIN_DUE = 1             # FIN is passed on once the queue is empty
    OUT_SHUT = 2                # FIN was passed on

# The connection to a target.
cdef enum StreamDial:
    DIAL_NONE = 0               # it is established, or the application opened it
    DIAL_TRYING = 1
    DIAL_NEXT_DUE = 2           # and the next address of the target is to be tried

# What the far edge has done.
cdef enum StreamFar:
    FAR_OPEN = 0
    FAR_ENDED = 1               # it ended the stream
    FAR_CUT = 2                 # by RESET, and bytes from before that are still to be written

# The life of this record.
cdef enum StreamLife:
    LIFE_LIVE = 0
    LIFE_FINISHED = 1           # ended for the application; freed once its last records are sent
    LIFE_DEFERRED = 2           # in the list of those that are freed at the end of the turn

cdef enum:
    STREAM_YOUNG_US = 1000000   # a connection to a target that is younger needs no keep-alive

# A connection that is tried in parallel with the stream's own.
cdef struct Dial:
    Handle handle               # first
    Stream* stream              # NULL: it is no longer needed
    Dial* next

# How the set-up of a stream goes whose import has several outlets. It stays with the stream to its end.
cdef enum SetupState:
    SETUP_TRYING = 0            # an attempt on one outlet is under way
    SETUP_FAILED = 1            # it failed: the worker leads the stream on, or ends it
    SETUP_UP = 2

cdef struct Setup:
    Setup* next                 # all of the shard
    Setup* prev
    Stream* stream
    Meter* meter                # one reference; NULL: the tables have not come yet that name it
    uint64_t started_us         # when the application connected
    uint64_t attempt_us         # when the attempt on this outlet began
    uint64_t up_us              # when it was answered
    uint64_t deadline_us        # for all attempts together
    uint64_t still_bytes        # so many had moved when a round looked last,
    uint64_t still_us           # and since this time at least no more; 0: none has looked
    uint32_t first_code         # of the first attempt that failed: what is told if all do
    uint32_t first_cause
    uint32_t first_rule
    uint32_t code               # of the last
    uint32_t cause
    uint8_t client[28]          # the application's socket address, without its port; zeros: unknown
    uint8_t state               # SetupState
    uint8_t outlet
    uint8_t tried               # a bit for each outlet
    uint8_t moved               # how often it was led on
    uint32_t shadow             # the control plane's own has this number: its outlet is fixed, its figures stand apart

cdef enum:
    ASSOCIATION_CLIENT = 28     # a socket address of IPv4 or IPv6; what does not name a client is zero
    ASSOCIATION_LOCAL = 20      # the local address that a client asked, and the interface of one of a link

# What a stream of datagrams has beside its record. What comes from its socket waits here for the flow. What comes for
# the socket is in Stream.out, until the turn's frame has been handled: it is sent then, or dropped.
cdef struct Association:
    Stream* stream
    Association* newer          # of all clients of a listener, by when each was heard of last
    Association* older
    Association* newer_of_source  # the same of those with one address
    Association* older_of_source
    Association* same           # another client with the same hash
    void* clients               # Clients* of the listener. NULL: the socket is its own, connected to the target
    void* source                # ClientSource*
    Association* following      # of the flow, those with datagrams that may be sent
    Association* previous
    Buf* first                  # owned: what waits, oldest first; Buf.number: since when
    Buf* last
    Buf* kept                   # owned, while its set-up may be led on: what was sent first, for the next outlet
    uint32_t waiting
    uint32_t waiting_bytes
    uint64_t wait_us            # nothing waits longer
    uint64_t idle_us            # it ends after so long without a datagram,
    uint64_t silent_us          # or after so long if nothing was ever answered
    uint64_t traffic_us         # when one went either way last
    uint64_t tx_number
    uint64_t sent               # datagrams of the client or target, in frames
    uint64_t received           # and for it
    uint32_t dropped[DROP_CAUSES]
    uint32_t hash
    uint32_t serial             # the number of its listener, from 1
    uint32_t overflows          # of its own socket, as those of a listener
    uint8_t client[ASSOCIATION_CLIENT]
    uint8_t local[ASSOCIATION_LOCAL]
    bint answered               # something came from the target's side
    bint listed                 # among those of the flow

cdef struct AssociationList:
    Association* head
    Association* tail

# Thousands may be open and idle, so it is kept small: a byte for a flag, and only as much of service as its name has.
cdef struct Stream:
    Handle handle               # first: the application's socket
    Timer timer                 # connecting, waiting for a route, or lingering half-closed
    Timer expiry                # when its service's idle or life time may be over, or it is young no more
    Stream* next                # in the list that place names
    Stream* next_dirty          # in the list of those with bytes for the application
    Stream* next_direct         # in the list of halves of direct streams
    Stream* prev_direct
    void* flow                  # Flow*, or NULL while it waits for a route
    Dial* beside                # owned
    Setup* setup                # owned; NULL: its import has the gateway alone, or it is not an opener
    Stream* partner             # of a direct stream: the other half, while both live
    Association* association    # owned; NULL: it is a stream of bytes, or has ended
    Queue out                   # bytes for the application
    SendCredit tx
    ReceiveCredit rx
    uint64_t held               # the bytes that are counted for it in the holding of its peer
    uint64_t opened_us
    uint64_t progress           # bytes that had moved when the timer last expired
    uint64_t dropped            # bytes of rx.consumed that were dropped and not read by the application
    uint64_t due_us             # connecting: the deadline. Cut: when it ends, if no byte moves before
    uint64_t still_bytes        # so many had moved when its idle time was looked at last,
    uint64_t still_us           # and since this time at most no more; 0: nobody has looked
    uint64_t swapped_us         # when another connection became its own: epoll events of that turn are of the old one
    uint32_t first_us           # an opener's: from its connection to the first byte of the far side; 0: none yet
    uint32_t id
    uint32_t session            # number
    int number                  # of the import or export; -1: unknown
    uint32_t rule
    uint32_t code
    uint16_t listener           # in whose counts it is; 0: in none
    uint8_t target              # which of the export's addresses is being tried
    uint8_t elsewhere           # the worker that gets its socket for session, plus 1; 0: none
    uint8_t cause
    uint8_t marking             # the one that the far edge sent in OPEN, and at most that of the session
    uint8_t state
    uint8_t say                 # TX_*
    uint8_t place
    uint8_t broken              # StreamBreak
    uint8_t input               # StreamInput
    uint8_t output              # StreamOutput
    uint8_t dial                # StreamDial
    uint8_t far                 # StreamFar
    uint8_t life                # StreamLife
    uint8_t young               # its connection to a target has no keep-alive, and gets it if it lives so long
    uint8_t datagram            # it carries datagrams: an association. Neither credit nor DATA nor FIN is for it
    uint8_t direct              # it is half of a direct stream
    uint8_t opener              # we opened it
    uint8_t unanswered          # the first byte of the far side is awaited, to be timed
    uint8_t bulk                # its last read filled the room it had
    uint8_t readable            # the socket may have bytes
    uint8_t writable            # the socket accepts bytes
    uint8_t dirty
    uint8_t service_length
    uint8_t service[WIRE_SERVICE_MAX]  # its name, for the log; the record ends with it (stream_new)


# The bytes of a record whose service has a name of so many.
cdef inline size_t stream_size(uint32_t service_length) noexcept nogil:
    return sizeof(Stream) - WIRE_SERVICE_MAX + service_length

# A zeroed record with room for the name of its service; NULL: the budget is used up.
cdef inline Stream* stream_new(Pool* pool, uint32_t service_length) noexcept nogil:
    cdef Stream* stream = <Stream*>pool_alloc(pool, stream_size(service_length))
    if stream != NULL:
        stream.service_length = <uint8_t>service_length
    return stream

cdef inline void stream_free(Pool* pool, Stream* stream) noexcept nogil:
    pool_free(pool, stream, stream_size(stream.service_length))

# When it is young no more. Its timer of expiry goes off no later.
cdef inline uint64_t stream_young_until(const Stream* self) noexcept nogil:
    return self.opened_us + STREAM_YOUNG_US

# Step the state; False: the table does not allow it, nothing changed.
cdef inline bint stream_step(Stream* self, StreamEvent event) noexcept nogil:
    cdef uint8_t following = stream_table[self.state][<int>event]
    if following == STREAM_REFUSED:
        return False
    self.state = following
    return True

# Restore the state from a hand-over record. False: there is no such state.
cdef inline bint stream_restore(Stream* self, uint8_t state) noexcept nogil:
    if state >= STREAM_STATES:
        return False
    self.state = state
    return True

cdef inline bint stream_may(const Stream* self, StreamEvent event) noexcept nogil:
    return stream_table[self.state][<int>event] != STREAM_REFUSED

# Is the set-up still to be answered?
cdef inline bint stream_is_pending(const Stream* self) noexcept nogil:
    return self.setup != NULL and self.setup.state != SETUP_UP

# May the set-up be refused, but owes nobody an answer? So it is with datagrams, once the far edge has accepted them or
# the target's socket is there.
cdef inline bint stream_is_unrefused(const Stream* self) noexcept nogil:
    return self.datagram and (self.direct or self.state == STREAM_OPEN)

# Did the control plane make it, and no application?
cdef inline bint stream_is_shadow(const Stream* self) noexcept nogil:
    return self.setup != NULL and self.setup.shadow != 0

# The application's FIN was seen. That it was read is not taken back.
cdef inline void stream_hang_up(Stream* self) noexcept nogil:
    if self.input == IN_OPEN:
        self.input = IN_HANGUP
