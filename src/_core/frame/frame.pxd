# Frames: docs/protocol.md, sections 4.2 and 4.3. A frame lies in one piece: 48 bytes of prefix, then its body.
#
#   0 header, sealed by the hop | 16 tag of the header | 32 tag of the body | 48 body, sealed
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pcgrelay._core.crypto.aead cimport Aead
from pcgrelay._core.base.result cimport Result


cdef struct Frame:
    uint32_t length             # of the body
    uint32_t type
    uint32_t flow
    uint32_t epoch              # of the flow, modulo 256
    uint64_t number

# The fields of a body's associated data besides its type and counter.
cdef struct Scope:
    uint8_t direction
    uint16_t index              # of the lane or flow
    uint32_t epoch


cdef inline bint frame_is_lane(uint32_t type) noexcept nogil:
    return type < 0x40

cdef inline bint frame_is_numbered(uint32_t type) noexcept nogil:
    return 0x40 <= type < 0x80

# Encode a header (16 bytes) in clear.
cdef void frame_pack(const Frame* frame, uint8_t* p) noexcept nogil

# Decode a header in clear. RESULT_BAD_LENGTH, _TYPE, _FLAGS, _FIELD: refused by the table of frame types.
cdef Result frame_unpack(const uint8_t* p, Frame* out) noexcept nogil

# Seal the header that lies in clear at wire. The tag of the body must be in its place.
cdef Result frame_seal(Aead* key, uint64_t hop_number, uint8_t* wire) noexcept nogil

# Open the header at wire in place and decode it. Nothing past the prefix is read.
cdef Result frame_open(Aead* key, uint64_t hop_number, uint8_t* wire, Frame* out) noexcept nogil

# Seal the body of length bytes behind the prefix at wire, and put its tag into the prefix.
cdef Result body_seal(Aead* key, const Scope* scope, uint32_t type, uint64_t counter, uint8_t* wire,
                      uint32_t length) noexcept nogil

cdef Result body_open(Aead* key, const Scope* scope, uint32_t type, uint64_t counter, uint8_t* wire,
                      uint32_t length) noexcept nogil
