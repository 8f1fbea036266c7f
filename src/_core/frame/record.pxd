# Records: docs/protocol.md, section 7. One cursor reads them all; each is checked against its table before it is used.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.base.result cimport Result


cdef struct Record:
    uint32_t stream
    uint32_t kind
    uint32_t length             # of data
    const uint8_t* data         # what follows the head
    uint64_t value              # OPEN, ACCEPT, CREDIT: limit. FIN: final offset. DATAGRAM: number
    uint32_t code               # RESET
    uint32_t rule
    uint32_t marking            # OPEN
    uint32_t priority
    const uint8_t* service
    uint32_t service_length


# Read the record at p of n bytes; *used is how far it reaches. RESULT_BAD_RECORD: malformed.
cdef Result record_read(const uint8_t* p, uint32_t n, Record* out, uint32_t* used) noexcept nogil

# Look at all records of a body of n bytes before the first is taken: a body is good as a whole or not at all.
# datagrams: it is that of DATAGRAMS, which has no other record; else that of a BUNDLE, which has any but those.
cdef Result record_check(const uint8_t* p, uint32_t n, bint datagrams) noexcept nogil

# Write the head of a record of length bytes of data.
cdef void record_head(uint8_t* p, uint32_t stream, uint32_t kind, uint32_t length) noexcept nogil

# Write a whole record and answer its size, head included. The caller has seen to the room: 8 + 12 + 63 at most.
cdef uint32_t record_open(uint8_t* p, uint32_t stream, uint64_t limit, uint32_t marking, uint32_t priority,
                          const uint8_t* service, uint32_t service_length) noexcept nogil
cdef uint32_t record_number(uint8_t* p, uint32_t stream, uint32_t kind, uint64_t value) noexcept nogil
cdef uint32_t record_reset(uint8_t* p, uint32_t stream, uint32_t code, uint32_t rule) noexcept nogil
