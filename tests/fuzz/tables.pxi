# Part of fuzzface.pyx: the tables of a world.


cdef void fill_export(Export* out, uint32_t number, const char* name, uint32_t state, uint32_t marking) noexcept nogil:
    out.number = number
    out.service_length = 4
    memcpy(out.service, name, 4)
    out.state = state
    out.marking = marking
    out.connect_us = QUIET
    out.target_count = 2
    # The first address of one of them refuses, so that the second is tried.
    memcpy(out.targets[0].address, target_address, 28)
    out.targets[0].length = target_length
    out.targets[1] = out.targets[0]
    if number == 1:
        out.targets[0].length -= 1
    if number == 6:
        memcpy(out.targets[0].address, datagram_address, 28)
        out.targets[0].length = 16
        out.target_count = 1
        out.datagrams.idle_us = out.datagrams.silent_us = out.datagrams.wait_us = QUIET


cdef void fill_import(Import* out, uint32_t number, uint32_t state, uint32_t routes) noexcept nogil:
    out.number = number
    out.service_length = 4
    memcpy(out.service, <const char*>b"echo", 4)
    out.marking = 1
    out.priority = number % 3
    out.state = state
    out.route_count = routes
    out.routes[0].session = SESSION
    out.routes[0].precedence = 2
    out.routes[0].weight = 100 * (number & 1)


# Few associations, so that they make room for each other.
cdef void fill_datagrams(Import* out) noexcept nogil:
    out.datagrams = <DatagramImport*>calloc(1, sizeof(DatagramImport))
    if out.datagrams == NULL:
        broken(b"no memory")
    out.datagrams.terms.idle_us = out.datagrams.terms.silent_us = out.datagrams.terms.wait_us = QUIET
    out.datagrams.associations = 3
    out.datagrams.of_source = 2


# The gateway, and one that leads to a target of the world.
cdef void fill_outlets(Import* out, const uint8_t* address, uint32_t length) noexcept nogil:
    cdef Outlets* made = <Outlets*>calloc(1, sizeof(Outlets))
    made.meter = meter_new(2, 2)
    if made.meter == NULL:
        broken(b"no memory")
    made.count = 2
    made.outlet[0].kind = OUTLET_GATEWAY
    made.outlet[1].kind = OUTLET_DIRECT
    made.outlet[1].target_count = 1
    memcpy(made.outlet[1].targets[0].address, address, 28)
    made.outlet[1].targets[0].length = length
    made.outlet[0].patience_us = made.outlet[1].patience_us = QUIET
    made.deadline_us = QUIET
    made.careful = True
    made.order[1] = 1
    made.order_count = 2
    out.outlets = made


cdef Tables* make_tables(uint32_t which) noexcept nogil:
    cdef Tables* made = tables_new(7, 4, 6)
    cdef uint32_t i
    fill_export(&made.exports[0], 0, b"echo", EXPORT_READY, 1)
    fill_export(&made.exports[1], 1, b"next", EXPORT_READY, 1)
    fill_export(&made.exports[2], 2, b"away", EXPORT_UNRESOLVED, 1)
    fill_export(&made.exports[3], 3, b"gone", EXPORT_DRAIN, 1)
    fill_export(&made.exports[4], 4, b"high", EXPORT_READY, 3)
    fill_export(&made.exports[5], 5, b"deny", EXPORT_READY, 1)
    fill_export(&made.exports[6], 6, b"udp0", EXPORT_READY, 1)
    fill_import(&made.imports[0], 0, IMPORT_LIVE, 1)
    fill_import(&made.imports[1], 1, IMPORT_PENDING if which == 0 else IMPORT_LIVE, which & 1)
    fill_import(&made.imports[2], 2, IMPORT_UNCLEARED if which == 0 else IMPORT_PENDING, 0)
    fill_import(&made.imports[3], 3, IMPORT_PENDING if which == 0 else IMPORT_LIVE, which & 1)
    fill_datagrams(&made.imports[3])
    if which == 2:
        for i in range(3):
            fill_outlets(&made.imports[i], target_address, target_length)
        fill_outlets(&made.imports[3], datagram_address, 16)
    for i in range(5):
        made.grants[i] = (<uint64_t>SESSION << 16) | i
    made.grants[5] = (<uint64_t>SESSION << 16) | 6
    if not tables_index(made):
        broken(b"no memory")
    return made
