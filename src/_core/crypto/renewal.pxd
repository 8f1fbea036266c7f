# The secrets of renewals that a link or session keeps, and the mix ids that its senders name (docs/protocol.md, 9.9).
# Each worker has its own copy.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.base.result cimport Result


cdef enum:
    RENEWAL_GRACE_US = 300000000    # time in which frames could arrive; after it, they must have the newest mix
    RENEWAL_WAIT_US = 30000000      # how long a step that is due waits for a renewal that is kept and not yet agreed

cdef struct Renewals:
    uint8_t newest[32]
    uint8_t before[32]
    uint64_t newest_id          # 0: none
    uint64_t before_id
    uint64_t agreed_id          # both control planes have sent RENEWED for it: senders may name it
    uint64_t waits_until_us     # plain steps wait until then for the newest to be agreed

# What the sender of one direction owes its receiver: a step with the newest mix, once both sides have sent RENEWED. An
# attacker that stole the secret of an epoch can make plain steps only (docs/protocol.md, 6.4).
cdef struct Owed:
    uint64_t mix                # the newest that a step of this direction has named; 0: none
    uint64_t since_us           # since when a step is owed and the path was up; 0: none is owed
    bint plain                  # the one permitted step without it was received since


# Keep the secret of a renewal, so that frames of the peer with it can be opened; the oldest of three is wiped. A
# renewal that was not agreed may be tried again with its id. RESULT_UNKNOWN_MIX: the id is older than that. The caller
# wipes secret.
cdef Result renewals_add(Renewals* self, uint64_t id, const uint8_t* secret, uint64_t now_us) noexcept nogil

# Note that both sides keep this id: senders may name it from here on. An id that is not kept is ignored.
cdef void renewals_agree(Renewals* self, uint64_t id) noexcept nogil

# The id that a direction names in its next step; 0: a plain step. last: the id that it named before, because each is
# mixed in once.
cdef inline uint64_t renewals_fresh(const Renewals* self, uint64_t last) noexcept nogil:
    if self.agreed_id == last or (self.agreed_id != self.newest_id and self.agreed_id != self.before_id):
        return 0
    return self.agreed_id

# Whether a renewal is about to be agreed. A plain step that is due waits for it: the peer may know already that it is
# agreed, and accepts no more than one plain step then. The time comes from a hand-over too: a longer wait is none.
cdef inline bint renewals_wait(const Renewals* self, uint64_t now_us) noexcept nogil:
    return self.newest_id > self.agreed_id and now_us < self.waits_until_us \
        and self.waits_until_us - now_us <= RENEWAL_WAIT_US

# Note that the sender owes agreed_id from now on, if it has not named it yet. is_new: the lane was opened after the
# agreement, so its first step must have it.
cdef void owed_begin(Owed* self, uint64_t agreed_id, bint is_new, uint64_t now_us) noexcept nogil

# Handle a step that names id (0: none). RESULT_MIX_OVERDUE: it had to name a newer mix. knows: the sender has heard of
# a newer one, so a step without it counts. over: the grace is over.
cdef Result owed_step(Owed* self, uint64_t agreed_id, uint64_t id, bint knows, bint over,
                      uint64_t now_us) noexcept nogil

# Whether the grace is over.
cdef inline bint owed_is_over(const Owed* self, uint64_t now_us) noexcept nogil:
    return self.since_us != 0 and now_us > self.since_us and now_us - self.since_us >= RENEWAL_GRACE_US

# Extend the grace by a time in which the receiver did not run or the path was not up.
cdef inline void owed_forgive(Owed* self, uint64_t away_us) noexcept nogil:
    if self.since_us != 0:
        self.since_us += away_us

# The mix that a renewal gives to one direction of a lane (its number) or flow (its index), into 32 bytes, which the
# caller wipes. RESULT_UNKNOWN_MIX: none of that id is kept.
cdef Result renewals_mix(const Renewals* self, uint64_t id, uint8_t direction, uint32_t number,
                         uint8_t* mix) noexcept nogil

# Wipe everything. May be called twice.
cdef void renewals_wipe(Renewals* self) noexcept nogil
