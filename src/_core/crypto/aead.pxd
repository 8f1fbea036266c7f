# One AEAD key in one direction, by EVP with a fetched cipher and a context that lives as long as the key. A context
# belongs to one thread.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.base.libcrypto cimport EVP_CIPHER_CTX
from pcgrelay._core.base.result cimport Result


cdef struct Aead:
    EVP_CIPHER_CTX* ctx         # owned; NULL: no key
    uint64_t floor              # sealing: the least counter that was never used
    uint8_t iv[12]
    bint sealing


# Fetch the ciphers once in a process, before any other call. RESULT_CRYPTO: libcrypto does not have them.
cdef Result aead_load() noexcept nogil

# The length of a key of this suite; 0: no such suite.
cdef uint32_t aead_key_length(uint32_t suite) noexcept nogil

# Initialise self with a key and a static IV. The key is copied into OpenSSL's context, the IV into self.
cdef Result aead_start(Aead* self, uint32_t suite, const uint8_t* key, const uint8_t* iv, bint sealing) noexcept nogil

# Wipe the key (EVP does, on free) and the IV. May be called twice.
cdef void aead_wipe(Aead* self) noexcept nogil

# Seal n bytes at data in place; write the 16 bytes of the tag. The nonce is iv XOR counter (docs/protocol.md, 3).
# RESULT_NONCE: the counter was used before with this key; nothing was changed.
cdef Result aead_seal(Aead* self, uint64_t counter, const uint8_t* aad, uint32_t aad_length,
                      uint8_t* data, uint32_t n, uint8_t* tag) noexcept nogil

# Open n bytes at data in place. RESULT_BAD_TAG: the bytes at data must be discarded.
cdef Result aead_open(Aead* self, uint64_t counter, const uint8_t* aad, uint32_t aad_length,
                      uint8_t* data, uint32_t n, const uint8_t* tag) noexcept nogil
