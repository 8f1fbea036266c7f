# The budgets that all sessions with one peer organisation share, on all workers.
#
# An OPEN that ends unanswered costs this node work and log lines, and the peer a few bytes. Their number is therefore
# limited. Those that the tables refuse have a budget of their own. Those that were admitted, and then reset or not
# connected, have a budget for each export, so that a target that is down does not affect other services. Beyond the
# budget an OPEN is refused before anything is allocated for it, and a peer that still goes on loses the session.
from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.base.atomics cimport atomic_add
from pcgrelay._core.base.stats cimport STATS_SERVICES


cdef enum:
    OPENS_AT_ONCE = 1000        # OPENs that end unanswered, at once,
    OPENS_EACH_US = 10000       # and one more each so long
    OPENS_DEBT_US = 20000000    # greatest debt: an OPEN under way is counted only when it ends
    OPENS_PLACES = 16           # budgets of exports; more exports share them
    BEYOND_AT_ONCE = 20000      # OPENs refused beyond the budget before the session ends,
    BEYOND_EACH_US = 200
    ORGANISATION_PRIORITIES = 3
    ORGANISATION_CLASSES = 9    # of sessions: a marking, from 1, and a priority

# Memory of one worker that an organisation occupies; only that worker uses it.
cdef struct Holding:
    uint64_t retained           # bytes of frames that it has not acknowledged
    uint64_t queued             # bytes that applications have not read of it, and the streams that it opened
    uint64_t unused[6]          # a cache line for each worker

# What it has of one export.
cdef struct Share:
    int streams                 # open now, on all workers;
    int of_class[ORGANISATION_CLASSES]  # of these, in sessions of each class
    uint64_t rate_us            # the budget of new ones (bucket.pxd)

cdef struct Organisation:
    int references
    Share* shares               # owned: of each export below STATS_SERVICES
    Holding* holdings           # owned: one for each worker
    uint64_t number             # the control plane's
    int streams                 # of all exports, open now on all workers
    uint64_t rate_us            # the budget of new ones (bucket.pxd)
    uint64_t refused_us         # the state of each budget (bucket.pxd)
    uint64_t beyond_us
    uint64_t unanswered_us[OPENS_PLACES]


cdef Organisation* organisation_new(uint64_t number, uint32_t workers) noexcept nogil
cdef Organisation* organisation_hold(Organisation* self) noexcept nogil
cdef void organisation_drop(Organisation* self) noexcept nogil

cdef inline uint64_t holding_bytes(const Holding* self) noexcept nogil:
    return self.retained + self.queued

# Whether so many bytes are more than what is left of a pool. One organisation alone so stops at a half of the pool, two
# at two thirds, and something is always left for others. Up to floor bytes are always allowed.
cdef inline bint holding_is_greedy(uint64_t bytes, uint64_t used, uint64_t limit, uint64_t floor) noexcept nogil:
    return bytes > floor and (used >= limit or bytes > limit - used)

# Whether one more OPEN is within the budget. export: its number, or -1 if the tables refuse it. NULL self: always.
cdef bint organisation_may_open(const Organisation* self, int export, uint64_t now_us) noexcept nogil

# Count an OPEN that ended unanswered.
cdef void organisation_unanswered(Organisation* self, int export, uint64_t now_us) noexcept nogil

# Count an OPEN that was refused because the budget is used up. False: that was one too many, the session must end.
cdef bint organisation_bears(Organisation* self, uint64_t now_us) noexcept nogil

# What an organisation has of an export; NULL: it is not counted.
cdef inline Share* organisation_share(Organisation* self, int export) noexcept nogil:
    return NULL if self == NULL or export < 0 or export >= STATS_SERVICES else &self.shares[export]

# Count a stream of an export that was opened (n = 1) or has ended (-1), in a session of this class.
cdef inline void organisation_count(Organisation* self, int export, uint32_t marking, uint32_t priority,
                                    int n) noexcept nogil:
    cdef Share* share = organisation_share(self, export)
    cdef uint32_t place = (marking - 1) * ORGANISATION_PRIORITIES + priority
    if self != NULL and export >= 0:
        atomic_add(&self.streams, n)
    if share != NULL:
        atomic_add(&share.streams, n)
        if place < ORGANISATION_CLASSES:
            atomic_add(&share.of_class[place], n)
