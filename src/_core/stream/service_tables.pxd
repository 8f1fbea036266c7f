# The service tables of an edge: one immutable snapshot, published as a whole and replaced by pointer. Each worker holds
# a reference; the last one frees it. Only the reference count ever changes.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pcgrelay._core.base.map cimport Map


cdef enum:
    ROUTE_ADDRESS = 28          # the largest socket address of IPv4 and IPv6
    ROUTE_TARGETS = 8
    ROUTE_ROUTES = 64

cdef enum ImportState:
    IMPORT_DOWN = 0
    IMPORT_PENDING = 1
    IMPORT_LIVE = 2

cdef enum ExportState:
    EXPORT_READY = 1
    EXPORT_DRAIN = 2
    EXPORT_UNRESOLVED = 3

cdef struct Target:
    uint8_t address[ROUTE_ADDRESS]
    uint32_t length

cdef struct Export:
    Export* next                # with the same hash of the name
    Target targets[ROUTE_TARGETS]
    uint32_t target_count
    uint32_t number
    uint32_t marking
    uint32_t rule
    uint32_t state
    uint64_t connect_us
    uint32_t service_length
    uint8_t service[64]

cdef struct Route:
    uint32_t session
    uint32_t precedence         # least first
    uint32_t weight

cdef struct Import:
    Route routes[ROUTE_ROUTES]
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
cdef const Import* tables_import(const Tables* self, uint32_t number) noexcept nogil
cdef bint tables_grants(const Tables* self, uint32_t session, uint32_t export_number) noexcept nogil
