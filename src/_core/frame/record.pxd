# Records: docs/protocol.md, section 7. One cursor reads them all; each is checked against its table before it is used.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.base.result cimport Result


cdef struct Record:
    uint32_t stream
    uint32_t kind
    uint32_t length             # of data
    const uint8_t* data         # the bytes after the head
    uint64_t value              # OPEN, ACCEPT, CREDIT: limit. FIN: final offset. DATAGRAM: number
    uint32_t code               # RESET
    uint32_t rule
    uint32_t marking            # OPEN
    uint32_t priority
    uint32_t transport          # TRANSPORT_*
    const uint8_t* service
    uint32_t service_length


# Decode the record at the start of the n bytes at p; *used: its size. RESULT_BAD_RECORD: malformed.
cdef Result record_read(const uint8_t* p, uint32_t n, Record* out, uint32_t* used) noexcept nogil

# Check all records of a body of n bytes before the first is handled: a body is accepted as a whole or not at all.
# datagrams: the body of a DATAGRAMS frame, which has no other records; else that of a BUNDLE, which has any others.
cdef Result record_check(const uint8_t* p, uint32_t n, bint datagrams) noexcept nogil

# Encode the head of a record with length bytes of data.
cdef void record_head(uint8_t* p, uint32_t stream, uint32_t kind, uint32_t length) noexcept nogil

# Encode a whole record and return its size with the head. The caller provides the room: 8 + 12 + 63 bytes at most.
cdef uint32_t record_open(uint8_t* p, uint32_t stream, uint64_t limit, uint32_t marking, uint32_t priority,
                          uint32_t transport, const uint8_t* service, uint32_t service_length) noexcept nogil
cdef uint32_t record_number(uint8_t* p, uint32_t stream, uint32_t kind, uint64_t value) noexcept nogil
cdef uint32_t record_reset(uint8_t* p, uint32_t stream, uint32_t code, uint32_t rule) noexcept nogil

# Encode what comes before the length bytes of a datagram, and return its size.
cdef uint32_t record_datagram(uint8_t* p, uint32_t stream, uint64_t number, uint32_t length) noexcept nogil
