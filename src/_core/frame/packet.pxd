# Packets of UDP lanes: docs/protocol.md, section 4.5. A packet is one frame behind 12 bytes in clear:
#
#   0 token of the receiver | 4 hop number | 12 header, sealed by the hop | 28 tag of the header | 44 tag of the body |
#   60 body, sealed
#
# The header's associated data are all that follows its tag. So who sends altered copies of packets is refused here, and
# not by the far edge, which would have to end the session.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.base.result cimport Result
from pcgrelay._core.base.wire cimport WIRE_PREFIX, WIRE_UDP_BODY_MAX, WIRE_UDP_HEAD
from pcgrelay._core.crypto.aead cimport Aead
from pcgrelay._core.frame.frame cimport Frame


cdef enum:
    PACKET_BODY_LEAST = 8
    PACKET_LEAST = WIRE_UDP_HEAD + WIRE_PREFIX + PACKET_BODY_LEAST
    PACKET_MOST = WIRE_UDP_HEAD + WIRE_PREFIX + WIRE_UDP_BODY_MAX
    PACKET_REPORT = 16          # the body of a REPORT

# Seal the header that lies in clear at wire, before a sealed body of length bytes.
cdef Result packet_seal(Aead* key, uint64_t hop_number, uint8_t* wire, uint32_t length) noexcept nogil

# Open the header at wire, behind which length bytes of body lie. RESULT_BAD_TAG: it is not authentic.
cdef Result packet_open(Aead* key, uint64_t hop_number, uint8_t* wire, uint32_t length) noexcept nogil

# Decode an open header whose body has so many bytes. RESULT_BAD_LENGTH, _TYPE, _FLAGS, _FIELD: no frame of a UDP lane.
cdef Result packet_unpack(const uint8_t* wire, uint32_t length, Frame* out) noexcept nogil
