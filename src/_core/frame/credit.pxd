# Credit of one stream: what the sender may still send, and what the receiver grants. Limits are absolute offsets.
#
# The receiver's window starts small. It grants again when its application has read half of the window, and doubles the
# window if that took less than two round trips: then the window, not the application, limited the sender.
from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.base.result cimport Result


cdef enum:
    CREDIT_AHEAD = 0x80000000   # how far a limit may be ahead of what was received (docs/protocol.md, 7.2)
    CREDIT_WINDOW_MAX = 16777216

cdef struct SendCredit:
    uint64_t sent
    uint64_t limit

cdef struct ReceiveCredit:
    uint64_t received
    uint64_t consumed           # what the application has read
    uint64_t limit              # the limit that was granted
    uint64_t granted_us         # when it was granted
    uint32_t window


cdef inline uint64_t credit_left(const SendCredit* self) noexcept nogil:
    return self.limit - self.sent

# Handle a CREDIT. RESULT_BAD_CREDIT: it lowers the limit, or raises it beyond CREDIT_AHEAD.
cdef Result credit_raise(SendCredit* self, uint64_t limit) noexcept nogil

# Count n bytes received. RESULT_CREDIT_EXCEEDED: more than was granted.
cdef Result credit_receive(ReceiveCredit* self, uint64_t n) noexcept nogil

# Count n bytes that the application has read.
cdef inline void credit_consume(ReceiveCredit* self, uint64_t n) noexcept nogil:
    self.consumed += n

# Whether to grant now.
cdef inline bint credit_is_due(const ReceiveCredit* self) noexcept nogil:
    return (self.limit - self.consumed) * 2 <= self.window

# The window for the next grant: the present one, or twice as much.
cdef uint32_t credit_wish(const ReceiveCredit* self, uint64_t now_us, uint64_t round_trip_us) noexcept nogil

# Grant up to window bytes ahead of what was consumed; return the new limit, which never falls.
cdef uint64_t credit_grant(ReceiveCredit* self, uint32_t window, uint64_t now_us) noexcept nogil
