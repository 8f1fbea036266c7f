# Admission of application connections: by the published tables each gets a flow of a session, waits for one,
# or is refused. It makes no system call.
from libc.stdint cimport uint32_t

from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.stream.stream cimport Stream


cdef enum:
    ACCEPT_WAITING_MAX = 4096     # streams that wait for a route

# What accept_application has decided.
cdef enum AcceptAnswer:
    ACCEPT_TAKEN                # *stream is open and owns the socket
    ACCEPT_ELSEWHERE            # the caller hands the socket to another worker
    ACCEPT_REFUSED              # the caller closes it; the event was reported

# The session that was chosen for a connection, and a worker that has flows of it.
cdef struct Elsewhere:
    uint32_t session
    uint32_t worker


# Decide on a connection of an application to an import. session: 0, or the one that another worker chose already; only
# if that has ended meanwhile is one chosen again. So a socket is handed over once for each choice.
cdef AcceptAnswer accept_application(Shard* shard, uint32_t number, int fd, uint32_t session, Stream** stream,
                                     Elsewhere* elsewhere) noexcept nogil

# Give waiting streams their route, or refuse them, after the tables have changed.
cdef void accept_tables_changed(Shard* shard) noexcept nogil
