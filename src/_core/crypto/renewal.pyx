from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from pcgrelay._core.crypto.epoch cimport key_expand
from pcgrelay._core.base.libcrypto cimport crypto_bind, OPENSSL_cleanse
from pcgrelay._core.base.result cimport RESULT_MIX_OVERDUE, RESULT_OK, RESULT_UNKNOWN_MIX, Result
from pcgrelay._core.base.wire cimport wire_put32

crypto_bind()


cdef Result renewals_add(Renewals* self, uint64_t id, const uint8_t* secret, uint64_t now_us) noexcept nogil:
    if id == 0 or id < self.newest_id or id == self.agreed_id:
        return RESULT_UNKNOWN_MIX
    if id != self.newest_id:
        memcpy(self.before, self.newest, 32)
        self.before_id = self.newest_id
    memcpy(self.newest, secret, 32)
    self.newest_id = id
    self.waits_until_us = now_us + RENEWAL_WAIT_US
    return RESULT_OK


cdef void renewals_agree(Renewals* self, uint64_t id) noexcept nogil:
    if id != 0 and (id == self.newest_id or id == self.before_id) and id > self.agreed_id:
        self.agreed_id = id


cdef Result renewals_mix(const Renewals* self, uint64_t id, uint8_t direction, uint32_t number,
                         uint8_t* mix) noexcept nogil:
    cdef uint8_t context[5]
    context[0] = direction
    wire_put32(context + 1, number)
    if id != 0 and id == self.newest_id:
        return key_expand(self.newest, b"mix", context, 5, mix, 32)
    if id != 0 and id == self.before_id:
        return key_expand(self.before, b"mix", context, 5, mix, 32)
    return RESULT_UNKNOWN_MIX


cdef void owed_begin(Owed* self, uint64_t agreed_id, bint is_new, uint64_t now_us) noexcept nogil:
    # A later renewal does not extend the grace: otherwise frequent renewals would never let it end.
    if agreed_id <= self.mix or self.since_us != 0:
        return
    self.since_us = now_us if now_us != 0 else 1
    self.plain = is_new


cdef Result owed_step(Owed* self, uint64_t agreed_id, uint64_t id, bint knows, bint over,
                      uint64_t now_us) noexcept nogil:
    if id > self.mix:
        # A mix newer than the last one, even if not the newest, proves that the sender took part in a renewal since.
        self.mix = id
        self.since_us = 0
        owed_begin(self, agreed_id, False, now_us)
        return RESULT_OK
    if self.since_us == 0:
        return RESULT_OK
    if over or (knows and self.plain):
        return RESULT_MIX_OVERDUE
    if knows:
        self.plain = True
    return RESULT_OK


cdef void renewals_wipe(Renewals* self) noexcept nogil:
    OPENSSL_cleanse(self, sizeof(Renewals))
