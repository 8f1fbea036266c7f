# The edge's role: records of a flow on one side, application connections on the other (docs/protocol.md, section 7).
# It makes no system call: it says on each Stream what is to be done.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.base.result cimport Result
from pcgrelay._core.stream.service_tables cimport Target
from pcgrelay._core.session.session cimport Session
from pcgrelay._core.base.stats cimport Cause
from pcgrelay._core.stream.stream cimport Stream


cdef enum:
    RULE_NONE = 0xffff          # in RESET: no rule of a list
    EDGE_STREAMS_MAX = 65536    # of a flow
    EDGE_BULK = 16384           # a read of so much makes a stream bulk
    EDGE_WINDOW = 262144        # first credit while memory is plenty,
    EDGE_WINDOW_LESS = 65536    # when it is less so; WIRE_EARLY when it is scarce
    EDGE_WINDOW_MORE = 1048576  # beyond this a window serves a long way only
    EDGE_LAST_US = 30000000     # what came before a reset is passed on as long as some of it moves within this time;
    EDGE_NEXT_US = 250000       # an address of a target has so long to itself (RFC 8305, section 5)
    EDGE_LOOK_US = 50000        # how often the kernel is asked whether it has

# The addresses to connect an answering stream to: the next one, or NULL when none is left.
cdef const Target* edge_target(Shard* shard, Stream* stream) noexcept nogil

# A connection to one of them is under way: the timer is set for the next one's turn, or for the deadline.
cdef void edge_dialled(Shard* shard, Stream* stream) noexcept nogil

# Its target answered.
cdef void edge_connected(Shard* shard, Stream* stream) noexcept nogil

# A new stream over fd (-1: none yet); NULL: the budget is used up.
cdef Stream* edge_stream(Shard* shard, int fd, bint opener) noexcept nogil
# Count an open stream (n = 1) or one less (n = -1) for its service, once its number is known.
cdef void edge_count(Shard* shard, const Stream* stream, int n) noexcept nogil

# Whether so many more streams would be too many for a service, counted over all workers; it may be passed by one for
# each worker.
cdef bint edge_is_full(Shard* shard, uint32_t number, bint opener, uint32_t more) noexcept nogil
cdef void edge_name(Stream* stream, const uint8_t* service, uint32_t length) noexcept nogil

# The first credit: as much as the budget bears. Credit is a promise, not memory; the pool is the hard bound.
cdef uint32_t edge_first_window(Shard* shard, const Stream* stream) noexcept nogil

# Grant the far edge so much ahead of what the application took; answer the new limit.
cdef uint64_t edge_grant(Shard* shard, Stream* stream, uint32_t window) noexcept nogil

# Half-closed streams end if nothing moves for so long, and those of which one side was reset far sooner: (re)start that
# time.
cdef void edge_linger(Shard* shard, Stream* stream) noexcept nogil
# Does that time run?
cdef bint edge_lingers(const Stream* stream) noexcept nogil

# Count what waits for its application, and the stream itself if the peer opened it, as held by the peer.
cdef void edge_hold(Stream* stream) noexcept nogil

# The application took n bytes.
cdef void edge_wrote(Shard* shard, Stream* stream, uint64_t n) noexcept nogil

# The application's connection is broken (a StreamBreak). What it sent before is read and said first, then RESET is;
# what is for it is dropped.
cdef void edge_break(Shard* shard, Stream* stream, uint8_t broken) noexcept nogil

# RESET came. What came before it is written first, as long as the application takes it, then its connection is reset.
cdef void edge_cut(Shard* shard, Stream* stream, uint32_t code, uint32_t rule) noexcept nogil

# Of what came before RESET, so many bytes are not with the application's machine yet: wait, or reset the connection.
cdef void edge_cut_left(Shard* shard, Stream* stream, uint64_t left) noexcept nogil

# n bytes came for an application whose connection is broken. They are dropped, but count as taken: the far application
# may read what is said before RESET only once it has written what it has.
cdef void edge_dropped(Shard* shard, Stream* stream, uint64_t n) noexcept nogil

# Close both ways at once: the application's socket, and the far edge by RESET if it does not know yet.
cdef void edge_abort(Shard* shard, Stream* stream, uint32_t code, Cause cause) noexcept nogil

# Another worker took the socket of a stream that waited for a route: forget it here, without a word.
cdef void edge_give_up(Shard* shard, Stream* stream) noexcept nogil

# It has said its last and is in no list: free it at the end of the turn.
cdef void edge_bury(Shard* shard, Stream* stream) noexcept nogil

# Both directions ended in order: is it time to forget the stream?
cdef void edge_check_done(Shard* shard, Stream* stream) noexcept nogil

# Its timer rang.
cdef void edge_timer(Shard* shard, Stream* stream) noexcept nogil

# End a session: its streams are reset, and it is freed. It failed for this reason: the far edge and the control plane
# are told.
cdef void edge_session_fail(Shard* shard, Session* session, Result reason) noexcept nogil
# The same, by order of the control plane: the far edge is told.
cdef void edge_session_close(Shard* shard, Session* session, uint32_t code) noexcept nogil
# The same, because the far edge said so: the control plane is told.
cdef void edge_session_rx_close(Shard* shard, Session* session, uint32_t code) noexcept nogil

# Put it before those that wait for a route.
cdef void edge_wait(Shard* shard, Stream* stream) noexcept nogil

# Have the stream served in this turn or the next.
cdef void edge_ready(Shard* shard, Stream* stream) noexcept nogil
cdef void edge_dirty(Shard* shard, Stream* stream) noexcept nogil
cdef void edge_activate(Shard* shard, Flow* flow) noexcept nogil
