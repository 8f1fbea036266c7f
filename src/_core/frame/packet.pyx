from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.base.result cimport (
    RESULT_BAD_FIELD, RESULT_BAD_FLAGS, RESULT_BAD_LENGTH, RESULT_BAD_TYPE, RESULT_OK, Result,
)
from pcgrelay._core.base.wire cimport (
    FRAME_DATAGRAMS, FRAME_PROBE, FRAME_REPORT, WIRE_HEADER, WIRE_TAG, wire_get24, wire_get32, wire_get48,
)
from pcgrelay._core.crypto.aead cimport Aead, aead_open, aead_seal
from pcgrelay._core.frame.frame cimport Frame, frame_unpack


cdef Result packet_seal(Aead* key, uint64_t hop_number, uint8_t* wire, uint32_t length) noexcept nogil:
    return aead_seal(key, hop_number, wire + WIRE_HEADER + WIRE_TAG, WIRE_TAG + length, wire, WIRE_HEADER,
                     wire + WIRE_HEADER)


cdef Result packet_open(Aead* key, uint64_t hop_number, uint8_t* wire, uint32_t length) noexcept nogil:
    return aead_open(key, hop_number, wire + WIRE_HEADER + WIRE_TAG, WIRE_TAG + length, wire, WIRE_HEADER,
                     wire + WIRE_HEADER)


cdef Result packet_unpack(const uint8_t* wire, uint32_t length, Frame* out) noexcept nogil:
    if wire_get24(wire) != length:
        return RESULT_BAD_LENGTH
    if wire[3] == FRAME_DATAGRAMS:
        return frame_unpack(wire, out)
    if wire[3] != FRAME_PROBE and wire[3] != FRAME_REPORT:
        return RESULT_BAD_TYPE
    if wire[9] != 0:
        return RESULT_BAD_FLAGS
    if wire[3] == FRAME_REPORT and length != PACKET_REPORT:
        return RESULT_BAD_LENGTH
    if wire_get32(wire + 4) != 0 or wire[8] != 0 or wire_get48(wire + 10) != 0:
        return RESULT_BAD_FIELD
    out.length = length
    out.type = wire[3]
    out.flow = out.epoch = 0
    out.number = 0
    return RESULT_OK
