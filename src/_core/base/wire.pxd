# Numbers and byte order of the protocol. tests/source compares the numbers with docs/protocol.md.
# Fields are read and written only through the inline functions below.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef extern from *:
    """
    #include <stdint.h>
    #define wire_swap16 __builtin_bswap16
    #define wire_swap32 __builtin_bswap32
    #define wire_swap64 __builtin_bswap64
    #if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "pcgrelay is built for little-endian machines only"
    #endif
    """
    uint16_t wire_swap16(uint16_t value) nogil
    uint32_t wire_swap32(uint32_t value) nogil
    uint64_t wire_swap64(uint64_t value) nogil


cdef enum:
    WIRE_VERSION = 1
    WIRE_TAG = 16
    WIRE_HEADER = 16            # a header in clear
    WIRE_PREFIX = 48            # header, tag of the header, tag of the body
    WIRE_BODY_MAX = 65536
    WIRE_RECORD = 8             # the head of a record
    WIRE_AAD = 20               # associated data of a body
    WIRE_PREAMBLE = 48
    WIRE_PROOF = 16
    WIRE_BINDING = 32
    WIRE_SECRET = 32
    WIRE_EARLY = 16384          # credit before ACCEPT
    WIRE_SERVICE_MAX = 63
    WIRE_LANES_MAX = 64
    WIRE_NUMBERS_AHEAD = 64     # how far a lane number may be above the lowest unseen one
    WIRE_UDP_HEAD = 12          # before the frame in a packet of a UDP lane: token and hop number
    WIRE_UDP_BODY_MAX = 1200    # the longest body of a frame there

cdef enum:
    FRAME_CONFIRM = 0x01
    FRAME_PING = 0x02
    FRAME_PONG = 0x03
    FRAME_REKEY = 0x04
    FRAME_DRAIN = 0x05
    FRAME_CLOSE = 0x06
    FRAME_PADDING = 0x07
    FRAME_LOST = 0x08
    FRAME_PROBE = 0x09          # these two: on UDP lanes alone
    FRAME_REPORT = 0x0a
    FRAME_FLOW_CONFIRM = 0x41
    FRAME_BUNDLE = 0x42
    FRAME_FLOW_REKEY = 0x43
    FRAME_ACK = 0x81
    FRAME_RESUME = 0x82
    FRAME_FLOW_CLOSE = 0x83
    FRAME_FLOW_PADDING = 0x84
    FRAME_DATAGRAMS = 0x85

cdef enum:
    RECORD_OPEN = 0x01
    RECORD_ACCEPT = 0x02
    RECORD_DATA = 0x03
    RECORD_FIN = 0x04
    RECORD_RESET = 0x05
    RECORD_CREDIT = 0x06
    RECORD_DATAGRAM = 0x07
    RECORD_PAD = 0x08

cdef enum:
    CODE_DONE = 0
    CODE_VIOLATION = 1
    CODE_LIMIT = 2
    CODE_BUSY = 3
    CODE_UNKNOWN = 4
    CODE_REFUSED = 5
    CODE_UNREACHABLE = 6
    CODE_TIMEOUT = 7
    CODE_ABORTED = 8
    CODE_DRAINING = 9
    CODE_EXPIRED = 10

cdef enum:
    PURPOSE_HOP_HEADER = 1
    PURPOSE_HOP_BODY = 2
    PURPOSE_FLOW_DATA = 3
    PURPOSE_FLOW_CONTROL = 4
    PURPOSE_FLOW_DATAGRAM = 5

# What a service carries, and a stream of it.
cdef enum:
    TRANSPORT_STREAM = 0
    TRANSPORT_DATAGRAM = 1

cdef enum:
    SUITE_AES_256_GCM = 1
    SUITE_AES_128_GCM = 2
    SUITE_CHACHA20_POLY1305 = 3


cdef inline uint16_t wire_get16(const uint8_t* p) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, p, 2)
    return wire_swap16(value)


cdef inline uint32_t wire_get24(const uint8_t* p) noexcept nogil:
    return (<uint32_t>p[0] << 16) | (<uint32_t>p[1] << 8) | p[2]


cdef inline uint32_t wire_get32(const uint8_t* p) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, p, 4)
    return wire_swap32(value)


cdef inline uint64_t wire_get48(const uint8_t* p) noexcept nogil:
    return (<uint64_t>wire_get16(p) << 32) | wire_get32(p + 2)


cdef inline uint64_t wire_get64(const uint8_t* p) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, p, 8)
    return wire_swap64(value)


cdef inline void wire_put16(uint8_t* p, uint16_t value) noexcept nogil:
    value = wire_swap16(value)
    memcpy(p, &value, 2)


cdef inline void wire_put24(uint8_t* p, uint32_t value) noexcept nogil:
    p[0] = <uint8_t>(value >> 16)
    p[1] = <uint8_t>(value >> 8)
    p[2] = <uint8_t>value


cdef inline void wire_put32(uint8_t* p, uint32_t value) noexcept nogil:
    value = wire_swap32(value)
    memcpy(p, &value, 4)


cdef inline void wire_put48(uint8_t* p, uint64_t value) noexcept nogil:
    wire_put16(p, <uint16_t>(value >> 32))
    wire_put32(p + 2, <uint32_t>value)


cdef inline void wire_put64(uint8_t* p, uint64_t value) noexcept nogil:
    value = wire_swap64(value)
    memcpy(p, &value, 8)
