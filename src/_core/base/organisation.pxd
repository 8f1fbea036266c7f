# What all sessions with one peer organisation share on all workers: its budgets, of which any worker may take.
#
# An OPEN that ends unanswered costs this node work and its log lines, and costs the peer a few bytes. So there is a
# budget of them. Those that the tables refuse have one of their own; those that were let through, and then reset or not
# connected, have one for each export, so that a target that is down takes nothing from other services. Beyond its
# budget an OPEN is refused before anything is made of it, and whoever goes on all the same loses the session.
from libc.stdint cimport uint32_t, uint64_t


cdef enum:
    OPENS_AT_ONCE = 1000        # that end unanswered,
    OPENS_EACH_US = 10000       # and one more each so long
    OPENS_DEBT_US = 20000000    # those under way are not counted before they end; so long, at most, are they atoned for
    OPENS_PLACES = 16           # budgets of exports; more exports share them
    BEYOND_AT_ONCE = 20000      # that are refused beyond the budget before the session ends,
    BEYOND_EACH_US = 200

# What it holds of one worker's memory; that worker alone looks at it.
cdef struct Holding:
    uint64_t retained           # memory of frames that it has not acknowledged
    uint64_t queued             # what applications have not taken of it, and the streams that it opened
    uint64_t unused[6]          # a cache line for each worker

cdef struct Organisation:
    int references
    Holding* holdings           # owned: one for each worker
    uint64_t number             # the control plane's
    uint64_t refused_us         # until when what it had of each budget is used up
    uint64_t beyond_us
    uint64_t unanswered_us[OPENS_PLACES]


cdef Organisation* organisation_new(uint64_t number, uint32_t workers) noexcept nogil
cdef Organisation* organisation_hold(Organisation* self) noexcept nogil
cdef void organisation_drop(Organisation* self) noexcept nogil

cdef inline uint64_t holding_bytes(const Holding* self) noexcept nogil:
    return self.retained + self.queued

# Is so much more than what is left of a pool? Who alone fills the pool so stops at a half, two at two thirds, and
# something is left for others however many they are. Up to floor is its own.
cdef inline bint holding_is_greedy(uint64_t bytes, uint64_t used, uint64_t limit, uint64_t floor) noexcept nogil:
    return bytes > floor and (used >= limit or bytes > limit - used)

# May one more OPEN be looked at? export: its number, or -1 if the tables refuse it. Of NULL nothing is known: yes.
cdef bint organisation_may_open(const Organisation* self, int export, uint64_t now_us) noexcept nogil

# An OPEN has ended unanswered.
cdef void organisation_unanswered(Organisation* self, int export, uint64_t now_us) noexcept nogil

# An OPEN was refused because the budget is used up. False: it is one too many.
cdef bint organisation_bears(Organisation* self, uint64_t now_us) noexcept nogil
