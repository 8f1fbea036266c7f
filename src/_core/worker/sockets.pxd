# Sockets of applications and targets: their options, and how one that connects to a target is opened.
from libc.stdint cimport uint32_t

from pcgrelay._core.base.atomics cimport counter32_get
from pcgrelay._core.base.handle cimport Handle
from pcgrelay._core.stream.service_tables cimport Source, Target
from pcgrelay._core.worker.worker cimport Worker


cdef enum:
    # Beside the system's errors.
    SOCKETS_NO_SOURCE = -1      # the address to connect from is not there, or of no use
    SOCKETS_NO_CHOICE = -2      # the system forbids the choice of a port

# Set the options of every application connection: TCP keep-alive finds a machine that is gone, the connection of an
# edge that is killed is reset, and urgent data stay in their place in the stream. What a listener accepts inherits all
# of them.
cdef void sockets_tune(Worker* self, int fd) noexcept nogil

# Set those of keep-alive alone. A connection to a target inherits nothing, and most of short ones would end before
# anybody asks: it gets them when its stream is STREAM_YOUNG_US old.
cdef void sockets_keep_alive(Worker* self, int fd) noexcept nogil

# Set what the application sees when the socket is closed: a reset if hard, else a clean end. Every application socket
# is hard from the start until both directions have ended by FIN, so that a killed process resets it too.
cdef void sockets_end_as(int fd, bint hard) noexcept nogil

# Whether a new descriptor is one of those reserved for the control plane: the system gives the least free number, so
# the number shows how many are in use.
cdef inline bint sockets_is_kept_back(const Worker* self, int fd) noexcept nogil:
    cdef uint32_t first = 0 if self.shard.bounds == NULL else counter32_get(&self.shard.bounds.descriptors)
    return 0 < first <= <uint32_t>fd

# Begin a connection to a target, from this address or (NULL) from any. Its local port is one of the worker's own that
# is known to be free (ports.pxd), or, if these are not to be chosen from, the system's choice. EADDRNOTAVAIL: there is
# none now, of which nothing more is tried for PORTS_PAUSE_US. tries: how many ports may still be tried. Returns 0, with
# the socket in made, or an error.
cdef int sockets_open(Worker* self, const Target* target, const Source* source, Handle* made,
                      int* tries) noexcept nogil
