# The thread of a worker: its turn and its ticks.
from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.link.mailbox cimport Outbox
from pcgrelay._core.worker.worker cimport Worker


# Set up everything except the thread. False: no descriptor or no memory.
cdef bint loop_start(Worker* self, Worker* siblings, uint32_t index, uint32_t count, uint32_t role, uint64_t budget,
                     Outbox* outbox, int event_fd) noexcept nogil
cdef bint loop_launch(Worker* self) noexcept nogil

# Close and free everything, after the thread has ended or if it never began.
cdef void loop_stop(Worker* self) noexcept nogil

# Without a thread: free what belongs to this process alone, and end no connection: another process has them.
cdef void loop_abandon(Worker* self) noexcept nogil

# Without a thread: carry out orders and pass events on, as at the end of a turn, and read nothing. True: all is done,
# and everything that waits is held by a stream, flow or lane.
cdef bint loop_quiesce(Worker* self) noexcept nogil

# Run one turn of the loop, waiting at most so long.
cdef void loop_turn(Worker* self, int timeout_ms) noexcept nogil
