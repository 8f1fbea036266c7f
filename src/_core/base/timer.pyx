from libc.stdint cimport uint32_t, uint64_t


cdef void wheel_start(Wheel* self, uint64_t now_us) noexcept nogil:
    cdef uint32_t i
    for i in range(TIMER_SLOTS):
        self.slots[i].next = &self.slots[i]
        self.slots[i].prev = &self.slots[i]
    self.tick = now_us / TIMER_TICK_US
    self.count = 0


cdef void timer_set(Wheel* self, Timer* timer, uint64_t due_us) noexcept nogil:
    cdef uint64_t tick = due_us / TIMER_TICK_US
    cdef Timer* head
    timer_clear(self, timer)
    if tick < self.tick:
        tick = self.tick
    head = &self.slots[tick % TIMER_SLOTS]
    timer.due_us = due_us
    timer.next = head
    timer.prev = head.prev
    head.prev.next = timer
    head.prev = timer
    self.count += 1


cdef void timer_clear(Wheel* self, Timer* timer) noexcept nogil:
    if timer.next == NULL:
        return
    timer.prev.next = timer.next
    timer.next.prev = timer.prev
    timer.next = NULL
    timer.prev = NULL
    self.count -= 1


cdef Timer* wheel_pop(Wheel* self, uint64_t now_us) noexcept nogil:
    cdef uint64_t now_tick = now_us / TIMER_TICK_US
    cdef Timer* head
    cdef Timer* timer
    if self.count == 0 or self.tick + TIMER_SLOTS < now_tick:
        # No timer is set, or the wheel stood still for more than a revolution: one revolution covers every slot.
        self.tick = now_tick if self.count == 0 else now_tick - TIMER_SLOTS + 1
    while True:
        head = &self.slots[self.tick % TIMER_SLOTS]
        timer = head.next
        while timer != head:
            if timer.due_us <= now_us:
                timer_clear(self, timer)
                return timer
            timer = timer.next
        if self.tick >= now_tick:
            return NULL
        self.tick += 1
