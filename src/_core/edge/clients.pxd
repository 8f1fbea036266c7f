# The clients of one listener of an import of datagrams: whose datagram belongs to which association.
#
# A client is known by its address and port, and by the local address that it asked: the answer must leave from there.
# All of this may be forged. So the hash is keyed with numbers of this process alone, and whatever has room for one
# client more has a bound: when it is reached, the association that was used least recently goes.
from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t

from pcgrelay._core.base.buf cimport Pool
from pcgrelay._core.base.map cimport Map
from pcgrelay._core.stream.service_tables cimport DatagramImport
from pcgrelay._core.stream.stream cimport ASSOCIATION_CLIENT, ASSOCIATION_LOCAL, Association


cdef enum:
    CLIENTS_WORDS = (ASSOCIATION_CLIENT + ASSOCIATION_LOCAL) / 4
    CLIENTS_KEYS = CLIENTS_WORDS + 1
    CLIENTS_SOURCE = 20         # an address with its family
    CLIENTS_IPV4 = 2            # families, as Linux numbers them
    CLIENTS_IPV6 = 10

# What the clients with one address have.
cdef struct ClientSource:
    ClientSource* same          # another one with the same hash
    Association* newest
    Association* oldest
    uint32_t count
    uint32_t hash
    uint8_t address[CLIENTS_SOURCE]

cdef struct Clients:
    Map by_client               # hash -> Association
    Map by_source               # hash -> ClientSource
    Association* newest
    Association* oldest
    uint32_t count
    uint32_t number             # of the import
    uint32_t serial             # the number of the listener on its worker
    uint64_t begun_us           # the budget of new associations, if it is the listener's own
    uint64_t rest_us            # until then none begins, for there were too many new ones
    uint64_t wanted_us          # when a route was asked for last
    uint32_t overflows          # datagrams that the socket had no room for, as the system counts them: so many are told
    uint16_t counts             # of the listener; 0: none
    int fd                      # borrowed from the listener
    uint64_t keys[CLIENTS_KEYS]  # random


cdef void clients_start(Clients* self, uint32_t number, int fd, const uint64_t* keys) noexcept nogil

# Free the tables. All associations must have been removed.
cdef void clients_stop(Clients* self) noexcept nogil

# A client's address as it is looked up: the port and what makes an address differ, and nothing else.
cdef void clients_name(const uint8_t* address, uint8_t* client) noexcept nogil

cdef uint32_t clients_hash(const Clients* self, const uint8_t* client, const uint8_t* local) noexcept nogil

# The association of a client, or NULL.
cdef Association* clients_find(const Clients* self, const uint8_t* client, const uint8_t* local,
                               uint32_t hash) noexcept nogil

# What the clients with the address of this one have, or NULL: nothing.
cdef ClientSource* clients_source(const Clients* self, const uint8_t* client) noexcept nogil

# Add an association, with client, local and hash set. False: no memory, nothing changed.
cdef bint clients_add(Clients* self, Pool* pool, Association* association) noexcept nogil
cdef void clients_remove(Pool* pool, Association* association) noexcept nogil

# Note that it was used just now.
cdef void clients_use(Association* association) noexcept nogil

# Whether the import serves a client with this address.
cdef bint clients_serves(const DatagramImport* terms, const uint8_t* client) noexcept nogil
