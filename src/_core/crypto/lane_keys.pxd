# The secrets of a link from which the keys of its lanes are derived.
from libc.stdint cimport uint8_t, uint16_t, uint32_t

from pcgrelay._core.base.result cimport Result


# docs/protocol.md, sections 3 and 4.1. Only the control plane's thread uses it.
cdef struct LinkKeys:
    uint8_t proof_key[32]
    uint8_t root[32]            # lane_root[next]
    uint8_t secrets[129][32]    # lane_secret[n] at n % 129, for derived numbers that have not been used
    uint8_t waiting[129]        # whether there is one
    uint8_t link_id[16]
    uint32_t next               # the least number whose secret was not derived
    uint32_t greatest           # seen, plus 1
    uint32_t lanes


# RESULT_CRYPTO: libcrypto failed. The caller wipes secret.
cdef Result lane_keys_start(LinkKeys* self, const uint8_t* secret, const uint8_t* link_id,
                            uint32_t lanes) noexcept nogil
cdef void lane_keys_wipe(LinkKeys* self) noexcept nogil

# The dialler: the next number, its secret, and the preamble of 48 bytes that opens its lane.
cdef Result lane_keys_dial(LinkKeys* self, uint16_t index, uint32_t* number, uint8_t* preamble) noexcept nogil

# The acceptor: check a preamble. RESULT_BAD_PREAMBLE: refused. A valid proof uses up its number.
cdef Result lane_keys_check(LinkKeys* self, const uint8_t* preamble, uint16_t* index, uint32_t* number) noexcept nogil

# The acceptor: use up a number that an authenticated message offers, by the same rule. RESULT_BAD_PREAMBLE: it was used
# before, or is out of the range.
cdef Result lane_keys_accept(LinkKeys* self, uint32_t number) noexcept nogil

# Take the secret of a number that lane_keys_dial, lane_keys_check or lane_keys_accept gave. It can be taken once.
cdef Result lane_keys_use(LinkKeys* self, uint32_t number, uint8_t* secret) noexcept nogil
