# Deadlines of one worker: a hashed timer wheel. Setting and clearing are O(1); a deadline is noticed within one tick.
from libc.stdint cimport uint32_t, uint64_t


cdef enum:
    TIMER_SLOTS = 512
    TIMER_TICK_US = 16384

cdef struct Timer:
    Timer* next                 # NULL: not set
    Timer* prev
    void* owner
    uint64_t due_us

cdef struct Wheel:
    Timer slots[TIMER_SLOTS]    # heads of circular lists
    uint64_t tick
    uint32_t count


cdef void wheel_start(Wheel* self, uint64_t now_us) noexcept nogil

# (Re)set a timer. owner must be set by the caller.
cdef void timer_set(Wheel* self, Timer* timer, uint64_t due_us) noexcept nogil

# Clear it if it is set.
cdef void timer_clear(Wheel* self, Timer* timer) noexcept nogil

# Remove one timer that is due and return it, or NULL. Call again until NULL.
cdef Timer* wheel_pop(Wheel* self, uint64_t now_us) noexcept nogil
