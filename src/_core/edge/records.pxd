# The records of a bundle, as an edge takes them apart and puts them together (docs/protocol.md, section 7).
from libc.stdint cimport uint8_t, uint32_t

from pcgrelay._core.base.buf cimport Buf
from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.base.result cimport Result
from pcgrelay._core.stream.service_tables cimport Tables
from pcgrelay._core.stream.stream cimport Stream


# The records of a bundle of length bytes at body, in clear. owner: the buffer they lie in, or NULL: the receive space.
# A refusal ends the session. Where shard.lent is set afterwards, deliver before the owner is dropped.
cdef Result records_rx(Shard* shard, Flow* flow, uint8_t* body, uint32_t length, Buf* owner) noexcept nogil

# The records of DATAGRAMS: nothing else may be there, and this version ignores them.
cdef Result records_rx_datagrams(Shard* shard, const uint8_t* body, uint32_t length) noexcept nogil

# Put what the stream has to say, but for its data, into p of at least 128 bytes; answer how much. *gone: the stream
# said its last.
cdef uint32_t records_tx(Shard* shard, Stream* stream, uint8_t* p, bint* gone) noexcept nogil

# How many bytes the stream may read into room bytes, head of the record included; 0: none now.
cdef uint32_t records_may_read(const Stream* stream, uint32_t room) noexcept nogil

# n bytes were read to p + 8: make them a record at p; answer its size.
cdef uint32_t records_data(Shard* shard, Stream* stream, uint8_t* p, uint32_t n) noexcept nogil

# The application's FIN, once everything before it was read: answer the size of the record at p, or 0 if it may not be
# sent now.
cdef uint32_t records_fin(Shard* shard, Stream* stream, uint8_t* p) noexcept nogil

# Streams that are half-closed have the whole of another time from now on.
cdef void records_linger_restart(Shard* shard) noexcept nogil

# There are new tables in the place of those before, which may be NULL: end streams that they no longer allow, those of
# services that are gone among them. Tables that only allow more cost nothing for each stream, since peers cause them.
cdef void records_tables_changed(Shard* shard, const Tables* before) noexcept nogil
