# A hash table from a 32-bit number to a pointer: open addressing, linear probing, no tombstones. It does not own the
# objects.
from libc.stdint cimport uint32_t


cdef struct MapSlot:
    uint32_t key
    void* value                 # NULL: the slot is empty

cdef struct Map:
    MapSlot* slots
    uint32_t mask               # slots - 1, or 0 while there are none
    uint32_t count


# Set the secret of the hash function, for all maps of the process, before the first is made. Without it a peer that
# chooses keys could choose those that collide.
cdef void map_seed(uint32_t secret) noexcept nogil

# The value of key, or NULL.
cdef void* map_find(const Map* self, uint32_t key) noexcept nogil

# Store value (not NULL) under key, replacing what is there. False: no memory, nothing changed.
cdef bint map_put(Map* self, uint32_t key, void* value) noexcept nogil

# Remove key and return its value, or NULL.
cdef void* map_remove(Map* self, uint32_t key) noexcept nogil

# Any value in the table, or NULL if it is empty: for freeing everything.
cdef void* map_any(const Map* self) noexcept nogil

# Iterate: *at starts at 0; returns each value once and then NULL. The table must not change meanwhile.
cdef void* map_next(const Map* self, uint32_t* at) noexcept nogil

cdef void map_free(Map* self) noexcept nogil
