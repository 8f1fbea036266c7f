from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from pcgrelay._core.base.buf cimport pool_alloc, pool_free
from pcgrelay._core.base.map cimport map_find, map_free, map_put, map_remove


cdef enum:
    ROOM_LEAST = 16
    FORGOTTEN_AT_ONCE = 2       # with each port that is taken or released: more than there come

cdef extern from *:
    """
    #define PORTS_EVEN 0x5555555555555555ull
    #define ports_lowest_bit __builtin_ctzll
    """
    const uint64_t PORTS_EVEN
    int ports_lowest_bit(uint64_t bits) nogil


# -- places -----------------------------------------------------------------------------------------------------------

cdef inline uint32_t words_of(uint32_t workers) noexcept nogil:
    cdef uint32_t places = 2 * ((PORTS_ALL / 2 + workers - 1) / workers)
    return (places + 63) / 64


cdef inline bint is_own(uint32_t port, uint32_t worker, uint32_t workers) noexcept nogil:
    return port / 2 % workers == worker


cdef inline uint32_t place_of(uint32_t port, uint32_t workers) noexcept nogil:
    return 2 * (port / 2 / workers) + port % 2


cdef inline uint16_t port_at(const Ports* self, uint32_t place) noexcept nogil:
    return <uint16_t>(2 * (place / 2 * self.workers + self.worker) + place % 2)


cdef inline bint has(const uint64_t* places, uint32_t place) noexcept nogil:
    return places[place / 64] >> (place % 64) & 1


cdef inline void put(uint64_t* places, uint32_t place) noexcept nogil:
    places[place / 64] |= <uint64_t>1 << (place % 64)


cdef inline void cut(uint64_t* places, uint32_t place) noexcept nogil:
    places[place / 64] &= ~(<uint64_t>1 << (place % 64))


cdef PortRange* ports_range(const uint8_t* allowed, uint32_t first_half, uint32_t worker,
                            uint32_t workers) noexcept nogil:
    cdef PortRange* fresh = <PortRange*>calloc(1, sizeof(PortRange))
    cdef uint32_t port
    if fresh == NULL:
        return NULL
    fresh.first_half = first_half & 1
    # Port 0 is none.
    for port in range(1, PORTS_ALL):
        if allowed[port / 8] >> (port % 8) & 1 and is_own(port, worker, workers):
            put(fresh.places, place_of(port, workers))
    return fresh


cdef void ports_set(Ports* self, PortRange* fresh) noexcept nogil:
    free(self.range)
    self.range = fresh


# -- rings ------------------------------------------------------------------------------------------------------------

cdef uint32_t key_hash(const uint8_t* source, const uint8_t* target) noexcept nogil:
    cdef uint32_t value = 2166136261
    cdef uint32_t i
    for i in range(PORTS_ADDRESS):
        value = (value ^ target[i]) * 16777619
    for i in range(PORTS_ADDRESS):
        value = (value ^ source[i]) * 16777619
    return value


cdef PortRing* find(const Ports* self, const uint8_t* source, const uint8_t* target, uint32_t hash) noexcept nogil:
    cdef PortRing* ring = <PortRing*>map_find(&self.by_hash, hash)
    while ring != NULL and (memcmp(ring.target, target, PORTS_ADDRESS) != 0
                            or memcmp(ring.source, source, PORTS_ADDRESS) != 0):
        ring = ring.same
    return ring


cdef PortRing* ports_ring(Ports* self, Pool* pool, const uint8_t* source, const uint8_t* target, uint64_t now_us,
                          bint must) noexcept nogil:
    cdef uint8_t nowhere[PORTS_ADDRESS]
    cdef uint32_t hash, i
    cdef PortRing* ring
    if self.range == NULL and not must and self.count == 0:
        return NULL
    if source == NULL:
        for i in range(PORTS_ADDRESS):
            nowhere[i] = 0
        source = nowhere
    hash = key_hash(source, target)
    ring = find(self, source, target, hash)
    if ring == NULL and (must or self.range != NULL):
        ring = ring_new(self, pool, source, target, hash, now_us)
    if ring == NULL or (self.range != NULL and ring.taken == NULL and not ring_open(self, pool, ring)):
        return NULL
    return ring


cdef PortRing* ring_new(Ports* self, Pool* pool, const uint8_t* source, const uint8_t* target, uint32_t hash,
                        uint64_t now_us) noexcept nogil:
    cdef PortRing* first
    cdef PortRing* ring
    if self.count >= PORTS_RINGS:
        return NULL
    ring = <PortRing*>pool_alloc(pool, sizeof(PortRing))
    if ring == NULL:
        return NULL
    first = <PortRing*>map_find(&self.by_hash, hash)
    if first != NULL:
        ring.same = first.same
        first.same = ring
    elif not map_put(&self.by_hash, hash, ring):
        pool_free(pool, ring, sizeof(PortRing))
        return NULL
    ring.hash = hash
    ring.used_us = now_us
    memcpy(ring.source, source, PORTS_ADDRESS)
    memcpy(ring.target, target, PORTS_ADDRESS)
    ring.next = self.rings
    self.rings = ring
    self.count += 1
    return ring


cdef bint ring_open(Ports* self, Pool* pool, PortRing* ring) noexcept nogil:
    cdef uint32_t port = <uint32_t>ring.target[2] << 8 | ring.target[3]
    ring.taken = <uint64_t*>pool_alloc(pool, words_of(self.workers) * sizeof(uint64_t))
    if ring.taken == NULL:
        return False
    # A socket that connects to its own address and port is answered by itself.
    if is_own(port, self.worker, self.workers):
        put(ring.taken, place_of(port, self.workers))
    return True


cdef void ring_free(Ports* self, Pool* pool, PortRing* ring) noexcept nogil:
    cdef PortRing* first = <PortRing*>map_find(&self.by_hash, ring.hash)
    cdef uint32_t half
    if first == ring:
        map_remove(&self.by_hash, ring.hash)
        if ring.same != NULL:
            # There is room: one was removed.
            map_put(&self.by_hash, ring.hash, ring.same)
    else:
        while first.same != ring:
            first = first.same
        first.same = ring.same
    for half in range(2):
        pool_free(pool, ring.half[half].closed, ring.half[half].room * sizeof(uint64_t))
    pool_free(pool, ring.taken, words_of(self.workers) * sizeof(uint64_t))
    pool_free(pool, ring, sizeof(PortRing))
    self.count -= 1


cdef void ports_tick(Ports* self, Pool* pool, uint64_t now_us) noexcept nogil:
    cdef PortRing* ring
    if self.looked == NULL or self.looked[0] == NULL:
        self.looked = &self.rings
    ring = self.looked[0]
    if ring == NULL:
        return
    if ring.half[0].used != 0 or ring.half[1].used != 0 or now_us < ring.used_us + PORTS_FORGET_US:
        self.looked = &ring.next
        return
    self.looked[0] = ring.next
    ring_free(self, pool, ring)


cdef void ports_free(Ports* self, Pool* pool) noexcept nogil:
    cdef PortRing* ring = self.rings
    while ring != NULL:
        self.rings = ring.next
        ring_free(self, pool, ring)
        ring = self.rings
    map_free(&self.by_hash)
    map_free(&self.by_number)
    ports_set(self, NULL)


# -- ports ------------------------------------------------------------------------------------------------------------

cdef bint ports_choose(const Ports* self, const PortRing* ring, uint64_t now_us) noexcept nogil:
    return self.range != NULL and ring.taken != NULL and not ring.unbound and now_us >= self.from_us


cdef inline uint64_t first_closed(const PortQueue* queue) noexcept nogil:
    return queue.closed[queue.head & (queue.room - 1)]


cdef inline void drop_first(PortQueue* queue) noexcept nogil:
    queue.head += 1
    queue.count -= 1


cdef inline void append(PortQueue* queue, uint32_t place, uint64_t closed_us) noexcept nogil:
    queue.closed[(queue.head + queue.count) & (queue.room - 1)] = closed_us << 16 | place
    queue.count += 1


# There is room for a port more, in use or closed.
cdef bint has_room(Pool* pool, PortQueue* queue) noexcept nogil:
    cdef uint64_t* wider
    cdef uint32_t i, room = 2 * queue.room if queue.room != 0 else ROOM_LEAST
    if queue.count + queue.used < queue.room:
        return True
    wider = <uint64_t*>pool_alloc(pool, room * sizeof(uint64_t))
    if wider == NULL:
        return False
    for i in range(queue.count):
        wider[i] = queue.closed[(queue.head + i) & (queue.room - 1)]
    pool_free(pool, queue.closed, queue.room * sizeof(uint64_t))
    queue.closed = wider
    queue.room = room
    queue.head = 0
    return True


cdef void forget(PortRing* ring, uint64_t now_us) noexcept nogil:
    cdef PortQueue* queue
    cdef uint32_t half
    cdef int _
    for half in range(2):
        queue = &ring.half[half]
        for _ in range(FORGOTTEN_AT_ONCE):
            if queue.count != 0 and (first_closed(queue) >> 16) + PORTS_FORGET_US <= now_us:
                cut(ring.taken, first_closed(queue) & 0xffff)
                drop_first(queue)


# A place that is not taken, from one by chance on; -1: none.
cdef int free_place(const Ports* self, const PortRing* ring, uint32_t half, uint64_t chance) noexcept nogil:
    cdef uint32_t words = words_of(self.workers)
    cdef uint32_t start = <uint32_t>(chance % (words * 64))
    cdef uint32_t at = start / 64
    cdef uint64_t places
    cdef uint32_t i
    for i in range(words + 1):
        places = self.range.places[at] & ~ring.taken[at] & (PORTS_EVEN << half)
        if i == 0:
            places &= ~<uint64_t>0 << (start % 64)
        if places != 0:
            return <int>(at * 64 + ports_lowest_bit(places))
        at = at + 1 if at + 1 < words else 0
    return -1


# The place that was closed first, if that was long enough ago; -1: none.
cdef int closed_place(const Ports* self, PortRing* ring, uint32_t half, uint64_t now_us) noexcept nogil:
    cdef PortQueue* queue = &ring.half[half]
    cdef uint32_t place
    while queue.count != 0 and (first_closed(queue) >> 16) + PORTS_AGAIN_US <= now_us:
        place = first_closed(queue) & 0xffff
        drop_first(queue)
        if has(self.range.places, place):
            return <int>place
        cut(ring.taken, place)
    return -1


cdef uint16_t ports_take(Ports* self, Pool* pool, PortRing* ring, uint64_t now_us, uint64_t chance) noexcept nogil:
    cdef uint32_t i, half
    cdef int place
    forget(ring, now_us)
    for i in range(2):
        half = (self.range.first_half + i) & 1
        if not has_room(pool, &ring.half[half]):
            continue
        place = free_place(self, ring, half, chance)
        if place < 0:
            place = closed_place(self, ring, half, now_us)
        if place >= 0:
            put(ring.taken, <uint32_t>place)
            ring.half[half].used += 1
            ring.used_us = now_us
            return port_at(self, <uint32_t>place)
    return 0


cdef void ports_release(Ports* self, PortRing* ring, uint16_t port, uint64_t now_us) noexcept nogil:
    forget(ring, now_us)
    ring.half[port & 1].used -= 1
    append(&ring.half[port & 1], place_of(port, self.workers), now_us)
    ring.used_us = now_us


# -- a hand-over ------------------------------------------------------------------------------------------------------

cdef bint ports_restore(Ports* self, Pool* pool, PortRing* ring, uint16_t port, uint64_t closed_us,
                        bint used) noexcept nogil:
    cdef PortQueue* queue = &ring.half[port & 1]
    cdef uint32_t place = place_of(port, self.workers)
    if port == 0 or not is_own(port, self.worker, self.workers) \
            or (ring.taken == NULL and not ring_open(self, pool, ring)) or has(ring.taken, place) \
            or not has_room(pool, queue):
        return False
    put(ring.taken, place)
    if used:
        queue.used += 1
    else:
        append(queue, place, closed_us)
    return True


cdef uint16_t ports_closed(const Ports* self, const PortRing* ring, uint32_t half, uint32_t at,
                           uint64_t* closed_us) noexcept nogil:
    cdef const PortQueue* queue = &ring.half[half]
    cdef uint64_t closed
    if at >= queue.count:
        return 0
    closed = queue.closed[(queue.head + at) & (queue.room - 1)]
    closed_us[0] = closed >> 16
    return port_at(self, closed & 0xffff)


cdef void ports_number(Ports* self) noexcept nogil:
    cdef PortRing* ring = self.rings
    cdef uint32_t number = 0
    while ring != NULL:
        number += 1
        ring.number = number
        ring = ring.next
