from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from pcgrelay._core.base.atomics cimport pointer_set
from pcgrelay._core.base.libcrypto cimport crypto_bind, OPENSSL_cleanse

crypto_bind()


cdef bint mailbox_start(Mailbox* self, int wake_fd) noexcept nogil:
    memset(self, 0, sizeof(Mailbox))
    self.wake_fd = wake_fd
    return pthread_mutex_init(&self.mutex, NULL) == 0


cdef bint mailbox_put(Mailbox* self, Order* order) noexcept nogil:
    cdef bint was_empty
    order.next = NULL
    pthread_mutex_lock(&self.mutex)
    was_empty = self.first == NULL
    if was_empty:
        pointer_set(<void**>&self.first, order)
    else:
        self.last.next = order
    self.last = order
    pthread_mutex_unlock(&self.mutex)
    return was_empty


cdef Order* mailbox_drain(Mailbox* self) noexcept nogil:
    cdef Order* first
    pthread_mutex_lock(&self.mutex)
    first = self.first
    pointer_set(<void**>&self.first, NULL)
    self.last = NULL
    pthread_mutex_unlock(&self.mutex)
    return first


cdef bint mailbox_is_empty(Mailbox* self) noexcept nogil:
    cdef bint empty
    pthread_mutex_lock(&self.mutex)
    empty = self.first == NULL
    pthread_mutex_unlock(&self.mutex)
    return empty


cdef void mailbox_stop(Mailbox* self) noexcept nogil:
    pthread_mutex_destroy(&self.mutex)


cdef Order* order_new(OrderKind kind) noexcept nogil:
    cdef Order* order = <Order*>calloc(1, sizeof(Order))
    if order != NULL:
        order.kind = kind
        order.fd = -1
    return order


cdef void order_free(Order* order) noexcept nogil:
    if order != NULL:
        OPENSSL_cleanse(order.secret, 32)
        free(order)


cdef bint outbox_start(Outbox* self, int wake_fd) noexcept nogil:
    memset(self, 0, sizeof(Outbox))
    self.wake_fd = wake_fd
    self.ring = <Event*>calloc(OUTBOX_PLACES, sizeof(Event))
    return self.ring != NULL and pthread_mutex_init(&self.mutex, NULL) == 0


cdef bint outbox_put(Outbox* self, const Event* events, uint32_t n) noexcept nogil:
    cdef uint32_t i
    cdef bint was_empty, lasts
    pthread_mutex_lock(&self.mutex)
    was_empty = self.count == 0 and self.lost == 0
    for i in range(n):
        lasts = events[i].kind != EVENT_STREAM_END and events[i].kind != EVENT_IMPORT_WANTED \
            and (events[i].kind != EVENT_SETUP_ENDED or events[i].data.setup.shadow != 0)
        if self.count >= <uint32_t>(OUTBOX_PLACES if lasts else OUTBOX_RING):
            self.lost += 1
            self.lost_kept += lasts
            continue
        self.ring[(self.head + self.count) % OUTBOX_PLACES] = events[i]
        self.count += 1
    pthread_mutex_unlock(&self.mutex)
    return was_empty


cdef uint32_t outbox_drain(Outbox* self, Event* events, uint32_t limit, uint64_t* lost,
                           uint64_t* lost_kept) noexcept nogil:
    cdef uint32_t n = 0
    pthread_mutex_lock(&self.mutex)
    while n < limit and self.count != 0:
        events[n] = self.ring[self.head]
        self.head = (self.head + 1) % OUTBOX_PLACES
        self.count -= 1
        n += 1
    if self.count == 0:
        # So only as much of the ring is touched, and takes memory, as has ever waited.
        self.head = 0
    lost[0] = self.lost
    lost_kept[0] = self.lost_kept
    self.lost = 0
    self.lost_kept = 0
    pthread_mutex_unlock(&self.mutex)
    return n


cdef void outbox_stop(Outbox* self) noexcept nogil:
    free(self.ring)
    self.ring = NULL
    pthread_mutex_destroy(&self.mutex)
