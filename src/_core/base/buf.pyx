from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from pcgrelay._core.base.atomics cimport counter_add, counter_set


cdef extern from *:
    """
    static const uint32_t buf_sizes[6] = {256, 1024, 4096, 16384 + 64, 32768 + 64, 65536 + 64};
    """
    const uint32_t buf_sizes[BUF_CLASSES]


cdef void pool_start(Pool* pool, uint64_t limit, uint64_t reserve) noexcept nogil:
    memset(pool, 0, sizeof(Pool))
    pool.limit = limit
    pool.reserve = reserve


cdef void pool_stop(Pool* pool) noexcept nogil:
    cdef uint32_t i
    for i in range(BUF_CLASSES):
        pool_trim(pool, i)


cdef void pool_trim(Pool* pool, uint32_t size_class) noexcept nogil:
    cdef Buf* buf = pool.free[size_class]
    cdef Buf* following
    while buf != NULL:
        following = buf.next
        pool.cached -= BUF_HEAD + buf.capacity
        free(buf)
        buf = following
    pool.free[size_class] = NULL


# Make sure that size more bytes fit, by freeing cached buffers if necessary.
cdef bint pool_fits(Pool* pool, uint64_t size, bint must) noexcept nogil:
    cdef uint64_t limit = pool.limit + (pool.reserve if must else 0)
    cdef uint32_t i
    if pool.used + size > limit:
        return False
    if pool.used + pool.cached + size > limit:
        for i in range(BUF_CLASSES):
            pool_trim(pool, BUF_CLASSES - 1 - i)
    return True


cdef inline void pool_charge(Pool* pool, uint64_t size) noexcept nogil:
    counter_add(&pool.used, size)
    if pool.used > pool.high_water:
        counter_set(&pool.high_water, pool.used)


cdef void* pool_alloc(Pool* pool, size_t size) noexcept nogil:
    return pool_take(pool, size, False)


cdef void* pool_alloc_must(Pool* pool, size_t size) noexcept nogil:
    return pool_take(pool, size, True)


cdef inline void* pool_take(Pool* pool, size_t size, bint must) noexcept nogil:
    cdef void* block
    if not pool_fits(pool, size, must):
        return NULL
    block = calloc(1, size)
    if block != NULL:
        pool_charge(pool, size)
    return block


cdef void pool_free(Pool* pool, void* block, size_t size) noexcept nogil:
    if block == NULL:
        return
    counter_add(&pool.used, -size)
    free(block)


cdef Buf* buf_alloc(Pool* pool, size_t n, bint must) noexcept nogil:
    cdef uint32_t size_class = 0
    cdef uint64_t size
    cdef Buf* buf
    while size_class < BUF_CLASSES - 1 and buf_sizes[size_class] < n:
        size_class += 1
    if n > BUF_LARGEST:
        return NULL
    size = BUF_HEAD + buf_sizes[size_class]
    if pool.used + size > pool.limit + (pool.reserve if must else 0):
        return NULL
    buf = pool.free[size_class]
    if buf != NULL:
        pool.free[size_class] = buf.next
        pool.cached -= size
    else:
        if not pool_fits(pool, size, must):
            return NULL
        buf = <Buf*>malloc(size)
        if buf == NULL:
            return NULL
        buf.size_class = size_class
        buf.capacity = buf_sizes[size_class]
    pool_charge(pool, size)
    buf.next = NULL
    buf.refs = 1
    buf.length = 0
    return buf


cdef Buf* buf_alloc_word(Pool* pool, size_t n) noexcept nogil:
    cdef uint64_t left = BUF_HEAD + BUF_LARGEST
    if left < pool.reserve / 2:
        left = pool.reserve / 2
    if pool.used + left + BUF_HEAD + n > pool.limit + pool.reserve:
        return NULL
    return buf_alloc(pool, n, True)


cdef void buf_drop(Pool* pool, Buf* buf) noexcept nogil:
    cdef uint64_t size
    if buf == NULL:
        return
    buf.refs -= 1
    if buf.refs != 0:
        return
    size = BUF_HEAD + buf.capacity
    counter_add(&pool.used, -size)
    # At most a quarter of the budget stays in the free lists; the rest goes back to the system.
    if (pool.cached + size) * 4 > pool.limit:
        free(buf)
        return
    buf.next = pool.free[buf.size_class]
    pool.free[buf.size_class] = buf
    pool.cached += size
