# A worker: one thread, one epoll loop, the only file that makes system calls on the data plane. It never takes the interpreter lock.
#
# A turn: wait; take orders; read lanes and mark streams; serve streams that are ready into frames; one send for each
# lane that has something; deadlines; events up; free what ended.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.handle cimport Handle
from pcgrelay._core.link cimport Shard
from pcgrelay._core.linux cimport pthread_t
from pcgrelay._core.mailbox cimport Mailbox, Outbox
from pcgrelay._core.map cimport Map


cdef enum:
    WORKER_EDGE = 1
    WORKER_RELAY = 2
    WORKER_SLOT = 262144        # receive space of one read
    WORKER_SLOTS = 8            # how many reads a relay forwards with one send for each lane
    WORKER_READS = 4            # reads of one lane in a turn
    WORKER_ACCEPTS = 64         # of one listener in a turn
    WORKER_FRAMES = 32          # frames made in a turn
    WORKER_TICK_US = 50000

cdef struct Listener:
    Handle handle               # first
    Listener* next
    uint32_t number             # of the import
    bint paused                 # no descriptors were left

cdef struct Worker:
    Shard shard
    Mailbox mailbox
    Handle mailbox_handle
    Worker* siblings            # all workers of the node; this one is siblings[shard.index]
    Listener* listeners         # owned
    uint8_t* space              # owned: WORKER_SLOTS x WORKER_SLOT
    uint64_t next_tick_us
    uint64_t next_ack_us
    pthread_t thread
    uint32_t slots_used
    uint32_t role
    int epoll_fd                # owned
    int event_fd                # of the outbox; not owned
    bint running
    bint stopping


# Set everything up but the thread. False: a descriptor or memory was refused.
cdef bint worker_start(Worker* self, Worker* siblings, uint32_t index, uint32_t count, uint32_t role, uint64_t budget,
                       Outbox* outbox, int event_fd) noexcept nogil
cdef bint worker_launch(Worker* self) noexcept nogil

# After the thread has ended (or never began): close and free everything.
cdef void worker_stop(Worker* self) noexcept nogil

# One turn of the loop, waiting at most so long.
cdef void worker_turn(Worker* self, int timeout_ms) noexcept nogil
