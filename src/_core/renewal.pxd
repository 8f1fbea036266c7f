# The secrets of renewals that a link or session keeps, and what its senders name (docs/protocol.md 9.9). Each worker
# has its own copy.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.result cimport Result


cdef struct Renewals:
    uint8_t newest[32]
    uint8_t before[32]
    uint64_t newest_id          # 0: none
    uint64_t before_id
    uint64_t agreed_id          # both control planes have told it, so that senders may name it


# Keep the secret of a renewal for what the peer may send; the oldest of three is wiped. A renewal that was not agreed
# may be tried again under its id. RESULT_UNKNOWN_MIX: the id is older than that. The caller wipes secret.
cdef Result renewals_add(Renewals* self, uint64_t id, const uint8_t* secret) noexcept nogil

# Both sides keep it: senders may name it from here on. An id that is not kept is nothing.
cdef void renewals_agree(Renewals* self, uint64_t id) noexcept nogil

# The id that a direction names in its next step, if last is the one that it named before: each is mixed in once.
# 0: a plain step.
cdef inline uint64_t renewals_fresh(const Renewals* self, uint64_t last) noexcept nogil:
    if self.agreed_id == last or (self.agreed_id != self.newest_id and self.agreed_id != self.before_id):
        return 0
    return self.agreed_id

# The mix that a renewal gives to one direction of a lane (its number) or flow (its index), into 32 bytes, which the
# caller wipes. RESULT_UNKNOWN_MIX: none of that id is kept.
cdef Result renewals_mix(const Renewals* self, uint64_t id, uint8_t direction, uint32_t number,
                         uint8_t* mix) noexcept nogil

# Wipe everything. May be called twice.
cdef void renewals_wipe(Renewals* self) noexcept nogil
