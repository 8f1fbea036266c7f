"""Ends of streams that need no telling one by one."""
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from pcgrelay._core.base.stats cimport CAUSE_DONE, CAUSE_FAR_RESET, CAUSE_LIMIT, DROP_CAUSES
from pcgrelay._core.base.wire cimport CODE_DONE, CODE_LIMIT
from pcgrelay._core.face.counters cimport name_of_cause
from pcgrelay._core.link.mailbox cimport EVENT_STREAMS_DONE, StreamEndEvent


cdef void ends_begin(Ends* self, bint whole, bint detailed, bint crowded) noexcept nogil:
    self.used = self.known = 0
    self.whole = whole
    self.detailed = detailed
    self.crowded = crowded


cdef bint ends_count(Ends* self, const StreamEndEvent* end) noexcept nogil:
    cdef EndsOfKind* kind
    if end.shadow != 0 or end.number < 0:
        return False
    if not ((is_done(end) and not self.whole) or (made_room(end) and self.crowded)):
        return False
    if self.detailed and self.known == ENDS_DETAILS:
        return False
    kind = kind_of(self, end)
    if kind == NULL:
        return False
    kind_add(kind, end)
    if self.detailed:
        self.kind_of[self.known] = <uint8_t>(kind - self.of_kind)
        details_of(&self.details[self.known], end)
        self.known += 1
    return True


cdef inline bint is_done(const StreamEndEvent* end) noexcept nogil:
    return end.code == CODE_DONE and end.cause == CAUSE_DONE


# Of a flood of forged sources each association does, once there are as many as there may be.
cdef inline bint made_room(const StreamEndEvent* end) noexcept nogil:
    return end.datagram and end.code == CODE_LIMIT and end.cause == (CAUSE_FAR_RESET if end.remote else CAUSE_LIMIT)


cdef inline bint was_answered(const StreamEndEvent* end) noexcept nogil:
    return (end.received_bytes if end.opener else end.sent_bytes) != 0


cdef inline bint is_of_kind(const EndsOfKind* kind, const StreamEndEvent* end) noexcept nogil:
    return kind.number == end.number and kind.session == end.session and kind.opener == end.opener \
        and kind.outlet == end.outlet and kind.datagram == end.datagram and kind.code == end.code \
        and (kind.code == CODE_DONE or (kind.remote == end.remote and kind.answered == was_answered(end)))


cdef EndsOfKind* kind_of(Ends* self, const StreamEndEvent* end) noexcept nogil:
    cdef EndsOfKind* kind
    cdef uint64_t answered_us = end.open_us - end.setup_us if end.open_us > end.setup_us else 0
    cdef uint32_t i
    for i in range(self.used):
        kind = &self.of_kind[i]
        if is_of_kind(kind, end):
            kind.answered_us = min(kind.answered_us, answered_us)
            return kind
    if self.used == ENDS_KINDS:
        return NULL
    kind = &self.of_kind[self.used]
    self.used += 1
    memset(kind, 0, sizeof(EndsOfKind))
    kind.number = end.number
    kind.session = end.session
    kind.opener = end.opener
    kind.datagram = end.datagram
    kind.code = end.code
    kind.cause = end.cause
    kind.remote = end.remote
    kind.answered = was_answered(end)
    kind.outlet = end.outlet
    kind.service_length = end.service_length
    memcpy(kind.service, end.service, sizeof(kind.service))
    kind.answered_us = answered_us
    return kind


cdef void details_of(EndDetails* self, const StreamEndEvent* end) noexcept nogil:
    memset(self, 0, sizeof(EndDetails))
    self.sent_bytes = end.sent_bytes
    self.received_bytes = end.received_bytes
    self.open_us = end.open_us
    self.setup_us = end.setup_us
    self.id_head = end.id_head
    self.flow = end.flow
    self.stream = end.stream
    self.moved = end.moved
    self.remote = end.remote
    self.datagram = end.datagram
    self.sent_datagrams = end.sent_datagrams
    self.received_datagrams = end.received_datagrams
    memcpy(self.dropped, end.dropped, sizeof(self.dropped))


cdef void kind_add(EndsOfKind* kind, const StreamEndEvent* end) noexcept nogil:
    cdef uint32_t i
    kind.count += 1
    kind.sent_bytes += end.sent_bytes
    kind.received_bytes += end.received_bytes
    kind.life_us += end.open_us
    kind.lives[bucket(end.open_us)] += 1
    if end.first_us != 0:
        kind.first_us += end.first_us
        kind.firsts[bucket(end.first_us)] += 1
    if end.datagram:
        kind.sent_datagrams += end.sent_datagrams
        kind.received_datagrams += end.received_datagrams
        for i in range(DROP_CAUSES):
            kind.dropped[i] += end.dropped[i]


cdef uint32_t bucket(uint64_t us) noexcept nogil:
    cdef uint32_t bits = 0
    while us >> bits != 0 and bits < ENDS_BUCKETS - 1:
        bits += 1
    return bits


cdef list ends_events(const Ends* self):
    cdef list details = details_by_kind(self)
    cdef uint32_t i
    return [
        (EVENT_STREAMS_DONE, bool(self.of_kind[i].opener), self.of_kind[i].number, self.of_kind[i].session,
         self.of_kind[i].count, self.of_kind[i].answered_us,
         (self.of_kind[i].sent_bytes, self.of_kind[i].received_bytes, self.of_kind[i].life_us,
          self.of_kind[i].first_us, <list>self.of_kind[i].lives, <list>self.of_kind[i].firsts,
          self.of_kind[i].sent_datagrams, self.of_kind[i].received_datagrams, tuple(<list>self.of_kind[i].dropped)),
         self.of_kind[i].outlet, <bytes>self.of_kind[i].service[:self.of_kind[i].service_length], details[i],
         "udp" if self.of_kind[i].datagram else "tcp", self.of_kind[i].code, name_of_cause(self.of_kind[i].cause),
         bool(self.of_kind[i].remote), bool(self.of_kind[i].answered))
        for i in range(self.used)
    ]


# In their order; without details, nothing of each.
cdef list details_by_kind(const Ends* self):
    cdef list found = []
    cdef uint8_t* ends[ENDS_KINDS]
    cdef uint32_t i, length
    for i in range(self.used):
        length = self.of_kind[i].count * sizeof(EndDetails) if self.detailed else 0
        found.append(PyBytes_FromStringAndSize(NULL, length))
        ends[i] = <uint8_t*>PyBytes_AS_STRING(found[i])
    for i in range(self.known):
        memcpy(ends[self.kind_of[i]], &self.details[i], sizeof(EndDetails))
        ends[self.kind_of[i]] += sizeof(EndDetails)
    return found
