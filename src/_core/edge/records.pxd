# The records of a bundle: handling and encoding at an edge (docs/protocol.md, section 7).
from libc.stdint cimport uint8_t, uint32_t

from pcgrelay._core.base.buf cimport Buf
from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.base.result cimport Result
from pcgrelay._core.stream.service_tables cimport Tables
from pcgrelay._core.stream.stream cimport Stream


# Handle the records of a bundle of length bytes at body, in clear. owner: the buffer they lie in, or NULL: the receive
# space. A refusal ends the session. If shard.lent is set afterwards, deliver before the owner is dropped.
cdef Result records_rx(Shard* shard, Flow* flow, uint8_t* body, uint32_t length, Buf* owner) noexcept nogil

# Handle the records of DATAGRAMS: others are refused. One whose stream is not open, or carries no datagrams, is ignored
# and counted: what it belongs to may have ended, or its OPEN been lost.
cdef Result records_rx_datagrams(Shard* shard, Flow* flow, uint8_t* body, uint32_t length, Buf* owner) noexcept nogil

# Encode the records that the stream has to send, except its data, at p (at least 128 bytes); return their size. *gone:
# the stream has sent its last record.
cdef uint32_t records_tx(Shard* shard, Stream* stream, uint8_t* p, bint* gone) noexcept nogil

# How many bytes the stream may read, given room bytes including the head of the record; 0: none now.
cdef uint32_t records_may_read(const Stream* stream, uint32_t room) noexcept nogil

# Make n bytes that were read to p + 8 a record at p; return its size.
cdef uint32_t records_data(Shard* shard, Stream* stream, uint8_t* p, uint32_t n) noexcept nogil

# Encode the application's FIN at p, once everything before it was read; return the size of the record, or 0 if it may
# not be sent now.
cdef uint32_t records_fin(Shard* shard, Stream* stream, uint8_t* p) noexcept nogil

# Restart the timers of half-closed streams with a new time.
cdef void records_linger_restart(Shard* shard) noexcept nogil

# End the streams that new tables no longer allow, also those of removed services. The old tables may be NULL. Tables
# that only allow more cost nothing for each stream, because peers can cause them.
cdef void records_tables_changed(Shard* shard, const Tables* before) noexcept nogil
