from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free


cdef uint32_t map_secret = 0


cdef void map_seed(uint32_t secret) noexcept nogil:
    global map_secret
    map_secret = secret


cdef inline uint32_t map_hash(uint32_t key) noexcept nogil:
    # Stream ids step by two and labels by one: two rounds of a mixer (Wellons, lowbias32) spread them. The peer chooses
    # its ids; because of the secret between the rounds it cannot choose ids that collide.
    cdef uint32_t x = key ^ map_secret
    x = (x ^ (x >> 16)) * <uint32_t>0x7feb352d
    x = ((x ^ (x >> 15)) + map_secret) * <uint32_t>0x846ca68b
    return x ^ (x >> 16)


cdef void* map_find(const Map* self, uint32_t key) noexcept nogil:
    cdef uint32_t i
    if self.count == 0:
        return NULL
    i = map_hash(key) & self.mask
    while self.slots[i].value != NULL:
        if self.slots[i].key == key:
            return self.slots[i].value
        i = (i + 1) & self.mask
    return NULL


cdef void map_insert(Map* self, uint32_t key, void* value) noexcept nogil:
    cdef uint32_t i = map_hash(key) & self.mask
    while self.slots[i].value != NULL:
        if self.slots[i].key == key:
            self.slots[i].value = value
            return
        i = (i + 1) & self.mask
    self.slots[i].key = key
    self.slots[i].value = value
    self.count += 1


cdef bint map_grow(Map* self) noexcept nogil:
    cdef Map wider
    cdef uint32_t size = 16 if self.slots == NULL else 2 * (self.mask + 1)
    cdef uint32_t i
    wider.slots = <MapSlot*>calloc(size, sizeof(MapSlot))
    if wider.slots == NULL:
        return False
    wider.mask = size - 1
    wider.count = 0
    if self.slots != NULL:
        for i in range(self.mask + 1):
            if self.slots[i].value != NULL:
                map_insert(&wider, self.slots[i].key, self.slots[i].value)
        free(self.slots)
    self[0] = wider
    return True


cdef bint map_put(Map* self, uint32_t key, void* value) noexcept nogil:
    # At most three quarters full, so that a probe stays short and always finds an empty slot.
    if self.slots == NULL or 4 * (self.count + 1) > 3 * (self.mask + 1):
        if not map_grow(self):
            return False
    map_insert(self, key, value)
    return True


cdef void* map_remove(Map* self, uint32_t key) noexcept nogil:
    cdef uint32_t i, j, home
    cdef void* value
    if self.count == 0:
        return NULL
    i = map_hash(key) & self.mask
    while self.slots[i].value == NULL or self.slots[i].key != key:
        if self.slots[i].value == NULL:
            return NULL
        i = (i + 1) & self.mask
    value = self.slots[i].value
    # Close the gap: move back every following entry that may stand here (Knuth, vol. 3, algorithm R).
    j = i
    while True:
        j = (j + 1) & self.mask
        if self.slots[j].value == NULL:
            break
        home = map_hash(self.slots[j].key) & self.mask
        if ((j - home) & self.mask) >= ((j - i) & self.mask):
            self.slots[i] = self.slots[j]
            i = j
    self.slots[i].value = NULL
    self.count -= 1
    return value


cdef void* map_any(const Map* self) noexcept nogil:
    cdef uint32_t at = 0
    return map_next(self, &at)


cdef void* map_next(const Map* self, uint32_t* at) noexcept nogil:
    cdef void* value
    while self.slots != NULL and at[0] <= self.mask:
        value = self.slots[at[0]].value
        at[0] += 1
        if value != NULL:
            return value
    return NULL


cdef void map_free(Map* self) noexcept nogil:
    free(self.slots)
    self.slots = NULL
    self.mask = 0
    self.count = 0
