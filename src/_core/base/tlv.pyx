from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from pcgrelay._core.base.result cimport RESULT_BAD_FIELD, RESULT_BAD_LENGTH, RESULT_NO_MEMORY, RESULT_OK, Result


cdef void tlv_write(Tlv* self, uint8_t* p, uint64_t n, Descriptors* descriptors) noexcept nogil:
    memset(self, 0, sizeof(Tlv))
    self.p = p
    self.n = n
    self.descriptors = descriptors


cdef void tlv_read(Tlv* self, uint8_t* p, uint64_t n, Descriptors* descriptors) noexcept nogil:
    cdef uint64_t at = 0
    memset(self, 0, sizeof(Tlv))
    self.p = p
    self.n = n
    self.descriptors = descriptors
    self.reading = True
    # Once the items are known to fill the container exactly, no later read has to check lengths.
    while at != n:
        if n - at < CURSOR_HEAD or length_at(self, at) > n - at - CURSOR_HEAD:
            tlv_fail(self, RESULT_BAD_LENGTH)
            return
        at += CURSOR_HEAD + length_at(self, at)


cdef void tlv_fail(Tlv* self, Result result) noexcept nogil:
    if self.result == RESULT_OK:
        self.result = result


cdef inline uint16_t tag_at(const Tlv* self, uint64_t at) noexcept nogil:
    cdef uint16_t tag
    memcpy(&tag, self.p + at, 2)
    return tag


cdef inline uint32_t length_at(const Tlv* self, uint64_t at) noexcept nogil:
    cdef uint32_t length
    memcpy(&length, self.p + at + 2, 4)
    return length


# -- writing ----------------------------------------------------------------------------------------------------------

cdef void tlv_raw(Tlv* self, const void* p, uint64_t n) noexcept nogil:
    if self.result != RESULT_OK or n == 0:
        return
    if self.p != NULL:
        if n > self.n - self.at:
            tlv_fail(self, RESULT_BAD_LENGTH)
            return
        memcpy(self.p + self.at, p, n)
    self.at += n


cdef uint64_t tlv_open(Tlv* self, uint16_t tag) noexcept nogil:
    cdef uint32_t length = 0
    cdef uint64_t mark = self.at
    tlv_raw(self, &tag, 2)
    tlv_raw(self, &length, 4)
    return mark


cdef void tlv_shut(Tlv* self, uint64_t mark) noexcept nogil:
    cdef uint64_t length
    cdef uint32_t value
    if self.result != RESULT_OK:
        return
    length = self.at - mark - CURSOR_HEAD
    if length > 0xffffffffu:
        tlv_fail(self, RESULT_BAD_LENGTH)
        return
    value = <uint32_t>length
    if self.p != NULL:
        memcpy(self.p + mark + 2, &value, 4)


cdef inline void put(Tlv* self, uint16_t tag, const void* p, uint32_t n) noexcept nogil:
    cdef uint64_t mark = tlv_open(self, tag)
    tlv_raw(self, p, n)
    tlv_shut(self, mark)


# -- reading ----------------------------------------------------------------------------------------------------------

# Find the item of this tag, starting where the last one was found: calls come in the order of the items. NULL: none.
cdef uint8_t* find(Tlv* self, uint16_t tag, uint32_t* n) noexcept nogil:
    cdef uint64_t start = self.at
    cdef uint64_t at = start
    cdef uint64_t following
    cdef bint wrapped = False
    if self.result != RESULT_OK:
        return NULL
    while True:
        if at == self.n:
            if wrapped or start == 0:
                return NULL
            wrapped = True
            at = 0
        following = at + CURSOR_HEAD + length_at(self, at)
        if tag_at(self, at) == tag:
            n[0] = length_at(self, at)
            self.at = following
            return self.p + at + CURSOR_HEAD
        at = following
        if wrapped and at >= start:
            return NULL


cdef bint tlv_next(Tlv* self, uint16_t tag, uint64_t* at, uint8_t** p, uint64_t* n) noexcept nogil:
    cdef uint64_t here
    while self.result == RESULT_OK and at[0] != self.n:
        here = at[0]
        at[0] += CURSOR_HEAD + length_at(self, here)
        if tag_at(self, here) == tag:
            p[0] = self.p + here + CURSOR_HEAD
            n[0] = length_at(self, here)
            return True
    return False


cdef bint tlv_enter(Tlv* self, uint16_t tag, uint64_t* at, Tlv* inner) noexcept nogil:
    cdef uint8_t* p = NULL
    cdef uint64_t n = 0
    if not tlv_next(self, tag, at, &p, &n):
        return False
    tlv_read(inner, p, n, self.descriptors)
    if inner.result != RESULT_OK:
        tlv_fail(self, inner.result)
        return False
    return True


# -- both -------------------------------------------------------------------------------------------------------------

cdef void tlv_number(Tlv* self, uint16_t tag, void* value, uint32_t width) noexcept nogil:
    cdef uint8_t* p
    cdef uint32_t i, n = 0
    if not self.reading:
        put(self, tag, value, width)
        return
    p = find(self, tag, &n)
    if p == NULL:
        return
    for i in range(width, n):
        if p[i] != 0:
            tlv_fail(self, RESULT_BAD_FIELD)
            return
    memset(value, 0, width)
    memcpy(value, p, n if n < width else width)


cdef void tlv_bytes(Tlv* self, uint16_t tag, void* p, uint32_t n) noexcept nogil:
    cdef uint8_t* found
    cdef uint32_t length = 0
    if not self.reading:
        put(self, tag, p, n)
        return
    found = find(self, tag, &length)
    if found != NULL:
        memcpy(p, found, length if length < n else n)


cdef void tlv_descriptor(Tlv* self, uint16_t tag, int* fd) noexcept nogil:
    cdef uint32_t place = 0xffffffffu
    if not self.reading:
        if fd[0] < 0 or self.result != RESULT_OK:
            return
        place = self.descriptors.count
        # The list is not needed while only lengths are counted.
        if self.p != NULL and not descriptors_add(self.descriptors, fd[0]):
            tlv_fail(self, RESULT_NO_MEMORY)
            return
        put(self, tag, &place, 4)
        return
    fd[0] = -1
    tlv_number(self, tag, &place, 4)
    if self.result != RESULT_OK or place == 0xffffffffu:
        return
    if place >= self.descriptors.count or self.descriptors.fds[place] < 0:
        tlv_fail(self, RESULT_BAD_FIELD)
        return
    fd[0] = self.descriptors.fds[place]
    self.descriptors.fds[place] = -1


cdef bint descriptors_add(Descriptors* self, int fd) noexcept nogil:
    cdef uint32_t room
    cdef int* wider
    if self.count == self.room:
        room = 256 if self.room == 0 else 2 * self.room
        wider = NULL if room > CURSOR_DESCRIPTORS else <int*>realloc(self.fds, room * sizeof(int))
        if wider == NULL:
            return False
        self.fds = wider
        self.room = room
    self.fds[self.count] = fd
    self.count += 1
    return True


cdef void descriptors_free(Descriptors* self) noexcept nogil:
    free(self.fds)
    memset(self, 0, sizeof(Descriptors))
