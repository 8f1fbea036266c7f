from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from pcgrelay._core.base.libcrypto cimport (
    crypto_bind, ERR_clear_error, EVP_CIPHER, EVP_CIPHER_CTX_ctrl, EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new,
    EVP_CIPHER_fetch, EVP_CipherFinal_ex, EVP_CipherInit_ex2, EVP_CipherUpdate, EVP_CTRL_AEAD_GET_TAG,
    EVP_CTRL_AEAD_SET_TAG, OPENSSL_cleanse,
)
from pcgrelay._core.base.result cimport RESULT_BAD_TAG, RESULT_CRYPTO, RESULT_NONCE, RESULT_OK, Result
from pcgrelay._core.base.wire cimport (
    SUITE_AES_128_GCM, SUITE_AES_256_GCM, SUITE_CHACHA20_POLY1305, WIRE_TAG, wire_put64,
)

crypto_bind()

# Fetched once and kept: an implicit fetch costs three times a small seal.
cdef EVP_CIPHER* ciphers[4]


cdef Result aead_load() noexcept nogil:
    if ciphers[SUITE_CHACHA20_POLY1305] != NULL:
        return RESULT_OK
    ciphers[SUITE_AES_256_GCM] = EVP_CIPHER_fetch(NULL, b"AES-256-GCM", NULL)
    ciphers[SUITE_AES_128_GCM] = EVP_CIPHER_fetch(NULL, b"AES-128-GCM", NULL)
    ciphers[SUITE_CHACHA20_POLY1305] = EVP_CIPHER_fetch(NULL, b"ChaCha20-Poly1305", NULL)
    if ciphers[SUITE_AES_256_GCM] == NULL or ciphers[SUITE_AES_128_GCM] == NULL \
            or ciphers[SUITE_CHACHA20_POLY1305] == NULL:
        ERR_clear_error()
        return RESULT_CRYPTO
    return RESULT_OK


cdef uint32_t aead_key_length(uint32_t suite) noexcept nogil:
    if suite == SUITE_AES_128_GCM:
        return 16
    if suite == SUITE_AES_256_GCM or suite == SUITE_CHACHA20_POLY1305:
        return 32
    return 0


cdef Result aead_start(Aead* self, uint32_t suite, const uint8_t* key, const uint8_t* iv, bint sealing) noexcept nogil:
    self.floor = 0
    self.sealing = sealing
    self.ctx = NULL
    if aead_key_length(suite) == 0:
        return RESULT_CRYPTO
    self.ctx = EVP_CIPHER_CTX_new()
    if self.ctx == NULL:
        ERR_clear_error()
        return RESULT_CRYPTO
    memcpy(self.iv, iv, 12)
    if EVP_CipherInit_ex2(self.ctx, ciphers[suite], key, iv, 1 if sealing else 0, NULL) != 1:
        return aead_failed(self)
    return RESULT_OK


cdef Result aead_failed(Aead* self) noexcept nogil:
    ERR_clear_error()
    aead_wipe(self)
    return RESULT_CRYPTO


cdef void aead_wipe(Aead* self) noexcept nogil:
    EVP_CIPHER_CTX_free(self.ctx)
    self.ctx = NULL
    OPENSSL_cleanse(self.iv, 12)


cdef inline void aead_nonce(const Aead* self, uint64_t counter, uint8_t* nonce) noexcept nogil:
    cdef uint32_t i
    memcpy(nonce, self.iv, 4)
    wire_put64(nonce + 4, counter)
    for i in range(4, 12):
        nonce[i] ^= self.iv[i]


# The common part of seal and open: set the nonce, process the associated data, run the cipher over the data.
cdef inline bint aead_run(Aead* self, uint64_t counter, const uint8_t* aad, uint32_t aad_length,
                          uint8_t* data, uint32_t n) noexcept nogil:
    cdef uint8_t nonce[12]
    cdef int done = 0
    aead_nonce(self, counter, nonce)
    # -1: the direction stays. Key and cipher stay too: only the IV is set, at a quarter of the cost of a full set-up.
    if EVP_CipherInit_ex2(self.ctx, NULL, NULL, nonce, -1, NULL) != 1:
        return False
    if EVP_CipherUpdate(self.ctx, NULL, &done, aad, <int>aad_length) != 1:
        return False
    return n == 0 or EVP_CipherUpdate(self.ctx, data, &done, data, <int>n) == 1


cdef Result aead_seal(Aead* self, uint64_t counter, const uint8_t* aad, uint32_t aad_length,
                      uint8_t* data, uint32_t n, uint8_t* tag) noexcept nogil:
    cdef int done = 0
    if self.ctx == NULL or not self.sealing or counter < self.floor or counter == <uint64_t>-1:
        return RESULT_NONCE
    # The counter moves before the seal: if anything fails below, it is still never used again.
    self.floor = counter + 1
    if not aead_run(self, counter, aad, aad_length, data, n):
        return aead_failed(self)
    if EVP_CipherFinal_ex(self.ctx, tag, &done) != 1:
        return aead_failed(self)
    if EVP_CIPHER_CTX_ctrl(self.ctx, EVP_CTRL_AEAD_GET_TAG, WIRE_TAG, tag) != 1:
        return aead_failed(self)
    return RESULT_OK


cdef Result aead_open(Aead* self, uint64_t counter, const uint8_t* aad, uint32_t aad_length,
                      uint8_t* data, uint32_t n, const uint8_t* tag) noexcept nogil:
    cdef uint8_t rest[16]
    cdef int done = 0
    if self.ctx == NULL or self.sealing:
        return RESULT_BAD_TAG
    if not aead_run(self, counter, aad, aad_length, data, n) \
            or EVP_CIPHER_CTX_ctrl(self.ctx, EVP_CTRL_AEAD_SET_TAG, WIRE_TAG, <void*>tag) != 1:
        return aead_failed(self)
    if EVP_CipherFinal_ex(self.ctx, rest, &done) != 1:
        ERR_clear_error()
        return RESULT_BAD_TAG
    return RESULT_OK
