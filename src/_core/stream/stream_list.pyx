from pcgrelay._core.stream.stream cimport PLACE_NONE, PLACE_READY, Stream


cdef void list_push(StreamList* self, Stream* stream) noexcept nogil:
    stream.next = NULL
    stream.place = PLACE_READY
    if self.tail == NULL:
        self.head = stream
    else:
        self.tail.next = stream
    self.tail = stream


cdef Stream* list_pop(StreamList* self) noexcept nogil:
    cdef Stream* stream = self.head
    if stream == NULL:
        return NULL
    self.head = stream.next
    if self.head == NULL:
        self.tail = NULL
    stream.next = NULL
    stream.place = PLACE_NONE
    return stream


cdef void list_remove(StreamList* self, Stream* stream) noexcept nogil:
    cdef Stream* before = NULL
    cdef Stream* at = self.head
    while at != NULL and at != stream:
        before = at
        at = at.next
    if at == NULL:
        return
    if before == NULL:
        self.head = stream.next
    else:
        before.next = stream.next
    if self.tail == stream:
        self.tail = before
    stream.next = NULL
    stream.place = PLACE_NONE
