# What the outlets of one import have done: counts and histograms, one slot for each worker, outlet and kind of set-up
# (real or shadow). A slot is written by its worker alone; anybody may read it. The meter outlives the service tables:
# they and each stream hold a reference.
from libc.stdint cimport uint32_t, uint64_t


cdef enum:
    METER_BUCKETS = 320         # 16 to an octave, from 64 to 67,108,864 (2^26)

# How an attempt to set a stream up on one outlet ended, first; then what is counted of streams.
cdef enum:
    METER_UP = 0                # the far side answered
    METER_REFUSED = 1           # it, or the exporter, said no
    METER_SILENT = 2            # no answer in the time that the outlet has
    METER_AWAY = 3              # nowhere to go: no session, no address
    METER_DENIED = 4            # the exporter's rules do not allow us
    METER_LOCAL = 5             # this node is the cause: memory, descriptors, ports, a limit
    METER_LEFT = 6              # the application went
    METER_LOST = 7              # the session ended before an answer
    METER_OUTCOMES = 8
    METER_TRIED = 8             # attempts that began
    METER_MOVED = 9             # led on from this outlet to the next one
    METER_EARLY = 10            # up, then ended by the far side within METER_EARLY_US without a byte
    METER_CUT = 11              # up, then reset after data by the far side or the network
    METER_ACTIVE = 12           # open now
    METER_SENT = 13             # bytes, of the application
    METER_RECEIVED = 14         # bytes, for the application
    METER_NUDGED = 15           # closed by order of the control plane
    METER_FIGURES = 16

cdef enum MeterHistogram:
    METER_SETUP = 0             # us from the attempt to the answer
    METER_ANSWER = 1            # us from the answer to the first byte of the far side
    METER_RATE = 2              # KiB/s of streams that moved METER_BULK bytes
    METER_HISTOGRAMS = 3

cdef enum:
    METER_EARLY_US = 1000000
    METER_BULK = 1048576

cdef struct Figures:
    uint64_t counts[METER_FIGURES]
    uint32_t histograms[METER_HISTOGRAMS][METER_BUCKETS]

cdef struct Meter:
    int references
    int turn                    # of the slots: one for each accept, over all workers
    uint32_t outlets
    uint32_t workers
    Figures* figures            # owned: workers x outlets x 2


# A meter with one reference, or NULL: no memory.
cdef Meter* meter_new(uint32_t outlets, uint32_t workers) noexcept nogil
cdef Meter* meter_hold(Meter* self) noexcept nogil
# NULL is allowed.
cdef void meter_drop(Meter* self) noexcept nogil

# The figures of an outlet on one worker; NULL: there is no such meter or outlet.
cdef Figures* meter_at(Meter* self, uint32_t worker, uint32_t outlet, bint shadow) noexcept nogil

# The bucket of a value: the octave by its highest bit, and sixteen equal parts of it by the next four.
cdef uint32_t meter_bucket(uint64_t value) noexcept nogil

cdef void meter_count(Figures* self, uint32_t which, uint64_t n) noexcept nogil
cdef void meter_observe(Figures* self, MeterHistogram which, uint64_t value) noexcept nogil
