# The thread of a worker: its turn and its ticks.
from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.link.mailbox cimport Outbox
from pcgrelay._core.worker.worker cimport Worker


# Set everything up but the thread. False: a descriptor or memory was refused.
cdef bint loop_start(Worker* self, Worker* siblings, uint32_t index, uint32_t count, uint32_t role, uint64_t budget,
                     Outbox* outbox, int event_fd) noexcept nogil
cdef bint loop_launch(Worker* self) noexcept nogil

# After the thread has ended (or never began): close and free everything.
cdef void loop_stop(Worker* self) noexcept nogil

# Without a thread: give back what is this process's alone, and end no connection: another process has them.
cdef void loop_abandon(Worker* self) noexcept nogil

# Without a thread: do what orders and events ask for, as a turn does at its end, and read nothing. True: all is done,
# and nothing waits that is not with a stream, flow or lane.
cdef bint loop_quiesce(Worker* self) noexcept nogil

# One turn of the loop, waiting at most so long.
cdef void loop_turn(Worker* self, int timeout_ms) noexcept nogil
