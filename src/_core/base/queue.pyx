from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from pcgrelay._core.base.buf cimport (
    BUF_LARGEST, Buf, Pool, buf_data, buf_drop, buf_alloc, pool_alloc, pool_alloc_must, pool_free,
)
from pcgrelay._core.base.result cimport RESULT_NO_MEMORY, RESULT_OK, Result


cdef inline void span_own(Queue* self, Span* span, Buf* buf) noexcept nogil:
    span.buf = buf
    self.owned += span.n
    if span.account != NULL:
        span.account.queued += span.n


cdef inline void span_leave(Queue* self, const Span* span) noexcept nogil:
    if span.buf == NULL:
        self.borrowed -= 1
    else:
        self.owned -= span.n


cdef inline void span_drop(Span* span, Pool* pool) noexcept nogil:
    if span.account != NULL:
        if span.buf != NULL:
            span.account.queued -= span.n
        span.account.items -= 1
    buf_drop(pool, span.buf)


cdef enum:
    QUEUE_RING = 8              # spans of the least ring that is allocated


cdef inline void ring_free(Queue* self, Pool* pool) noexcept nogil:
    if self.mask != 0:
        pool_free(pool, self.ring, (self.mask + 1) * sizeof(Span))


cdef bint queue_grow(Queue* self, Pool* pool, bint must) noexcept nogil:
    cdef uint32_t size = QUEUE_RING if self.mask == 0 else 2 * (self.mask + 1)
    cdef uint32_t i
    cdef Span* ring
    if self.ring == NULL:
        self.ring = &self.single
        return True
    if must:
        ring = <Span*>pool_alloc_must(pool, size * sizeof(Span))
    else:
        ring = <Span*>pool_alloc(pool, size * sizeof(Span))
    if ring == NULL:
        return False
    for i in range(self.count):
        ring[i] = queue_at(self, i)[0]
    ring_free(self, pool)
    self.ring = ring
    self.mask = size - 1
    self.head = 0
    return True


cdef bint queue_reserve(Queue* self, Pool* pool) noexcept nogil:
    return (self.ring != NULL and self.count <= self.mask) or queue_grow(self, pool, True)


cdef Result queue_push(Queue* self, Pool* pool, uint8_t* p, uint32_t n, Buf* buf, Account* account) noexcept nogil:
    return queue_put(self, pool, p, n, buf, account, False)


cdef Result queue_push_must(Queue* self, Pool* pool, uint8_t* p, uint32_t n, Buf* buf, Account* account) noexcept nogil:
    return queue_put(self, pool, p, n, buf, account, True)


cdef inline Result queue_put(Queue* self, Pool* pool, uint8_t* p, uint32_t n, Buf* buf, Account* account,
                             bint must) noexcept nogil:
    cdef Span* span
    if self.ring == NULL or self.count == self.mask + 1:
        if not queue_grow(self, pool, must):
            return RESULT_NO_MEMORY
    span = queue_at(self, self.count)
    span.p = p
    span.n = n
    span.kind = 0
    span.buf = NULL
    span.account = account
    if account != NULL:
        account.items += 1
    self.count += 1
    self.bytes += n
    if buf != NULL:
        span_own(self, span, buf)
    else:
        self.borrowed += 1
    return RESULT_OK


cdef uint32_t queue_vectors(Queue* self, iovec* vectors, uint32_t limit) noexcept nogil:
    cdef uint32_t i
    cdef uint32_t n = self.count if self.count < limit else limit
    for i in range(n):
        vectors[i].iov_base = queue_at(self, i).p
        vectors[i].iov_len = queue_at(self, i).n
    return n


cdef void queue_sent(Queue* self, Pool* pool, uint64_t n) noexcept nogil:
    cdef Span* span
    cdef uint32_t part
    self.bytes -= n
    while n != 0:
        span = queue_at(self, 0)
        if span.n > n:
            part = <uint32_t>n
            if span.buf != NULL:
                self.owned -= part
                if span.account != NULL:
                    span.account.queued -= part
            span.p += part
            span.n -= part
            return
        n -= span.n
        span_leave(self, span)
        span_drop(span, pool)
        self.head = (self.head + 1) & self.mask
        self.count -= 1


cdef Span queue_pop(Queue* self) noexcept nogil:
    cdef Span span = queue_at(self, 0)[0]
    self.head = (self.head + 1) & self.mask
    self.count -= 1
    self.bytes -= span.n
    span_leave(self, &span)
    return span


cdef Result queue_own(Queue* self, Pool* pool, bint must, uint32_t* first) noexcept nogil:
    cdef uint32_t i
    cdef uint64_t left = 0
    cdef Span* span
    cdef Buf* tail = NULL
    cdef Buf* buf = NULL
    if self.borrowed == 0:
        return RESULT_OK
    for i in range(self.count):
        if queue_at(self, i).buf == NULL:
            left += queue_at(self, i).n
    for i in range(self.count):
        span = queue_at(self, i)
        if span.buf != NULL:
            tail = span.buf
            continue
        # The buffer of the last copied span usually has room: a stalled reader fills it turn by turn.
        if buf == NULL and tail != NULL and tail.capacity - tail.length >= span.n:
            buf = tail
            buf.refs += 1
        if buf == NULL or buf.capacity - buf.length < span.n:
            buf_drop(pool, buf)
            buf = buf_alloc(pool, span.n if left < span.n else (left if left < BUF_LARGEST else BUF_LARGEST), must)
            if buf == NULL:
                buf = buf_alloc(pool, span.n, must)
            if buf == NULL:
                first[0] = i
                return RESULT_NO_MEMORY
        memcpy(buf_data(buf) + buf.length, span.p, span.n)
        span.p = buf_data(buf) + buf.length
        buf.length += span.n
        buf.refs += 1
        left -= span.n
        self.borrowed -= 1
        span_own(self, span, buf)
    buf_drop(pool, buf)
    return RESULT_OK


cdef void queue_cut(Queue* self, Pool* pool, uint32_t first) noexcept nogil:
    cdef Span* span
    while self.count > first:
        span = queue_at(self, self.count - 1)
        self.bytes -= span.n
        span_leave(self, span)
        span_drop(span, pool)
        self.count -= 1


cdef void queue_free(Queue* self, Pool* pool) noexcept nogil:
    queue_cut(self, pool, 0)
    ring_free(self, pool)
    self.ring = NULL
    self.mask = 0
    self.head = 0
