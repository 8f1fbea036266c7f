# Sockets of datagrams: those of an import, one for all its clients, and those to targets, one for each association.
#
# An association has a local port to itself, so that what a target sends to it is known to be its own. A port is not
# taken again for PORTS_QUIET_S after it was closed: until then a late answer would reach another client. The system
# chooses a port by chance; one that was closed not long ago by any worker of this node is passed by. The system has
# some 28,000: where hundreds begin in each second none may be left that is quiet. Then one is taken that rests since
# PORTS_LEAST_S, which is longer than clients wait for an answer; and none at all that was closed later.
from libc.stdint cimport uint16_t, uint32_t

from pcgrelay._core.link.mailbox cimport Order
from pcgrelay._core.stream.stream cimport Association, Stream
from pcgrelay._core.worker.worker cimport Listener, Worker


cdef enum:
    PORTS_QUIET_S = 61          # a minute, and what is lost in counting whole seconds
    PORTS_LEAST_S = 11          # ten seconds, and the same


# Take the socket of an import of datagrams.
cdef void datagram_listen(Worker* self, Order* order) noexcept nogil

# Make the table of a listener's clients, or return False: no memory.
cdef bint datagram_clients(Worker* self, Listener* listener) noexcept nogil

# Put an association of a hand-over record among the clients of its listener. False: it cannot be.
cdef bint datagram_restore(Worker* self, Listener* listener, Association* association) noexcept nogil

# Count as dropped what a listener's socket had no room for since this was asked last. A socket that is read by another
# worker is that one's to ask.
cdef void datagram_overflows(Worker* self, Listener* listener) noexcept nogil

# The same for the socket of a stream to its target, which is read for an association.
cdef void datagram_overflows_of(Worker* self, const Stream* stream, Association* association) noexcept nogil

# End the associations of a listener, whose socket is about to be closed.
cdef void datagram_unlisten(Worker* self, Listener* listener) noexcept nogil

# Give an association its own socket, connected to its target; the far edge gets ACCEPT, or the association ends.
cdef void datagram_dial(Worker* self, Stream* stream) noexcept nogil

# Whether this worker has not closed this local port within so many seconds, PORTS_QUIET_S at most.
cdef bint datagram_port_rests(const Worker* self, uint16_t port, uint32_t seconds) noexcept nogil

# Close the socket of an association, if it has one of its own.
cdef void datagram_close(Worker* self, Stream* stream) noexcept nogil
