# The edge's role: records of a flow on one side, application connections on the other (docs/protocol.md, section 7).
# It makes no system call: it marks on each Stream what the worker must do.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.base.result cimport Result
from pcgrelay._core.session.session cimport Session
from pcgrelay._core.base.stats cimport Cause
from pcgrelay._core.stream.stream cimport Stream


cdef enum:
    RULE_NONE = 0xffff          # in RESET: no rule of a list
    EDGE_STREAMS_MAX = 65536    # of a flow
    EDGE_BULK = 16384           # a read of so many bytes makes a stream bulk
    EDGE_WINDOW = 262144        # first credit while there is enough memory,
    EDGE_WINDOW_LESS = 65536    # when it is less so; WIRE_EARLY when it is scarce
    EDGE_WINDOW_MORE = 1048576  # a larger window is of use on a long path only
    EDGE_LAST_US = 30000000     # bytes before a reset are delivered as long as some move within this time,
    EDGE_NEXT_US = 250000       # wait for one address of a target before the next (RFC 8305, section 5)
    EDGE_LOOK_US = 50000        # how often the kernel is asked whether such bytes moved

# Note that the target has accepted the connection.
cdef void edge_connected(Shard* shard, Stream* stream) noexcept nogil

# Make a stream of this service over fd (-1: none yet); NULL: the budget is used up.
cdef Stream* edge_stream(Shard* shard, int fd, bint opener, const uint8_t* service, uint32_t length) noexcept nogil
# Count an open stream (n = 1) or one less (n = -1) for its service, once its number is known.
cdef void edge_count(Shard* shard, const Stream* stream, int n) noexcept nogil

# Grant the far edge so many bytes ahead of what the application has read; return the new limit.
cdef uint64_t edge_grant(Shard* shard, Stream* stream, uint32_t window) noexcept nogil

# (Re)start the time after which a half-closed stream ends if nothing moves; it is far shorter once one side was reset.
cdef void edge_linger(Shard* shard, Stream* stream) noexcept nogil
# Whether that time runs.
cdef bint edge_lingers(const Stream* stream) noexcept nogil

# Set the timer of an association to when it ends if no datagram comes.
cdef void edge_watch_association(Shard* shard, Stream* stream) noexcept nogil

# The set-up of an association is over: the far side has answered, or nothing has refused it in the time of the outlet.
cdef void edge_associated(Shard* shard, Stream* stream) noexcept nogil

# Count the bytes that wait for the application, and the stream itself if the peer opened it, as held by the peer.
cdef void edge_hold(Stream* stream) noexcept nogil

# Note that the application has read n bytes.
cdef void edge_wrote(Shard* shard, Stream* stream, uint64_t n) noexcept nogil

# Handle a broken connection of the application (a StreamBreak). What it sent before is read and sent first, then RESET;
# bytes for it are dropped.
cdef void edge_break(Shard* shard, Stream* stream, uint8_t broken) noexcept nogil

# Let an application's connection go in order: it gets FIN, its own end counts as FIN, and bytes for it are dropped. So
# ends what is nudged, and what is no application: a shadow that its control plane has closed.
cdef void edge_leave(Shard* shard, Stream* stream) noexcept nogil

# A read of its socket failed for good.
cdef void edge_read_failed(Shard* shard, Stream* stream) noexcept nogil

# Handle a RESET. What came before it is written first, as long as the application reads, then its connection is reset.
cdef void edge_cut(Shard* shard, Stream* stream, uint32_t code, uint32_t rule) noexcept nogil

# So many bytes from before RESET have not reached the application's machine yet: wait, or reset the connection.
cdef void edge_cut_left(Shard* shard, Stream* stream, uint64_t left) noexcept nogil

# Drop n bytes for an application whose connection is broken, but count them as read: the far application may read what
# comes before RESET only after it has written what it has.
cdef void edge_dropped(Shard* shard, Stream* stream, uint64_t n) noexcept nogil

# Close both directions at once: the application's socket, and the far edge by RESET if it does not know yet.
cdef void edge_abort(Shard* shard, Stream* stream, uint32_t code, Cause cause) noexcept nogil

# Forget a stream that waited for a route, without an event: another worker has its socket.
cdef void edge_give_up(Shard* shard, Stream* stream) noexcept nogil

# A stream ends: report it, and let go of all but what is still to be said. Its code and cause are set before.
cdef void edge_finish(Shard* shard, Stream* stream) noexcept nogil

# Its session ended while the set-up was not answered: keep it for another outlet. False: it cannot be led on.
cdef bint edge_release_lost(Shard* shard, Stream* stream, uint32_t code) noexcept nogil

# Forget a stream if both directions have ended in order.
cdef void edge_check_done(Shard* shard, Stream* stream) noexcept nogil

# Handle the expiry of its timer.
cdef void edge_timer(Shard* shard, Stream* stream) noexcept nogil
