# A table from a 32-bit number to a pointer: open addressing, linear probing, no tombstones. What it points at is not
# its own.
from libc.stdint cimport uint32_t


cdef struct MapSlot:
    uint32_t key
    void* value                 # NULL: the slot is empty

cdef struct Map:
    MapSlot* slots
    uint32_t mask               # slots - 1, or 0 while there are none
    uint32_t count


# A number nobody outside knows, for all maps of the process: before the first is made. Without it the order is known.
cdef void map_seed(uint32_t secret) noexcept nogil

# The value of key, or NULL.
cdef void* map_find(const Map* self, uint32_t key) noexcept nogil

# Put value (not NULL) under key, in place of what is there. False: no memory, nothing changed.
cdef bint map_put(Map* self, uint32_t key, void* value) noexcept nogil

# Take key out and answer what was there, or NULL.
cdef void* map_remove(Map* self, uint32_t key) noexcept nogil

# Any value that is in the table, or NULL when it is empty: for taking everything down.
cdef void* map_any(const Map* self) noexcept nogil

# Walk: *at starts at 0; answers each value once and then NULL. The table must not change meanwhile.
cdef void* map_next(const Map* self, uint32_t* at) noexcept nogil

cdef void map_free(Map* self) noexcept nogil
