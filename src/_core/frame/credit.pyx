from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.base.result cimport RESULT_BAD_CREDIT, RESULT_CREDIT_EXCEEDED, RESULT_OK, Result

cdef enum:
    # Round trips on loopback are shorter than a time slice of the scheduler; below this the window is always doubled.
    CREDIT_QUICK_US = 10000


cdef Result credit_raise(SendCredit* self, uint64_t limit) noexcept nogil:
    if limit < self.limit or limit - self.sent > <uint64_t>CREDIT_AHEAD:
        return RESULT_BAD_CREDIT
    self.limit = limit
    return RESULT_OK


cdef Result credit_receive(ReceiveCredit* self, uint64_t n) noexcept nogil:
    if n > self.limit - self.received:
        return RESULT_CREDIT_EXCEEDED
    self.received += n
    return RESULT_OK


cdef uint32_t credit_wish(const ReceiveCredit* self, uint64_t now_us, uint64_t round_trip_us) noexcept nogil:
    cdef uint64_t quick_us = 2 * round_trip_us
    if quick_us < CREDIT_QUICK_US:
        quick_us = CREDIT_QUICK_US
    if self.window < CREDIT_WINDOW_MAX and now_us - self.granted_us < quick_us:
        return 2 * self.window
    return self.window


cdef uint64_t credit_grant(ReceiveCredit* self, uint32_t window, uint64_t now_us) noexcept nogil:
    self.window = window
    self.granted_us = now_us
    if self.consumed + window > self.limit:
        self.limit = self.consumed + window
    return self.limit
