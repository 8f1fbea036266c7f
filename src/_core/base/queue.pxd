# A queue of spans of bytes that wait for a socket. A span is either borrowed (buf is NULL: the bytes lie in the
# receive space of this loop turn) or owned (it holds a reference of buf). Borrowed spans that were not written by the
# end of the turn are copied (queue_own), many to a buffer, so that only a busy socket costs copies.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.buf cimport Buf, Pool
from pcgrelay._core.base.result cimport Result


cdef extern from "sys/uio.h" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len

# What a flow has queued in this node: counted while a span of it is owned. items keeps it alive until the last span.
cdef struct Account:
    void* owner                 # PathEnd*, of the relay
    uint64_t queued
    uint64_t cap
    uint32_t items

cdef struct Span:
    uint8_t* p
    uint32_t n
    uint32_t kind               # for the owner of the queue
    Buf* buf
    Account* account            # or NULL

cdef struct Queue:
    Span* ring                  # owned, or &single; NULL while nothing was ever pushed
    uint32_t mask
    uint32_t head
    uint32_t count
    uint32_t borrowed           # how many spans at the tail end may be borrowed
    uint64_t bytes
    uint64_t owned              # of these, the bytes of owned spans
    Span single                 # the ring of one: most queues never hold more. A queue stays where it is therefore


cdef inline Span* queue_at(Queue* self, uint32_t i) noexcept nogil:
    return &self.ring[(self.head + i) & self.mask]

# Append n bytes at p. With buf, one reference of it passes to the queue; its length covers the n bytes, because
# queue_own may append behind them. RESULT_NO_MEMORY: nothing changed.
cdef Result queue_push(Queue* self, Pool* pool, uint8_t* p, uint32_t n, Buf* buf, Account* account) noexcept nogil

# The same for a queue that must not fail: its ring, if it has to grow, may use the pool's reserve.
cdef Result queue_push_must(Queue* self, Pool* pool, uint8_t* p, uint32_t n, Buf* buf, Account* account) noexcept nogil

# Have the ring take one span more: the next queue_push_must does not fail. False: no memory, not even in reserve.
cdef bint queue_reserve(Queue* self, Pool* pool) noexcept nogil

# Fill at most limit vectors from the front; return how many.
cdef uint32_t queue_vectors(Queue* self, iovec* vectors, uint32_t limit) noexcept nogil

# Remove n bytes from the front, which were sent.
cdef void queue_sent(Queue* self, Pool* pool, uint64_t n) noexcept nogil

# Remove the first span; its reference and account pass to the caller. The queue must not be empty.
cdef Span queue_pop(Queue* self) noexcept nogil

# Copy all borrowed spans. RESULT_NO_MEMORY: some are still borrowed, from the returned index *first on.
# must: the pool's reserve may be used.
cdef Result queue_own(Queue* self, Pool* pool, bint must, uint32_t* first) noexcept nogil

# The same; copied counts the bytes.
cdef inline Result queue_own_counted(Queue* self, Pool* pool, bint must, uint32_t* first,
                                     uint64_t* copied) noexcept nogil:
    cdef uint64_t before = self.owned
    cdef Result answer = queue_own(self, pool, must, first)
    if self.owned != before:
        counter_add(copied, self.owned - before)
    return answer

# Drop the spans from index first on.
cdef void queue_cut(Queue* self, Pool* pool, uint32_t first) noexcept nogil

# Drop everything and free the ring.
cdef void queue_free(Queue* self, Pool* pool) noexcept nogil

# Free the ring of a queue that is empty: its owner may be idle from now on.
cdef inline void queue_rest(Queue* self, Pool* pool) noexcept nogil:
    if self.mask != 0 and self.count == 0:
        queue_free(self, pool)
