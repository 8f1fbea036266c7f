from libc.stdint cimport uint16_t, uint32_t, uint8_t
from libc.string cimport memcmp, memcpy, memset

from pcgrelay._core.crypto.epoch cimport key_expand, key_expand_number, key_proof
from pcgrelay._core.base.libcrypto cimport crypto_bind, CRYPTO_memcmp, OPENSSL_cleanse
from pcgrelay._core.base.result cimport RESULT_BAD_PREAMBLE, RESULT_OK, Result
from pcgrelay._core.base.wire cimport (
    WIRE_NUMBERS_AHEAD, WIRE_PROOF, WIRE_VERSION, wire_get16, wire_get32, wire_put16, wire_put32,
)

crypto_bind()


cdef enum:
    RING = 129                  # 64 before the greatest, the greatest, 64 after it


cdef Result lane_keys_start(LinkKeys* self, const uint8_t* secret, const uint8_t* link_id,
                            uint32_t lanes) noexcept nogil:
    cdef Result answer
    memset(self, 0, sizeof(LinkKeys))
    memcpy(self.link_id, link_id, 16)
    self.lanes = lanes
    answer = key_expand(secret, b"lane proof", NULL, 0, self.proof_key, 32)
    if answer == RESULT_OK:
        answer = key_expand(secret, b"lane root", NULL, 0, self.root, 32)
    return answer


cdef void lane_keys_wipe(LinkKeys* self) noexcept nogil:
    OPENSSL_cleanse(self, sizeof(LinkKeys))


# Derive the secrets of all numbers up to number; the roots before it are overwritten.
cdef Result lane_keys_reach(LinkKeys* self, uint32_t number) noexcept nogil:
    cdef uint8_t following[32]
    cdef Result answer = RESULT_OK
    while self.next <= number and answer == RESULT_OK:
        answer = key_expand_number(self.root, b"lane", self.next, 4, self.secrets[self.next % RING])
        self.waiting[self.next % RING] = 1
        if answer == RESULT_OK:
            answer = key_expand(self.root, b"lane next", NULL, 0, following, 32)
        memcpy(self.root, following, 32)
        self.next += 1
    OPENSSL_cleanse(following, 32)
    return answer


cdef Result lane_keys_dial(LinkKeys* self, uint16_t index, uint32_t* number, uint8_t* preamble) noexcept nogil:
    cdef Result answer
    number[0] = self.next
    answer = lane_keys_reach(self, self.next)
    if answer != RESULT_OK:
        return answer
    memcpy(preamble, <const char*>b"PCGR", 4)
    wire_put16(preamble + 4, WIRE_VERSION)
    wire_put16(preamble + 6, index)
    wire_put32(preamble + 8, number[0])
    wire_put32(preamble + 12, 0)
    memcpy(preamble + 16, self.link_id, 16)
    return key_proof(self.proof_key, preamble, 32, preamble + 32)


cdef Result lane_keys_check(LinkKeys* self, const uint8_t* preamble, uint16_t* index, uint32_t* number) noexcept nogil:
    cdef uint8_t proof[16]
    cdef uint8_t unused[32]
    cdef uint32_t n = wire_get32(preamble + 8)
    if memcmp(preamble, <const char*>b"PCGR", 4) != 0 or wire_get16(preamble + 4) != WIRE_VERSION \
            or memcmp(preamble + 16, self.link_id, 16) != 0:
        return RESULT_BAD_PREAMBLE
    if key_proof(self.proof_key, preamble, 32, proof) != RESULT_OK \
            or CRYPTO_memcmp(proof, preamble + 32, WIRE_PROOF) != 0:
        return RESULT_BAD_PREAMBLE
    if lane_keys_accept(self, n) != RESULT_OK:
        return RESULT_BAD_PREAMBLE
    index[0] = wire_get16(preamble + 6)
    number[0] = n
    if index[0] >= self.lanes or wire_get32(preamble + 12) != 0:
        # The number is used up and its secret is not needed.
        lane_keys_use(self, n, unused)
        OPENSSL_cleanse(unused, 32)
        return RESULT_BAD_PREAMBLE
    return RESULT_OK


cdef Result lane_keys_accept(LinkKeys* self, uint32_t number) noexcept nogil:
    cdef uint32_t i, old
    # Within 64 of the greatest seen, in both directions; 0 to 63 at the start.
    if number >= self.greatest + WIRE_NUMBERS_AHEAD or number + WIRE_NUMBERS_AHEAD + 1 < self.greatest:
        return RESULT_BAD_PREAMBLE
    if lane_keys_reach(self, number) != RESULT_OK or self.waiting[number % RING] != 1:
        return RESULT_BAD_PREAMBLE
    if number >= self.greatest:
        # Secrets that leave the range are wiped.
        for i in range(number + 1 - self.greatest):
            old = self.greatest + i
            if old > WIRE_NUMBERS_AHEAD:
                old = (old - WIRE_NUMBERS_AHEAD - 1) % RING
                OPENSSL_cleanse(self.secrets[old], 32)
                self.waiting[old] = 0
        self.greatest = number + 1
    self.waiting[number % RING] = 2
    return RESULT_OK


cdef Result lane_keys_use(LinkKeys* self, uint32_t number, uint8_t* secret) noexcept nogil:
    if number >= self.next or not self.waiting[number % RING]:
        return RESULT_BAD_PREAMBLE
    memcpy(secret, self.secrets[number % RING], 32)
    OPENSSL_cleanse(self.secrets[number % RING], 32)
    self.waiting[number % RING] = 0
    return RESULT_OK
