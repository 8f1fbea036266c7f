"""Numbers as text."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef enum:
    HEAD_DIGITS = 8

cdef const char* DIGITS = b"0123456789abcdef"


cdef uint32_t digits_put(uint8_t* out, uint64_t number) noexcept nogil:
    cdef uint8_t reversed_digits[DIGITS_MOST]
    cdef uint32_t i, n = 0
    while n == 0 or number != 0:
        reversed_digits[n] = <uint8_t>DIGITS[number % 10]
        number /= 10
        n += 1
    for i in range(n):
        out[i] = reversed_digits[n - 1 - i]
    return n


cdef uint32_t digits_put_padded(uint8_t* out, uint64_t number, uint32_t width) noexcept nogil:
    cdef uint32_t i
    for i in range(width):
        out[width - 1 - i] = <uint8_t>DIGITS[number % 10]
        number /= 10
    return width


cdef uint32_t digits_put_stream_id(uint8_t* out, uint32_t id_head, uint32_t flow, uint32_t stream) noexcept nogil:
    cdef uint32_t n
    for n in range(<uint32_t>HEAD_DIGITS):
        out[n] = <uint8_t>DIGITS[(id_head >> (4 * (HEAD_DIGITS - 1 - n))) & 15]
    n = HEAD_DIGITS
    out[n] = <uint8_t>b'-'
    n += 1 + digits_put(out + n + 1, flow)
    out[n] = <uint8_t>b'-'
    return n + 1 + digits_put(out + n + 1, stream)
