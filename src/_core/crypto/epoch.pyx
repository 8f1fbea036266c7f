from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen

from pcgrelay._core.crypto.aead cimport Aead, aead_key_length, aead_start, aead_wipe
from pcgrelay._core.base.libcrypto cimport crypto_bind, ERR_clear_error, EVP_sha256, HMAC, OPENSSL_cleanse
from pcgrelay._core.base.result cimport RESULT_CRYPTO, RESULT_KEY_LIMIT, RESULT_OK, Result
from pcgrelay._core.base.wire cimport PURPOSE_FLOW_DATA, PURPOSE_FLOW_DATAGRAM, wire_put16, wire_put32

crypto_bind()


cdef Result mac(const uint8_t* key, const uint8_t* data, size_t n, uint8_t* out) noexcept nogil:
    cdef unsigned int length = 32
    if HMAC(EVP_sha256(), key, 32, data, n, out, &length) == NULL:
        ERR_clear_error()
        return RESULT_CRYPTO
    return RESULT_OK


# HKDF-Expand of at most one block: T(1) = HMAC(secret, info || 0x01), RFC 5869 section 2.3.
cdef Result key_expand(const uint8_t* secret, const char* label, const uint8_t* context, uint32_t context_length,
                       uint8_t* out, uint32_t length) noexcept nogil:
    cdef uint8_t info[80]
    cdef uint8_t block[32]
    cdef uint32_t label_length = <uint32_t>strlen(label)
    cdef uint32_t n = 0
    cdef Result answer
    if length > 32 or label_length > 27 or context_length > 32:
        return RESULT_CRYPTO
    wire_put16(info, length)
    info[2] = <uint8_t>(5 + label_length)
    memcpy(info + 3, <const char*>b"pcg1 ", 5)
    memcpy(info + 8, label, label_length)
    n = 8 + label_length
    info[n] = <uint8_t>context_length
    if context_length != 0:
        memcpy(info + n + 1, context, context_length)
    n += 1 + context_length
    info[n] = 1
    answer = mac(secret, info, n + 1, block)
    memcpy(out, block, length)
    OPENSSL_cleanse(block, sizeof(block))
    return answer


cdef Result key_expand_number(const uint8_t* secret, const char* label, uint32_t number, uint32_t width,
                              uint8_t* out) noexcept nogil:
    cdef uint8_t context[4]
    wire_put32(context, number)
    return key_expand(secret, label, context + 4 - width, width, out, 32)


cdef Result key_proof(const uint8_t* key, const uint8_t* data, uint32_t n, uint8_t* out) noexcept nogil:
    cdef uint8_t block[32]
    cdef Result answer = mac(key, data, n, block)
    memcpy(out, block, 16)
    return answer


# The key and IV of one purpose from the secret of the epoch.
cdef Result epoch_expand(const Epoch* self, uint32_t purpose, uint8_t* key, uint8_t* iv) noexcept nogil:
    cdef uint8_t context = <uint8_t>purpose
    cdef Result answer = key_expand(self.secret, b"key", &context, 1, key, aead_key_length(self.suite))
    if answer == RESULT_OK:
        answer = key_expand(self.secret, b"iv", &context, 1, iv, 12)
    return answer


cdef Result epoch_key(Epoch* self, uint32_t purpose, Aead* out) noexcept nogil:
    cdef uint8_t key[32]
    cdef uint8_t iv[12]
    cdef Result answer = epoch_expand(self, purpose, key, iv)
    if answer == RESULT_OK:
        answer = aead_start(out, self.suite, key, iv, self.sealing)
    OPENSSL_cleanse(key, sizeof(key))
    OPENSSL_cleanse(iv, sizeof(iv))
    return answer


cdef Result epoch_start(Epoch* self, const uint8_t* secret, uint8_t direction, uint32_t suite, uint32_t purpose,
                        bint sealing) noexcept nogil:
    cdef Result answer
    memset(self, 0, sizeof(Epoch))
    self.direction = direction
    self.suite = suite
    self.purpose = purpose
    self.sealing = sealing
    answer = key_expand(secret, b"direction", &direction, 1, self.secret, 32)
    if answer == RESULT_OK:
        answer = epoch_key(self, purpose, &self.data)
    if answer == RESULT_OK:
        answer = epoch_key(self, purpose + 1, &self.control)
    if answer != RESULT_OK:
        epoch_wipe(self)
    return answer


# S[d][e+1] = HKDF-Extract(mix, Expand(S[d][e], "rekey", u32(e+1), 32))
cdef Result epoch_advance(Epoch* self, const uint8_t* mix) noexcept nogil:
    cdef uint8_t input[32]
    cdef uint8_t zero[32]
    cdef uint8_t following[32]
    cdef Result answer
    memset(zero, 0, 32)
    answer = key_expand_number(self.secret, b"rekey", self.number + 1, 4, input)
    if answer == RESULT_OK:
        answer = mac(<const uint8_t*>zero if mix == NULL else mix, input, 32, following)
    memcpy(self.secret, following, 32)
    OPENSSL_cleanse(following, 32)
    OPENSSL_cleanse(input, sizeof(input))
    self.number += 1
    self.frames = 0
    self.bytes = 0
    self.since_us = 0
    return answer


cdef Result epoch_step(Epoch* self, const uint8_t* mix) noexcept nogil:
    cdef Result answer = RESULT_OK
    if self.purpose == PURPOSE_FLOW_DATA:
        answer = epoch_expand(self, self.purpose + 1, self.previous_key, self.previous_iv)
        if answer == RESULT_OK:
            answer = epoch_expand(self, PURPOSE_FLOW_DATAGRAM, self.previous_datagram_key, self.previous_datagram_iv)
        self.has_previous = True
    if answer == RESULT_OK:
        answer = epoch_advance(self, mix)
    aead_wipe(&self.data)
    if answer == RESULT_OK:
        answer = epoch_key(self, self.purpose, &self.data)
    if answer != RESULT_OK:
        epoch_wipe(self)
        return answer
    aead_wipe(&self.control_alt)
    if self.purpose == PURPOSE_FLOW_DATA and self.sealing:
        return epoch_key(self, self.purpose + 1, &self.control_alt)
    if self.purpose == PURPOSE_FLOW_DATA:
        self.control_alt = self.control
        aead_wipe(&self.datagrams_alt)
        self.datagrams_alt = self.datagrams
        self.datagrams.ctx = NULL
    else:
        aead_wipe(&self.control)
    self.control_number = self.number
    return epoch_key(self, self.purpose + 1, &self.control)


cdef void epoch_confirm(Epoch* self) noexcept nogil:
    if self.control_alt.ctx == NULL:
        return
    aead_wipe(&self.control)
    self.control = self.control_alt
    self.control_alt.ctx = NULL
    self.control_number = self.number
    aead_wipe(&self.datagrams)
    epoch_forget(self)


# Wipe the control and datagram keys of the previous epoch.
cdef void epoch_forget(Epoch* self) noexcept nogil:
    OPENSSL_cleanse(self.previous_key, 32)
    OPENSSL_cleanse(self.previous_iv, 12)
    OPENSSL_cleanse(self.previous_datagram_key, 32)
    OPENSSL_cleanse(self.previous_datagram_iv, 12)
    self.has_previous = False


cdef Aead* epoch_datagrams(Epoch* self, uint32_t epoch, uint64_t floor) noexcept nogil:
    cdef bint previous = epoch != self.number
    cdef Aead* key = &self.datagrams_alt if previous and not self.sealing else &self.datagrams
    if not epoch_bears_datagrams(self, epoch):
        return NULL
    if key.ctx == NULL:
        if previous:
            # A key that could not be made has no context.
            aead_start(key, self.suite, self.previous_datagram_key, self.previous_datagram_iv, self.sealing)
        else:
            # Nor has this one.
            epoch_key(self, PURPOSE_FLOW_DATAGRAM, key)
        key.floor = floor
    return NULL if key.ctx == NULL else key


cdef Result epoch_restore(Epoch* self, uint64_t data_floor, uint64_t control_floor) noexcept nogil:
    # Until a step of a flow is acknowledged, its sender uses the previous control key; a receiver has both.
    cdef Aead* previous = &self.control if self.sealing else &self.control_alt
    cdef Aead* fresh = &self.control_alt if self.sealing and self.has_previous else &self.control
    cdef Result answer = RESULT_CRYPTO
    if aead_key_length(self.suite) != 0:
        answer = epoch_key(self, self.purpose, &self.data)
    if answer == RESULT_OK:
        answer = epoch_key(self, self.purpose + 1, fresh)
    if answer == RESULT_OK and self.has_previous:
        answer = aead_start(previous, self.suite, self.previous_key, self.previous_iv, self.sealing)
    if answer != RESULT_OK:
        epoch_wipe(self)
        return answer
    self.data.floor = data_floor
    self.control.floor = control_floor
    self.control_alt.floor = control_floor
    return RESULT_OK


cdef Result epoch_spend(Epoch* self, uint64_t n, uint64_t now_us, bint ageless) noexcept nogil:
    if self.frames >= EPOCH_HARD_FRAMES or n > EPOCH_HARD_BYTES - self.bytes:
        return RESULT_KEY_LIMIT
    if not ageless:
        if self.since_us == 0:
            self.since_us = now_us
        if now_us - self.since_us >= EPOCH_HARD_US:
            return RESULT_KEY_LIMIT
    self.frames += 1
    self.bytes += n
    return RESULT_OK


cdef bint epoch_spares(const Epoch* self, uint64_t now_us) noexcept nogil:
    return self.frames < EPOCH_HARD_FRAMES / 2 and self.bytes < EPOCH_HARD_BYTES / 2 \
        and (self.since_us == 0 or now_us - self.since_us < EPOCH_HARD_US)


cdef void limits_set(Limits* self, uint64_t frames, uint64_t octets, uint64_t us) noexcept nogil:
    self.frames = frames if 0 < frames < EPOCH_SOFT_FRAMES else EPOCH_SOFT_FRAMES
    self.bytes = octets if 0 < octets < EPOCH_SOFT_BYTES else EPOCH_SOFT_BYTES
    self.us = us if 0 < us < EPOCH_SOFT_US else EPOCH_SOFT_US


cdef bint epoch_must_rekey(const Epoch* self, const Limits* limits, uint64_t now_us) noexcept nogil:
    return self.frames >= limits.frames or self.bytes >= limits.bytes \
        or (self.since_us != 0 and now_us - self.since_us >= limits.us)


cdef void epoch_wipe(Epoch* self) noexcept nogil:
    aead_wipe(&self.data)
    aead_wipe(&self.control)
    aead_wipe(&self.control_alt)
    aead_wipe(&self.datagrams)
    aead_wipe(&self.datagrams_alt)
    epoch_forget(self)
    OPENSSL_cleanse(self.secret, 32)
