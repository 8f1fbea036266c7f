# A window of numbers that were taken, for frames that may come in any order (RFC 6479): each number is taken once, and
# one that is REPLAY_WINDOW or more below the greatest is taken no more.
#
# The bits lie in a ring of words, number by number. A greater number wipes the words that it steps over and moves no
# bits. The ring has one word more than the window has, because the word of the greatest number is only partly in use.
from libc.stdint cimport uint64_t

from pcgrelay._core.base.result cimport Result


cdef enum:
    REPLAY_WINDOW = 1024
    REPLAY_WORDS = 17

cdef struct Replay:
    uint64_t next               # the greatest number that was taken, plus 1; 0: none was
    uint64_t bits[REPLAY_WORDS]


# Whether the number may be taken. RESULT_STALE: it is below the window. RESULT_REPLAYED: it was taken. Numbers are
# below 2^64 - 1.
cdef Result replay_check(const Replay* self, uint64_t number) noexcept nogil

# Count all numbers below `next`, which alone is known, as taken.
cdef void replay_close(Replay* self) noexcept nogil

# Take a number that replay_check allows; only once its frame has opened, so that a forged one takes nothing.
cdef void replay_take(Replay* self, uint64_t number) noexcept nogil
