# Rounds over the streams of one outlet of an import: they are counted, and some of them closed, some thousands in a
# turn. When a worker is through, the next one goes on with what is left to close; the last one reports.
from libc.stdint cimport uint32_t

from pcgrelay._core.link.mailbox cimport NudgeOrder
from pcgrelay._core.worker.worker cimport Worker


cdef enum:
    ROUND_STREAMS = 4096        # that are looked at in a turn

# Begin a round here, after those that are under way.
cdef void rounds_begin(Worker* self, const NudgeOrder* order) noexcept nogil

# Go on with the first round, over so many streams.
cdef void rounds_go_on(Worker* self, uint32_t streams) noexcept nogil

# Forget all rounds.
cdef void rounds_drop(Worker* self) noexcept nogil
