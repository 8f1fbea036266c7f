from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from pcgrelay._core.base.linux cimport FIONREAD, SIOCOUTQ, ioctl
from pcgrelay._core.edge.nudges cimport nudge, nudge_is_idle, nudge_may
from pcgrelay._core.link.mailbox cimport (
    EVENT_STREAMS_NUDGED, ORDER_NUDGE, Event, NudgeOrder, Order, mailbox_put, order_new,
)
from pcgrelay._core.link.shard cimport Shard, shard_event
from pcgrelay._core.stream.stream cimport Setup, Stream
from pcgrelay._core.worker.worker cimport Round, Worker, worker_wake


cdef void rounds_begin(Worker* self, const NudgeOrder* order) noexcept nogil:
    cdef Round** at = &self.rounds
    cdef Round* fresh = <Round*>calloc(1, sizeof(Round))
    if fresh == NULL:
        # Its own streams are not looked at; those of the others are.
        pass_on(self, order)
        return
    fresh.order = order[0]
    while at[0] != NULL:
        at = &at[0].next
    at[0] = fresh
    if self.rounds == fresh:
        self.shard.walked = self.shard.setups


cdef void rounds_go_on(Worker* self, uint32_t streams) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Round* done = self.rounds
    cdef Setup* setup
    while shard.walked != NULL and streams != 0:
        # A stream that is closed takes its set-up out of the list.
        setup = shard.walked
        shard.walked = setup.next
        streams -= 1
        if <uint32_t>setup.stream.number == done.order.import_number and setup.outlet == done.order.outlet:
            look(self, &done.order, setup)
    if shard.walked != NULL:
        return
    self.rounds = done.next
    shard.walked = NULL if self.rounds == NULL else shard.setups
    pass_on(self, &done.order)
    free(done)


cdef void look(Worker* self, NudgeOrder* order, Setup* setup) noexcept nogil:
    cdef Stream* stream = setup.stream
    cdef uint64_t age_us = self.shard.now_us - stream.opened_us
    cdef bint idle
    if not nudge_may(setup):
        return
    idle = nudge_is_idle(&self.shard, setup, order.idle_us)
    if order.most != 0 and (order.hard or (idle and is_empty(stream))):
        order.most -= 1
        order.nudged += 1
        nudge(&self.shard, stream, order.hard)
        return
    order.open += 1
    order.idle += idle
    if age_us > order.oldest_us:
        order.oldest_us = age_us


# Do the sockets of both sides hold nothing that was not read, or not acknowledged? Of the far edge's nothing is known:
# what comes before FIN arrives before it.
cdef bint is_empty(const Stream* stream) noexcept nogil:
    if stream.datagram:
        # Its socket is that of all clients.
        return True
    return holds_nothing(stream.handle.fd) and (stream.partner == NULL or holds_nothing(stream.partner.handle.fd))


cdef bint holds_nothing(int fd) noexcept nogil:
    cdef int unread = 0
    cdef int unsent = 0
    return ioctl(fd, FIONREAD, &unread) == 0 and ioctl(fd, SIOCOUTQ, &unsent) == 0 and unread == 0 and unsent == 0


# To the next worker, or up.
cdef void pass_on(Worker* self, const NudgeOrder* so_far) noexcept nogil:
    cdef Worker* following = &self.siblings[self.shard.index + 1]
    cdef Order* order
    cdef Event* event
    if self.shard.index + 1 < self.shard.workers:
        order = order_new(ORDER_NUDGE)
        if order != NULL:
            order.args.nudge = so_far[0]
            if mailbox_put(&following.mailbox, order):
                worker_wake(following.mailbox.wake_fd)
            return
    event = shard_event(&self.shard, EVENT_STREAMS_NUDGED)
    event.data.nudge = so_far[0]


cdef void rounds_drop(Worker* self) noexcept nogil:
    cdef Round* following
    self.shard.walked = NULL
    while self.rounds != NULL:
        following = self.rounds.next
        free(self.rounds)
        self.rounds = following
