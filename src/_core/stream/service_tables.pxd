# The service tables of an edge: one immutable snapshot, published as a whole and replaced by pointer. Each worker holds
# a reference; the last one frees it. Only the reference count ever changes.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pcgrelay._core.base.map cimport Map
from pcgrelay._core.base.stats cimport CAUSE_MARKING, CAUSE_NO_ROUTE, Cause
from pcgrelay._core.stream.meter cimport Meter


cdef enum:
    ROUTE_ADDRESS = 110         # the largest socket address: that of a unix socket
    ROUTE_SOURCE = 28           # the largest of IPv4 and IPv6
    ROUTE_PATH = 107            # bytes of a unix socket's path, without the zero behind it
    ROUTE_TARGETS = 8
    ROUTE_SOURCES = 8
    ROUTE_PREFIXES = 64
    ROUTE_ROUTES = 64
    TABLES_OUTLETS = 4          # of an import: the gateway, and up to three others
    TABLES_SLOTS = 200          # each of a half per cent of its set-ups

cdef enum ImportState:
    IMPORT_DOWN = 0
    IMPORT_UNCLEARED = 1        # down as well: there are ways, and none is cleared for its marking
    IMPORT_PENDING = 2
    IMPORT_LIVE = 3

cdef enum ExportState:
    EXPORT_READY = 1
    EXPORT_DRAIN = 2
    EXPORT_UNRESOLVED = 3

# What an outlet of an import is. The gateway is always outlet 0.
cdef enum OutletKind:
    OUTLET_NONE = 0             # an outlet of an earlier configuration: nothing goes there any more
    OUTLET_GATEWAY = 1
    OUTLET_DIRECT = 2           # plain TCP to an address of another network
    OUTLET_FORBIDDEN = 3        # below the marking of the service: what is open there ends
    OUTLET_ENDED = 4            # its rule has ended, and so does what is open there

cdef struct Target:
    uint8_t address[ROUTE_ADDRESS]
    uint32_t length

# Addresses of this machine to connect from; of each family those that are there are used in turn. None at all: the
# system's choice. None of a target's family: that target is not connected to.
cdef struct Source:
    uint8_t address[ROUTE_SOURCE]
    uint32_t length

cdef struct Sources:
    Source each[ROUTE_SOURCES]
    uint32_t count

# How long an association of a service of datagrams lasts, and how long a datagram waits for its flow.
cdef struct DatagramTerms:
    uint64_t idle_us            # without a datagram either way. 0: it is a service of streams
    uint64_t silent_us          # the same where nothing was ever answered
    uint64_t wait_us

# Addresses of clients.
cdef struct Prefix:
    uint8_t address[16]
    uint16_t family
    uint16_t bits

cdef struct DatagramImport:
    DatagramTerms terms
    uint32_t associations       # at most, on all workers;
    uint32_t of_source          # of these, of one address,
    uint32_t each_second        # and new ones. 0: no limit
    uint32_t prefix_count       # 0: all clients are served
    Prefix prefixes[ROUTE_PREFIXES]

cdef struct Export:
    Export* next                # with the same hash of the name
    Target targets[ROUTE_TARGETS]
    uint32_t target_count
    uint32_t number
    uint32_t marking
    uint32_t rule
    uint32_t state
    uint64_t connect_us
    Sources sources
    DatagramTerms datagrams
    bint tells_caller           # its targets get a header of the PROXY protocol before the first byte
    uint32_t service_length
    uint8_t service[64]

cdef struct Route:
    uint32_t session
    uint32_t precedence         # least first
    uint32_t weight

cdef struct Outlet:
    Target targets[ROUTE_TARGETS]  # of a direct one
    uint32_t target_count
    Sources sources
    OutletKind kind
    uint64_t patience_us        # the time that a set-up has to be answered in before the next outlet is tried

# The ways out of the edge that an import has, if there is more than the gateway.
cdef struct Outlets:
    Outlet outlet[TABLES_OUTLETS]
    uint32_t count
    Meter* meter                # owned: one reference
    uint64_t deadline_us        # for the attempts on all of them together
    uint64_t wait_us            # how long a gateway without a session is waited for
    bint careful                # nothing is sent before ACCEPT, so the socket can be led elsewhere
    bint leads_denied           # a set-up that the exporter's rules deny is led on
    uint8_t slots[TABLES_SLOTS]  # the outlet of each slot: the shares
    uint8_t order[TABLES_OUTLETS]  # what is tried after the chosen one
    uint32_t order_count

cdef struct Import:
    Route routes[ROUTE_ROUTES]
    Outlets* outlets            # owned; NULL: the gateway alone
    DatagramImport* datagrams   # owned; NULL: it is a service of streams
    uint32_t route_count
    uint32_t number
    uint32_t marking
    uint32_t priority
    uint32_t state
    uint32_t service_length
    uint8_t service[64]

cdef struct Tables:
    int references
    Export* exports
    uint32_t export_count
    Import* imports
    uint32_t import_count
    uint64_t* grants            # session << 16 | export, ascending
    uint32_t grant_count
    Map exports_by_name         # hash of the name -> Export
    Map imports_by_number       # number + 1 -> Import


# Make an empty snapshot with room for so many entries, or NULL. The caller fills the arrays and calls tables_index.
cdef Tables* tables_new(uint32_t exports, uint32_t imports, uint32_t grants) noexcept nogil

# Build the lookups once the arrays are full; grants must be ascending. False: no memory.
cdef bint tables_index(Tables* self) noexcept nogil

cdef void tables_hold(Tables* self) noexcept nogil
cdef void tables_drop(Tables* self) noexcept nogil

cdef const Export* tables_export(const Tables* self, const uint8_t* service, uint32_t length) noexcept nogil
# Whether its service is one of datagrams.
cdef inline bint export_is_of_datagrams(const Export* self) noexcept nogil:
    return self.datagrams.idle_us != 0

# Whether an import has no route over the gateway, and nobody waits for one.
cdef inline bint import_is_down(const Import* self) noexcept nogil:
    return self.state <= IMPORT_UNCLEARED

# Why one that is down has none.
cdef inline Cause import_down_cause(const Import* self) noexcept nogil:
    return CAUSE_MARKING if self.state == IMPORT_UNCLEARED else CAUSE_NO_ROUTE

cdef const Import* tables_import(const Tables* self, uint32_t number) noexcept nogil

# The terms of the associations of an import (by its number) or export (by its name). NULL: there are none.
cdef const DatagramTerms* tables_terms(const Tables* self, bint of_import, int number, const uint8_t* service,
                                       uint32_t length) noexcept nogil
cdef bint tables_grants(const Tables* self, uint32_t session, uint32_t export_number) noexcept nogil
