# What several threads look at without a lock.
from libc.stdint cimport uint32_t, uint64_t


cdef extern from "base/atomics.h" nogil:
    # Counts of references: any thread changes them.
    int atomic_add(int* value, int n)   # answers the new value

    # Figures of one worker: it alone writes them, anybody may read them.
    uint64_t counter_get(const uint64_t* figure)
    void counter_set(uint64_t* figure, uint64_t value)
    void counter_add(uint64_t* figure, uint64_t n)
    uint32_t counter32_get(const uint32_t* figure)
    void counter32_set(uint32_t* figure, uint32_t value)
    void counter32_add(uint32_t* figure, uint32_t n)

    # A pointer that another thread may change: the value alone, nothing of what it points to.
    void* pointer_get(void* const* pointer)
    void pointer_set(void** pointer, void* value)

    # A budget that any thread takes from.
    void shared_spend(uint64_t* until, uint64_t now, uint64_t each, uint64_t most)

    # Raised once, by one thread for another.
    void flag_raise(int* flag)
    bint flag_is_up(const int* flag)
