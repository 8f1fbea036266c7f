# Known-answer tests of the ciphers and the key derivation, by the very code that seals frames and derives keys.
from libc.stdint cimport uint32_t

from pcgrelay._core.base.result cimport Result


# Seal and open the published vector of a suite. RESULT_CRYPTO: libcrypto failed; RESULT_BAD_TAG: the answer is wrong.
cdef Result known_answer_suite(uint32_t suite) noexcept nogil

# Expand one secret as docs/protocol.md, section 3, says. RESULT_CRYPTO, RESULT_BAD_TAG: as above.
cdef Result known_answer_derivation() noexcept nogil
