from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

from pcgrelay._core.base.digits cimport digits_put_stream_id
from pcgrelay._core.base.wire cimport wire_put16


cdef enum:
    FIXED = 16                  # signature, version and command, family, length
    TLV_HEAD = 3
    VERSION_2_PROXY = 0x21

cdef const char* SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
# As a socket address, without family and port.
cdef const uint8_t* LOOPBACK = b"\x00\x00\x00\x00\x7f\x00\x00\x01"


# Both have the port at 2. The address of IPv4 is at 4, that of IPv6 at 8.
cdef uint32_t put_addresses(uint8_t* out, const uint8_t* source, const uint8_t* destination, uint32_t at,
                            uint32_t length) noexcept nogil:
    memcpy(out, source + at, length)
    memcpy(out + length, destination + at, length)
    memcpy(out + 2 * length, source + 2, 2)
    memcpy(out + 2 * length + 2, destination + 2, 2)
    return 2 * length + 4


cdef uint32_t proxy_header(uint8_t* out, ProxyFamily family, const uint8_t* source, const uint8_t* destination,
                           const uint8_t* caller, uint32_t caller_length, uint32_t id_head, uint16_t flow,
                           uint32_t stream) noexcept nogil:
    cdef uint32_t n = FIXED
    cdef uint32_t id_length
    if caller_length > PROXY_CALLER_MOST:
        return 0
    memcpy(out, SIGNATURE, 12)
    out[12] = VERSION_2_PROXY
    out[13] = PROXY_TCP4 if family == PROXY_LOCAL else <uint8_t>family
    if family == PROXY_LOCAL:
        n += put_addresses(out + n, LOOPBACK, LOOPBACK, 4, 4)
    elif family == PROXY_TCP4:
        n += put_addresses(out + n, source, destination, 4, 4)
    elif family == PROXY_TCP6:
        n += put_addresses(out + n, source, destination, 8, 16)
    if caller_length != 0:
        memcpy(out + n, caller, caller_length)
        n += caller_length
    id_length = digits_put_stream_id(out + n + TLV_HEAD, id_head, flow, stream)
    out[n] = PROXY_UNIQUE_ID
    wire_put16(out + n + 1, <uint16_t>id_length)
    n += TLV_HEAD + id_length
    wire_put16(out + 14, <uint16_t>(n - FIXED))
    return n
