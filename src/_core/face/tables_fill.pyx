"""Tables of the control plane, checked and laid out for the workers."""
from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy, memset

from pcgrelay._core.base.linux cimport AF_INET, AF_INET6, inet_pton
from pcgrelay._core.stream.service_tables cimport (
    ROUTE_ROUTES, ROUTE_TARGETS, Export, Import, Tables, Target, tables_drop, tables_index, tables_new,
)
from pcgrelay._core.base.wire cimport WIRE_SERVICE_MAX, wire_put16

cdef Tables* tables_fill(exports, imports, grants) except NULL:
    cdef uint32_t i
    cdef uint64_t key
    cdef Tables* tables
    pairs = sorted((int(session) << 16) | int(number) for session, numbers in grants for number in numbers)
    tables = tables_new(len(exports), len(imports), len(pairs))
    if tables == NULL:
        raise MemoryError
    try:
        for i, row in enumerate(exports):
            fill_export(&tables.exports[i], row)
        for i, row in enumerate(imports):
            fill_import(&tables.imports[i], row)
        for i, key in enumerate(pairs):
            tables.grants[i] = key
        if not tables_index(tables):
            raise MemoryError
    except BaseException:
        tables_drop(tables)
        raise
    return tables


cdef fill_name(uint8_t* out, uint32_t* length, bytes name):
    if not 1 <= len(name) <= WIRE_SERVICE_MAX:
        raise ValueError(f"a service name has 1 to {WIRE_SERVICE_MAX} bytes")
    memcpy(out, <const char*>name, len(name))
    length[0] = len(name)


cdef fill_export(Export* out, row):
    number, service, marking, rule, state, connect_ms, targets = row
    fill_name(out.service, &out.service_length, service)
    out.number, out.marking, out.rule, out.state = number, marking, rule, state
    out.connect_us = <uint64_t>connect_ms * 1000
    if number > 0xffff or len(targets) > ROUTE_TARGETS:
        raise ValueError(f"an export has a number up to 65,535 and at most {ROUTE_TARGETS} addresses")
    for host, port in targets:
        fill_target(&out.targets[out.target_count], host, port)
        out.target_count += 1


# A socket address as the system lays it out: family in the machine's order, port in the network's.
cdef fill_target(Target* out, str host, uint16_t port):
    cdef bytes text = host.encode()
    memset(out, 0, sizeof(Target))
    wire_put16(out.address + 2, port)
    if ":" in host:
        (<uint16_t*>out.address)[0] = <uint16_t>AF_INET6
        out.length = 28
        if inet_pton(AF_INET6, text, out.address + 8) == 1:
            return
    else:
        (<uint16_t*>out.address)[0] = <uint16_t>AF_INET
        out.length = 16
        if inet_pton(AF_INET, text, out.address + 4) == 1:
            return
    raise ValueError(f"{host!r} is not a numeric address")


cdef fill_import(Import* out, row):
    number, service, marking, priority, state, routes = row
    fill_name(out.service, &out.service_length, service)
    out.number, out.marking, out.priority, out.state = number, marking, priority, state
    if number > 0xffff or len(routes) > ROUTE_ROUTES:
        raise ValueError(f"an import has a number up to 65,535 and at most {ROUTE_ROUTES} routes")
    for session, precedence, weight in routes:
        out.routes[out.route_count].session = session
        out.routes[out.route_count].precedence = precedence
        out.routes[out.route_count].weight = weight
        out.route_count += 1
