from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.crypto.aead cimport Aead, aead_open, aead_seal
from pcgrelay._core.base.result cimport (
    RESULT_BAD_FIELD, RESULT_BAD_FLAGS, RESULT_BAD_LENGTH, RESULT_BAD_TYPE, RESULT_OK, Result,
)
from pcgrelay._core.base.wire cimport (
    WIRE_AAD, WIRE_BODY_MAX, WIRE_HEADER, WIRE_PREFIX, WIRE_TAG, WIRE_VERSION, wire_get24, wire_get32, wire_get48,
    wire_put16, wire_put24, wire_put32, wire_put48, wire_put64,
)


cdef extern from *:
    """
    /* Bodies by type: the length it must have, -1 for any, -2 for at least one record head; 0: no such type. */
    static const int frame_lengths[256] = {
        [0x01] = 40,  [0x02] = 8,   [0x03] = 8,   [0x04] = 12,  [0x05] = 4,   [0x06] = 4,  [0x07] = -1, [0x08] = 8,
        [0x41] = 40,  [0x42] = -2,  [0x43] = 12,
        [0x81] = 8,   [0x82] = 16,  [0x83] = 4,   [0x84] = -1,  [0x85] = -2,
    };
    """
    const int frame_lengths[256]


cdef void frame_pack(const Frame* frame, uint8_t* p) noexcept nogil:
    wire_put24(p, frame.length)
    p[3] = <uint8_t>frame.type
    wire_put32(p + 4, frame.flow)
    p[8] = <uint8_t>frame.epoch
    p[9] = 0
    wire_put48(p + 10, frame.number)


cdef Result frame_unpack(const uint8_t* p, Frame* out) noexcept nogil:
    cdef int length
    out.length = wire_get24(p)
    out.type = p[3]
    out.flow = wire_get32(p + 4)
    out.epoch = p[8]
    out.number = wire_get48(p + 10)
    if out.length > WIRE_BODY_MAX:
        return RESULT_BAD_LENGTH
    length = frame_lengths[out.type]
    if length == 0:
        return RESULT_BAD_TYPE
    if p[9] != 0:
        return RESULT_BAD_FLAGS
    if length > 0 and out.length != <uint32_t>length:
        return RESULT_BAD_LENGTH
    if length == -2 and out.length < 8:
        return RESULT_BAD_LENGTH
    if frame_is_lane(out.type) and (out.flow != 0 or out.epoch != 0 or out.number != 0):
        return RESULT_BAD_FIELD
    if not frame_is_lane(out.type) and out.flow == 0:
        return RESULT_BAD_FIELD
    return RESULT_OK


cdef Result frame_seal(Aead* key, uint64_t hop_number, uint8_t* wire) noexcept nogil:
    return aead_seal(key, hop_number, wire + WIRE_HEADER + WIRE_TAG, WIRE_TAG, wire, WIRE_HEADER, wire + WIRE_HEADER)


cdef Result frame_open(Aead* key, uint64_t hop_number, uint8_t* wire, Frame* out) noexcept nogil:
    cdef Result answer = aead_open(key, hop_number, wire + WIRE_HEADER + WIRE_TAG, WIRE_TAG,
                                   wire, WIRE_HEADER, wire + WIRE_HEADER)
    if answer != RESULT_OK:
        return answer
    return frame_unpack(wire, out)


cdef inline void body_aad(const Scope* scope, uint32_t type, uint64_t counter, uint8_t* aad) noexcept nogil:
    wire_put16(aad, WIRE_VERSION)
    aad[2] = scope.direction
    aad[3] = <uint8_t>type
    wire_put32(aad + 4, scope.epoch)
    wire_put16(aad + 8, scope.index)
    wire_put16(aad + 10, 0)
    wire_put64(aad + 12, counter)


cdef Result body_seal(Aead* key, const Scope* scope, uint32_t type, uint64_t counter, uint8_t* wire,
                      uint32_t length) noexcept nogil:
    cdef uint8_t aad[WIRE_AAD]
    body_aad(scope, type, counter, aad)
    return aead_seal(key, counter, aad, WIRE_AAD, wire + WIRE_PREFIX, length, wire + WIRE_HEADER + WIRE_TAG)


cdef Result body_open(Aead* key, const Scope* scope, uint32_t type, uint64_t counter, uint8_t* wire,
                      uint32_t length) noexcept nogil:
    cdef uint8_t aad[WIRE_AAD]
    body_aad(scope, type, counter, aad)
    return aead_open(key, counter, aad, WIRE_AAD, wire + WIRE_PREFIX, length, wire + WIRE_HEADER + WIRE_TAG)
