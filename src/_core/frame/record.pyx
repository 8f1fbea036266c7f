from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from pcgrelay._core.base.result cimport RESULT_BAD_RECORD, RESULT_OK, Result
from pcgrelay._core.base.wire cimport (
    RECORD_ACCEPT, RECORD_CREDIT, RECORD_DATA, RECORD_DATAGRAM, RECORD_FIN, RECORD_OPEN, RECORD_PAD, RECORD_RESET,
    TRANSPORT_DATAGRAM, WIRE_RECORD, WIRE_SERVICE_MAX, wire_get16, wire_get24, wire_get32, wire_get64, wire_put16,
    wire_put24, wire_put32, wire_put64,
)


cdef Result record_read(const uint8_t* p, uint32_t n, Record* out, uint32_t* used) noexcept nogil:
    if n < WIRE_RECORD:
        return RESULT_BAD_RECORD
    memset(out, 0, sizeof(Record))
    out.stream = wire_get32(p)
    out.kind = p[4]
    out.length = wire_get24(p + 5)
    out.data = p + WIRE_RECORD
    if out.length > n - WIRE_RECORD:
        return RESULT_BAD_RECORD
    used[0] = WIRE_RECORD + out.length
    if out.kind == RECORD_PAD:
        return RESULT_OK if out.stream == 0 else RESULT_BAD_RECORD
    if out.stream == 0:
        return RESULT_BAD_RECORD
    if out.kind == RECORD_DATA:
        return RESULT_OK if out.length != 0 else RESULT_BAD_RECORD
    if out.kind == RECORD_CREDIT or out.kind == RECORD_FIN or out.kind == RECORD_ACCEPT:
        if out.length != 8:
            return RESULT_BAD_RECORD
        out.value = wire_get64(out.data)
        return RESULT_OK
    if out.kind == RECORD_RESET:
        if out.length != 4:
            return RESULT_BAD_RECORD
        out.code = wire_get16(out.data)
        out.rule = wire_get16(out.data + 2)
        return RESULT_OK
    if out.kind == RECORD_OPEN:
        return record_read_open(out)
    if out.kind == RECORD_DATAGRAM:
        if out.length < 8:
            return RESULT_BAD_RECORD
        out.value = wire_get64(out.data)
        return RESULT_OK
    return RESULT_BAD_RECORD


cdef Result record_read_open(Record* out) noexcept nogil:
    if out.length < 12:
        return RESULT_BAD_RECORD
    out.value = wire_get64(out.data)
    out.marking = out.data[8]
    out.priority = out.data[9]
    out.transport = out.data[10]
    out.service_length = out.data[11]
    out.service = out.data + 12
    if out.service_length == 0 or out.service_length > WIRE_SERVICE_MAX or out.length != 12 + out.service_length:
        return RESULT_BAD_RECORD
    if out.transport > TRANSPORT_DATAGRAM or out.marking < 1 or out.marking > 3 or out.priority > 2:
        return RESULT_BAD_RECORD
    return RESULT_OK


cdef Result record_check(const uint8_t* p, uint32_t n, bint datagrams) noexcept nogil:
    cdef Record record
    cdef uint32_t used = 0
    cdef Result answer
    while n != 0:
        answer = record_read(p, n, &record, &used)
        if answer != RESULT_OK:
            return answer
        if (record.kind == RECORD_DATAGRAM) != datagrams:
            return RESULT_BAD_RECORD
        p += used
        n -= used
    return RESULT_OK


cdef void record_head(uint8_t* p, uint32_t stream, uint32_t kind, uint32_t length) noexcept nogil:
    wire_put32(p, stream)
    p[4] = <uint8_t>kind
    wire_put24(p + 5, length)


cdef uint32_t record_open(uint8_t* p, uint32_t stream, uint64_t limit, uint32_t marking, uint32_t priority,
                          uint32_t transport, const uint8_t* service, uint32_t service_length) noexcept nogil:
    record_head(p, stream, RECORD_OPEN, 12 + service_length)
    wire_put64(p + 8, limit)
    p[16] = <uint8_t>marking
    p[17] = <uint8_t>priority
    p[18] = <uint8_t>transport
    p[19] = <uint8_t>service_length
    memcpy(p + 20, service, service_length)
    return 20 + service_length


cdef uint32_t record_number(uint8_t* p, uint32_t stream, uint32_t kind, uint64_t value) noexcept nogil:
    record_head(p, stream, kind, 8)
    wire_put64(p + 8, value)
    return 16


cdef uint32_t record_reset(uint8_t* p, uint32_t stream, uint32_t code, uint32_t rule) noexcept nogil:
    record_head(p, stream, RECORD_RESET, 4)
    wire_put16(p + 8, code)
    wire_put16(p + 10, rule)
    return 12


cdef uint32_t record_datagram(uint8_t* p, uint32_t stream, uint64_t number, uint32_t length) noexcept nogil:
    record_head(p, stream, RECORD_DATAGRAM, 8 + length)
    wire_put64(p + 8, number)
    return 16
