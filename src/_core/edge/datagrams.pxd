# Datagrams at an edge (docs/protocol.md, 7.3): who may begin an association, what comes for its socket, and the records
# that a stream of datagrams has.
from libc.stdint cimport uint32_t, uint8_t

from pcgrelay._core.base.buf cimport Buf
from pcgrelay._core.edge.clients cimport Clients
from pcgrelay._core.frame.record cimport Record
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.stream.service_tables cimport Import
from pcgrelay._core.stream.stream cimport Association, Stream


# Begin an association for a new client of an import, who has sent a datagram of n bytes. NULL: it may have none, and
# its datagram is counted as dropped.
cdef Association* datagrams_admit(Shard* shard, Clients* clients, const uint8_t* client, const uint8_t* local,
                                  uint32_t hash, uint32_t n) noexcept nogil

# Give a shadow's stream, whose socket is its own, what one of a client has. False: no memory.
cdef bint datagrams_shadow(Shard* shard, Stream* stream, const Import* entry) noexcept nogil

# Note that the target's side has said something.
cdef void datagrams_answered(Shard* shard, Association* association) noexcept nogil

# Handle a DATAGRAM of a stream of datagrams: queue it for its socket. The queue borrows its bytes: deliver before the
# frame is dropped (shard.lent). owner: the buffer of the frame, or NULL.
cdef void datagrams_rx(Shard* shard, Stream* stream, const Record* record, Buf* owner) noexcept nogil
