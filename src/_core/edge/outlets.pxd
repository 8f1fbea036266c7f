# Where a stream goes whose import has several outlets: the first by its slot, and on from there while attempts fail.
#
# An attempt that fails before it was answered has read nothing of the application: its socket is as it was accepted,
# and is led to the next outlet. `edge_abort` takes the stream back and marks it; the worker then calls outlets_lead_on,
# in the same turn. Each outlet is tried at most once, and all of them within the deadline of the tables. No call waits
# for the control plane: it may stand still.
#
# Nobody answers a datagram who does not want to. An attempt of datagrams fails if the far edge does not accept it in
# the time of the outlet, or if it is refused before anything was answered: by RESET, or by ICMP where it is direct. The
# first datagram goes to the next outlet then. Once the far side has answered, or the time is over, it is up.
from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.link.mailbox cimport StreamOrder
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.stream.service_tables cimport Import
from pcgrelay._core.stream.stream cimport Stream


# Set a new stream out on its first outlet, or, with an order of another worker or the control plane, go on with its
# set-up here. session: as in accept_application. False: no memory for the set-up; the stream is as it was.
cdef bint outlets_begin(Shard* shard, Stream* stream, const Import* entry, const StreamOrder* order,
                        uint32_t session) noexcept nogil

# Whether a new association of an import finds an outlet that could take it; else a session of the gateway is asked for
# (*wanted_us, as in choice_of_datagrams).
cdef bint outlets_serve_datagrams(Shard* shard, const Import* entry, uint64_t* wanted_us) noexcept nogil

# The attempt failed: try the next outlet, or end the stream with what the first attempt met.
cdef void outlets_lead_on(Shard* shard, Stream* stream) noexcept nogil

# The tables changed while the stream waits for a session of the gateway.
cdef void outlets_wait_over(Shard* shard, Stream* stream, const Import* entry) noexcept nogil

# The tables changed: streams of outlets that are forbidden now, or have ended, end with what waits to be written there;
# those of another process find their meter.
cdef void outlets_tables_changed(Shard* shard) noexcept nogil
