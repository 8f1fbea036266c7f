# Buffers and the memory budget. All memory that grows with traffic comes from a Pool, which one worker owns.
#
# A Buf has a reference count: one for each list or queue that holds it. There are size classes so that a small sealed
# frame does not occupy the space of a large one while it waits for its acknowledgement. The larger classes have room
# for a frame around a power of two.
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef enum:
    BUF_CLASSES = 6
    BUF_HEAD = 64               # the data begins here, on a cache line of its own
    BUF_LARGEST = 65536 + 48    # a whole frame

cdef struct Buf:
    Buf* next                   # in the free list, or in the one list that retains it
    uint64_t number             # a retained frame: its number
    uint32_t refs
    uint32_t size_class
    uint32_t capacity
    uint32_t length             # bytes in use from the start of the data
    uint32_t frame_epoch        # a retained frame: its epoch, modulo 256, and its type
    uint32_t frame_type

cdef struct Pool:
    Buf* free[BUF_CLASSES]
    uint64_t limit              # the budget of this worker
    uint64_t reserve            # bytes beyond the limit, for allocations that must not fail
    uint64_t used               # bytes in use, buffers and structures
    uint64_t cached             # bytes in the free lists
    uint64_t high_water


cdef inline uint8_t* buf_data(Buf* buf) noexcept nogil:
    return <uint8_t*>buf + BUF_HEAD


# An empty pool that never holds more than limit bytes, and reserve more for buf_alloc with must = 1.
cdef void pool_start(Pool* pool, uint64_t limit, uint64_t reserve) noexcept nogil

# Free everything that is cached. All buffers in use must have been dropped before.
cdef void pool_stop(Pool* pool) noexcept nogil

# Allocate a zeroed structure of size bytes, charged to the budget; NULL: the budget is used up.
cdef void* pool_alloc(Pool* pool, size_t size) noexcept nogil

# The same for an allocation that must not fail: the reserve may be used too.
cdef void* pool_alloc_must(Pool* pool, size_t size) noexcept nogil

# Free what pool_alloc returned, with the same size. NULL is allowed.
cdef void pool_free(Pool* pool, void* block, size_t size) noexcept nogil

# A buffer with room for at least n bytes (n <= BUF_LARGEST), refs 1, length 0. NULL: the budget is used up.
# must: the reserve may be used too.
cdef Buf* buf_alloc(Pool* pool, size_t n, bint must) noexcept nogil

# The same for frames that free memory elsewhere (credits, ends): part of the reserve may be used, but half of it, and
# room for a frame, is left.
cdef Buf* buf_alloc_word(Pool* pool, size_t n) noexcept nogil

# Drop one reference; the last one returns the buffer to the pool.
cdef void buf_drop(Pool* pool, Buf* buf) noexcept nogil
