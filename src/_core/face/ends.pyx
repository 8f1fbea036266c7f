"""Ends of streams that need no telling one by one."""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from pcgrelay._core.base.stats cimport CAUSE_DONE
from pcgrelay._core.base.wire cimport CODE_DONE
from pcgrelay._core.link.mailbox cimport EVENT_STREAMS_DONE, StreamEndEvent


cdef bint ends_count(Ends* self, const StreamEndEvent* end) noexcept nogil:
    cdef EndsOfKind* kind
    cdef uint64_t answered_us
    cdef uint32_t i
    if end.code != CODE_DONE or end.cause != CAUSE_DONE or end.shadow != 0 or end.number < 0:
        return False
    answered_us = end.open_us - end.setup_us if end.open_us > end.setup_us else 0
    for i in range(self.used):
        kind = &self.of_kind[i]
        if kind.number == end.number and kind.session == end.session and kind.opener == end.opener:
            kind.answered_us = min(kind.answered_us, answered_us)
            kind_add(kind, end)
            return True
    if self.used == ENDS_KINDS:
        return False
    kind = &self.of_kind[self.used]
    self.used += 1
    memset(kind, 0, sizeof(EndsOfKind))
    kind.number = end.number
    kind.session = end.session
    kind.opener = end.opener
    kind.answered_us = answered_us
    kind_add(kind, end)
    return True


cdef void kind_add(EndsOfKind* kind, const StreamEndEvent* end) noexcept nogil:
    kind.count += 1
    kind.sent_bytes += end.sent_bytes
    kind.received_bytes += end.received_bytes
    kind.life_us += end.open_us
    kind.lives[bucket(end.open_us)] += 1
    if end.first_us != 0:
        kind.first_us += end.first_us
        kind.firsts[bucket(end.first_us)] += 1


cdef uint32_t bucket(uint64_t us) noexcept nogil:
    cdef uint32_t bits = 0
    while us >> bits != 0 and bits < ENDS_BUCKETS - 1:
        bits += 1
    return bits


cdef list ends_events(const Ends* self):
    cdef uint32_t i
    return [
        (EVENT_STREAMS_DONE, bool(self.of_kind[i].opener), self.of_kind[i].number, self.of_kind[i].session,
         self.of_kind[i].count, self.of_kind[i].answered_us,
         (self.of_kind[i].sent_bytes, self.of_kind[i].received_bytes, self.of_kind[i].life_us,
          self.of_kind[i].first_us, <list>self.of_kind[i].lives, <list>self.of_kind[i].firsts))
        for i in range(self.used)
    ]
