from libc.stdint cimport uint64_t
from libc.string cimport memset

cdef enum:
    # A shorter time measures the scheduler, not the path.
    SAMPLE_US = 5000


cdef void pace_acknowledged(Pace* self, uint64_t n, uint64_t now_us) noexcept nogil:
    cdef uint64_t elapsed_us, rate
    if self.since_us == 0:
        # The first acknowledged bytes were sent before the measurement began.
        self.since_us = now_us
        return
    self.bytes += n
    elapsed_us = now_us - self.since_us
    if elapsed_us < SAMPLE_US or elapsed_us < self.round_us:
        return
    rate = self.bytes * 1000000 / elapsed_us
    pace_turn(self, now_us)
    if rate > self.rate_so_far:
        self.rate_so_far = rate
    if rate > self.rate:
        self.rate = rate
    self.since_us = now_us
    self.bytes = 0


cdef void pace_round(Pace* self, uint64_t round_us, uint64_t now_us) noexcept nogil:
    pace_turn(self, now_us)
    # 0 means "none yet".
    round_us = round_us if round_us != 0 else 1
    if self.round_so_far_us == 0 or round_us < self.round_so_far_us:
        self.round_so_far_us = round_us
    if self.round_us == 0 or round_us < self.round_us:
        self.round_us = round_us


# Begin a new period if this one is over: its measurements replace those of the last one.
cdef void pace_turn(Pace* self, uint64_t now_us) noexcept nogil:
    if now_us < self.period_us:
        return
    if self.rate_so_far != 0:
        self.rate = self.rate_so_far
    if self.round_so_far_us != 0:
        self.round_us = self.round_so_far_us
    self.rate_so_far = 0
    self.round_so_far_us = 0
    self.period_us = now_us + PACE_PERIOD_US


cdef uint64_t pace_limit(const Pace* self, uint64_t ack_bytes, uint64_t ack_us, uint64_t now_us) noexcept nogil:
    cdef uint64_t holds, unsaid
    if self.rate == 0 or self.round_us == 0:
        return PACE_FIRST
    # Rates are below 2^40 and times below 2^36: nothing here overflows once the rate is in bytes a millisecond.
    holds = self.rate / 1000 * self.round_us / 1000
    # Bytes that have arrived and are not yet acknowledged cannot be distinguished from those in flight.
    unsaid = self.rate / 1000 * ack_us / 1000
    if unsaid > ack_bytes:
        unsaid = ack_bytes
    if now_us < self.period_us and self.period_us - now_us < PACE_DRAIN_US:
        holds /= 2
    holds = 2 * (holds if holds > unsaid else unsaid)
    return holds if holds > PACE_LEAST else PACE_LEAST


cdef void pace_forget(Pace* self) noexcept nogil:
    memset(self, 0, sizeof(Pace))
