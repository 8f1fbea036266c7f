# The local ports of connections to targets. A worker has a share of the system's ephemeral ports to itself and chooses
# among them; if the system chooses, it looks through all of them once many are in TIME-WAIT, for a millisecond or more.
#
# A port may be used to several targets at the same time, and from several addresses. So there is a ring for each target
# and source. Of its ports, one is taken that has not been used for PORTS_FORGET_US, by chance (RFC 6056, 3.3.1); if
# there is none, the one that was closed first. PORTS_AGAIN_US after a close it may be used again at the soonest: the
# system itself waits as long before it lets a connection in TIME-WAIT be succeeded by another (tcp_tw_reuse), because
# time stamps must have gone on for an old segment to be told from a new one (RFC 7323, 5; docs/threats.md).
#
# Half of the ports comes first: those that the system gives to nobody before the others are used up. So other programs
# of the machine are served as before.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pcgrelay._core.base.buf cimport Pool
from pcgrelay._core.base.map cimport Map


cdef enum:
    PORTS_ALL = 65536
    PORTS_WORDS = PORTS_ALL / 64
    PORTS_TRIES = 8             # for one connection
    PORTS_ADDRESS = 28          # the largest address of IPv4 and IPv6
    PORTS_AGAIN_US = 1050000    # a second, and a turn: in it the time stands still
    PORTS_FORGET_US = 61000000  # TIME-WAIT is over: 60 s in Linux, and what a tick may add
    PORTS_PAUSE_US = 100000     # for a target, after no port was found
    PORTS_RINGS = 4096          # further targets: the system chooses

cdef extern from *:
    """
    #define PORTS_UNKNOWN UINT64_MAX
    """
    const uint64_t PORTS_UNKNOWN  # in from_us, of a hand-over: nobody knows which ports were just closed

# Which ports a worker may use. Port p belongs to worker (p / 2) mod workers, so each has ports of both halves. Its
# place there is 2 * (p / 2 / workers) + p mod 2, and so an even place is an even port.
cdef struct PortRange:
    uint64_t places[PORTS_WORDS]
    uint32_t first_half         # p mod 2 of the ports that come first

# Places of a half that were closed in the last PORTS_FORGET_US, the first one first: the time << 16, and the place.
cdef struct PortQueue:
    uint64_t* closed            # owned: room of them, a power of two
    uint32_t room
    uint32_t head
    uint32_t count
    uint32_t used               # places in use: there is room for these too

cdef struct PortRing:
    PortRing* next              # all of a worker
    PortRing* same              # another one with the same hash
    uint64_t pause_us           # no port is tried before
    uint64_t used_us            # when it was last
    uint32_t hash
    uint32_t number             # in a hand-over record
    bint unbound                # the system forbids the choice of a port: it chooses
    PortQueue half[2]           # by p mod 2
    uint8_t source[PORTS_ADDRESS]  # zeros: of the target's family, the system's choice
    uint8_t target[PORTS_ADDRESS]
    uint64_t* taken             # owned: places in use, or closed not long ago; NULL: none yet

# Those of one worker.
cdef struct Ports:
    PortRange* range            # owned; NULL: the system chooses
    PortRing* rings             # owned
    PortRing** looked           # the one that ports_tick looks at next
    Map by_hash
    Map by_number               # while a record is read
    uint64_t from_us            # before, the system chooses
    uint32_t count
    uint32_t worker
    uint32_t workers


# A worker's part of the ports that are set in a map of PORTS_ALL bits. NULL: no memory.
cdef PortRange* ports_range(const uint8_t* allowed, uint32_t first_half, uint32_t worker,
                            uint32_t workers) noexcept nogil

# Use these from now on; the range passes. What is in use stays in use.
cdef void ports_set(Ports* self, PortRange* fresh) noexcept nogil

# The ring for a socket address of IPv4 or IPv6, and the address to connect from, or NULL. It is made if it is not there
# and there is a choice of ports, or must be one. NULL: there is none, or no room for it, and the system chooses.
cdef PortRing* ports_ring(Ports* self, Pool* pool, const uint8_t* source, const uint8_t* target, uint64_t now_us,
                          bint must) noexcept nogil

# Whether a port of the ring is to be chosen here.
cdef bint ports_choose(const Ports* self, const PortRing* ring, uint64_t now_us) noexcept nogil

# Take a port: 0 if none may be used now, or there is no memory to note it. chance: any number, for the choice among
# those that are equally good.
cdef uint16_t ports_take(Ports* self, Pool* pool, PortRing* ring, uint64_t now_us, uint64_t chance) noexcept nogil

# A port that was taken is in use no more.
cdef void ports_release(Ports* self, PortRing* ring, uint16_t port, uint64_t now_us) noexcept nogil

# Of a hand-over record: a port is in use, or (used = 0) was closed then; these come in the order of their times. False:
# it was taken already, or belongs to another worker, or there is no memory.
cdef bint ports_restore(Ports* self, Pool* pool, PortRing* ring, uint16_t port, uint64_t closed_us,
                        bint used) noexcept nogil

# A port of a half that was closed not long ago: the first one (at = 0), and so on. 0: there is none further.
cdef uint16_t ports_closed(const Ports* self, const PortRing* ring, uint32_t half, uint32_t at,
                           uint64_t* closed_us) noexcept nogil

# Give each ring a number from 1 on, for a record that is to be written.
cdef void ports_number(Ports* self) noexcept nogil

# Look after one ring, and free it if its ports are free and forgotten.
cdef void ports_tick(Ports* self, Pool* pool, uint64_t now_us) noexcept nogil

cdef void ports_free(Ports* self, Pool* pool) noexcept nogil
