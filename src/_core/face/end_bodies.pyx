"""Lines of the audit log for streams that are told in one event. The contract is end_bodies.pyi.

What all of them have in common was encoded once, by the one encoder of records; here the numbers that differ come in
between. A test compares what comes out with what the encoder makes of each.
"""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, strlen

from pcgrelay._core.base.digits cimport (
    DIGITS_MOST, DIGITS_STREAM_ID, digits_put, digits_put_padded, digits_put_stream_id,
)
from pcgrelay._core.base.stats cimport DROP_CAUSES
from pcgrelay._core.face.ends cimport EndDetails


cdef enum:
    PARTS = 8
    TIME_LENGTH = 24            # 2026-11-03T02:14:07.113Z
    # In one line: two times, an id, six numbers, and the words of this file.
    NUMBERS_MOST = 2 * TIME_LENGTH + DIGITS_STREAM_ID + 6 * (DIGITS_MOST + 2) + 64
    # Of an association: two numbers more, and one for each cause, with their names.
    DATAGRAMS_MOST = 2 * (DIGITS_MOST + 24) + DROP_CAUSES * (DIGITS_MOST + 20) + 32
    DAYS_TO_1970 = 719468       # from the first of March of the year 0
    DAYS_OF_400_YEARS = 146097

cdef const char* REMOTE = b',"remote":true'
cdef const char* MOVED = b',"moved":'
cdef const char* PROTOCOL = b',"protocol":"udp"'
cdef const char* SENT = b',"sent_datagrams":'
cdef const char* RECEIVED = b',"received_datagrams":'
cdef const char* DROPPED = b',"dropped":{'

cdef extern from *:
    """
    /* In the order of their numbers. */
    static const char *const end_causes[] = {
        "queue", "age", "no-route", "limit", "too-long", "no-stream", "source", "unreachable", "rate",
    };
    """
    const char* end_causes[]


cdef struct Text:
    uint8_t* p
    uint32_t n


cdef void put(Text* self, const void* p, uint64_t n) noexcept nogil:
    memcpy(self.p + self.n, p, n)
    self.n += <uint32_t>n


cdef void put_part(Text* self, bytes part) noexcept:
    put(self, PyBytes_AS_STRING(part), PyBytes_GET_SIZE(part))


cdef void put_number(Text* self, uint64_t number) noexcept nogil:
    self.n += digits_put(self.p + self.n, number)


# Milliseconds with as many decimals as they need, and at least one.
cdef void put_milliseconds(Text* self, uint64_t us) noexcept nogil:
    put_number(self, us / 1000)
    self.p[self.n] = <uint8_t>b'.'
    self.n += 1 + digits_put_padded(self.p + self.n + 1, us % 1000, 3)
    while self.p[self.n - 1] == <uint8_t>b'0' and self.p[self.n - 2] != <uint8_t>b'.':
        self.n -= 1


cdef void put_fixed(Text* self, uint64_t number, uint32_t width, uint8_t after) noexcept nogil:
    self.n += digits_put_padded(self.p + self.n, number, width)
    self.p[self.n] = after
    self.n += 1


# The time so long after 1970 as the log has it: the calendar of ISO 8601, whose years begin in March here, so that the
# day that some of them lack is their last. us: 0 to the end of the year 9999.
cdef void put_time(Text* self, int64_t us) noexcept nogil:
    cdef uint64_t ms = <uint64_t>us / 1000
    cdef uint64_t days = ms / 86400000 + DAYS_TO_1970
    cdef uint64_t age = days / DAYS_OF_400_YEARS
    cdef uint64_t day = days % DAYS_OF_400_YEARS
    cdef uint64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365
    cdef uint64_t month
    day -= 365 * year + year / 4 - year / 100
    month = (5 * day + 2) / 153
    day -= (153 * month + 2) / 5
    month = month + 3 if month < 10 else month - 9
    year += 400 * age + (1 if month <= 2 else 0)
    ms %= 86400000
    put_fixed(self, year, 4, <uint8_t>b'-')
    put_fixed(self, month, 2, <uint8_t>b'-')
    put_fixed(self, day + 1, 2, <uint8_t>b'T')
    put_fixed(self, ms / 3600000, 2, <uint8_t>b':')
    put_fixed(self, ms / 60000 % 60, 2, <uint8_t>b':')
    put_fixed(self, ms / 1000 % 60, 2, <uint8_t>b'.')
    put_fixed(self, ms % 1000, 3, <uint8_t>b'Z')


cdef void put_body(Text* self, tuple parts, const EndDetails* end, int64_t wall_us) except *:
    put_part(self, <bytes>parts[2])
    put_time(self, max(wall_us - <int64_t>end.open_us, 0))
    put_part(self, <bytes>parts[3])
    put_number(self, end.sent_bytes)
    put_part(self, <bytes>parts[4])
    put_number(self, end.received_bytes)
    put_part(self, <bytes>parts[5])
    put_milliseconds(self, end.open_us)
    put_part(self, <bytes>parts[6])
    if end.remote:
        put(self, REMOTE, 14)
    if PyBytes_GET_SIZE(<bytes>parts[7]) != 0:
        put_part(self, <bytes>parts[7])
        put_milliseconds(self, end.setup_us)
    if end.moved:
        put(self, MOVED, 9)
        put_number(self, end.moved)
    if end.datagram:
        put_datagrams(self, end)
    put(self, b"}", 1)


# Zero is not written, as the encoder does it.
cdef void put_datagrams(Text* self, const EndDetails* end) noexcept nogil:
    cdef bint first = True
    cdef uint32_t i
    put(self, PROTOCOL, strlen(PROTOCOL))
    if end.sent_datagrams != 0:
        put(self, SENT, strlen(SENT))
        put_number(self, end.sent_datagrams)
    if end.received_datagrams != 0:
        put(self, RECEIVED, strlen(RECEIVED))
        put_number(self, end.received_datagrams)
    for i in range(DROP_CAUSES):
        if end.dropped[i] == 0:
            continue
        if first:
            put(self, DROPPED, strlen(DROPPED))
        else:
            put(self, b",", 1)
        first = False
        put(self, b'"', 1)
        put(self, end_causes[i], strlen(end_causes[i]))
        put(self, b'":', 2)
        put_number(self, end.dropped[i])
    if not first:
        put(self, b"}", 1)


def end_bodies(tuple parts, bytes details, int64_t wall_us, uint32_t id_head, bytes own, uint64_t own_first) -> list:
    cdef const EndDetails* end = <const EndDetails*>PyBytes_AS_STRING(details)
    cdef uint32_t count = <uint32_t>(len(details) / sizeof(EndDetails))
    cdef list found = []
    cdef Text text
    cdef bytes part
    cdef uint32_t i
    cdef uint64_t room = NUMBERS_MOST + DATAGRAMS_MOST + len(own)
    if len(parts) != PARTS or count * sizeof(EndDetails) != <uint64_t>len(details) or wall_us < 0:
        raise ValueError("these are no details of ends")
    for part in parts:
        room += len(part)
    text.p = <uint8_t*>malloc(room)
    if text.p == NULL:
        raise MemoryError
    try:
        for i in range(count):
            text.n = 0
            put_part(&text, <bytes>parts[0])
            put_time(&text, wall_us)
            put_part(&text, <bytes>parts[1])
            if end[i].stream != 0 and (end[i].id_head != 0 or id_head != 0):
                text.n += digits_put_stream_id(text.p + text.n, end[i].id_head if end[i].id_head != 0 else id_head,
                                               end[i].flow, end[i].stream)
            else:
                put_part(&text, own)
                put_number(&text, own_first)
                own_first += 1
            put_body(&text, parts, &end[i], wall_us)
            found.append(PyBytes_FromStringAndSize(<char*>text.p, text.n))
    finally:
        free(text.p)
    return found
