# Values that several threads read and write without a lock.
from libc.stdint cimport uint32_t, uint64_t


cdef extern from "base/atomics.h" nogil:
    # Reference counts: any thread may change them.
    int atomic_add(int* value, int n)   # returns the new value

    # Counters of one worker: it alone writes them, any thread may read them.
    uint64_t counter_get(const uint64_t* figure)
    void counter_set(uint64_t* figure, uint64_t value)
    void counter_add(uint64_t* figure, uint64_t n)
    uint32_t counter32_get(const uint32_t* figure)
    void counter32_set(uint32_t* figure, uint32_t value)
    void counter32_add(uint32_t* figure, uint32_t n)

    # A pointer that another thread may change: the pointer alone is ordered, not what it points to.
    void* pointer_get(void* const* pointer)
    void pointer_set(void** pointer, void* value)

    # A token bucket that any thread may spend from.
    void shared_spend(uint64_t* until, uint64_t now, uint64_t each, uint64_t most)
    bint shared_take(uint64_t* until, uint64_t now, uint64_t share, uint64_t most)
    void shared_bound(uint64_t* until, uint64_t latest)

    # A flag that one thread raises once for another.
    void flag_raise(int* flag)
    bint flag_is_up(const int* flag)
