# The record of a set-up whose import has several outlets: what was tried, what came of it, and the figures of that.
# Where a stream is led next stands in `outlets`.
from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.base.stats cimport Cause
from pcgrelay._core.link.mailbox cimport StreamEndEvent, StreamOrder
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.stream.meter cimport Figures, Meter
from pcgrelay._core.stream.service_tables cimport Import
from pcgrelay._core.stream.stream cimport Setup, Stream


# Give a stream its record, with one more reference of the meter (NULL: none yet). False: no memory.
cdef bint setup_begin(Shard* shard, Stream* stream, Meter* meter) noexcept nogil

# Its record is freed with the last figures. No-op for a stream without one.
cdef void setup_end(Shard* shard, Stream* stream) noexcept nogil

# The same without a word: its socket went to another worker.
cdef void setup_drop(Shard* shard, Stream* stream) noexcept nogil

# The figures of the outlet that a set-up is at; NULL: no meter.
cdef Figures* setup_figures(const Shard* shard, const Setup* setup) noexcept nogil

# An attempt on another outlet begins.
cdef void setup_try(Shard* shard, Setup* setup, uint32_t outlet) noexcept nogil

# The attempt was answered.
cdef void setup_up(Shard* shard, Setup* setup) noexcept nogil

# It failed for this cause: counted, told to the control plane, and remembered if it was the first.
cdef void setup_failed(Shard* shard, Setup* setup, uint32_t code, Cause cause, uint32_t rule) noexcept nogil

# What came with this order gets no record here: a shadow connection whose set-up never began, or one that has begun on
# another worker, where its attempt was counted. entry: its import, or NULL.
cdef void setup_refused(Shard* shard, const Import* entry, const StreamOrder* order, uint32_t code,
                        Cause cause) noexcept nogil

# The first byte of the far side came.
cdef void setup_answered(Shard* shard, Stream* stream) noexcept nogil

# Its FIN came: without a byte before it, and first, the far side did not want the application.
cdef void setup_rx_fin(Shard* shard, Stream* stream) noexcept nogil

# What the end of a stream says of its set-up.
cdef void setup_report(const Shard* shard, const Stream* stream, StreamEndEvent* end) noexcept nogil

# Take a stream out of its flow. Where the far edge was told of it and does not know the end, a record without a socket
# stays in its place to say RESET. False: no memory for that.
cdef bint setup_leave_flow(Shard* shard, Stream* stream, uint32_t code) noexcept nogil

# The stream is as when its application connected; the worker leads it on.
cdef void setup_again(Shard* shard, Stream* stream) noexcept nogil

# What goes with the socket to another worker, and what came from there.
cdef void setup_give(const Setup* setup, StreamOrder* order) noexcept nogil
cdef void setup_take(Setup* setup, const StreamOrder* order) noexcept nogil
