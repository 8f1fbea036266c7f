# Admission of application connections: by the published tables each gets a flow of a session, waits for one,
# or is refused. It makes no system call.
from libc.stdint cimport uint32_t

from pcgrelay._core.edge.choice cimport Elsewhere
from pcgrelay._core.link.mailbox cimport StreamOrder
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.stream.stream cimport Stream


cdef enum:
    ACCEPT_WAITING_MAX = 4096     # streams that wait for a route

# What accept_application has decided.
cdef enum AcceptAnswer:
    ACCEPT_TAKEN                # *stream is open and owns the socket
    ACCEPT_ELSEWHERE            # the caller hands the socket to another worker
    ACCEPT_REFUSED              # the caller closes it; the event was reported

# An application connected to an import. order: NULL, or what came with its socket from another worker or the control
# plane. A session that was chosen there holds; only if it has ended meanwhile is one chosen again. So a socket is
# handed over once for each choice.
cdef AcceptAnswer accept_application(Shard* shard, uint32_t number, int fd, const StreamOrder* order, Stream** stream,
                                     Elsewhere* elsewhere) noexcept nogil

# Give waiting streams their route, or refuse them, after the tables have changed.
cdef void accept_tables_changed(Shard* shard) noexcept nogil
