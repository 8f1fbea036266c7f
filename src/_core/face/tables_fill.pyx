"""Tables of the control plane, checked and laid out for the workers."""
from libc.stdint cimport uint16_t, uint32_t, uint64_t, uint8_t
from libc.stdlib cimport calloc
from libc.string cimport memcpy, memset

from pcgrelay._core.base.linux cimport AF_INET, AF_INET6, AF_UNIX, inet_pton
from pcgrelay._core.base.wire cimport WIRE_SERVICE_MAX, wire_put16
from pcgrelay._core.face.registry cimport MeterEntry
from pcgrelay._core.stream.meter cimport meter_hold
from pcgrelay._core.stream.service_tables cimport (
    OUTLET_DIRECT, OUTLET_ENDED, ROUTE_PATH, ROUTE_PREFIXES, ROUTE_ROUTES, ROUTE_SOURCE, ROUTE_SOURCES, ROUTE_TARGETS,
    TABLES_OUTLETS, TABLES_SLOTS, DatagramImport, DatagramTerms, Export, Import, Outlet, OutletKind, Outlets, Prefix,
    Sources, Tables, Target, tables_drop, tables_index, tables_new,
)


cdef enum:
    PATIENCE_MOST_MS = 60000
    TERMS_MOST_MS = 0x7fffffff


cdef Tables* tables_fill(exports, imports, grants, dict meters) except NULL:
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
            fill_import(&tables.imports[i], row, meters)
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
    number, service, marking, rule, state, connect_ms, targets, *more = row
    fill_name(out.service, &out.service_length, service)
    out.number, out.marking, out.rule, out.state = number, marking, rule, state
    out.connect_us = <uint64_t>connect_ms * 1000
    if number > 0xffff or len(targets) > ROUTE_TARGETS:
        raise ValueError(f"an export has a number up to 65,535 and at most {ROUTE_TARGETS} addresses")
    for host, port in targets:
        fill_target(&out.targets[out.target_count], host, port)
        out.target_count += 1
    if more:
        sources, out.tells_caller, *last = more
        fill_sources(&out.sources, sources)
        if last and last[0] is not None:
            idle_ms, silent_ms, wait_ms = last[0]
            fill_terms(&out.datagrams, idle_ms, silent_ms, wait_ms)


cdef fill_terms(DatagramTerms* out, uint64_t idle_ms, uint64_t silent_ms, uint64_t wait_ms):
    if not (1 <= idle_ms <= TERMS_MOST_MS and 1 <= silent_ms <= TERMS_MOST_MS and 1 <= wait_ms <= TERMS_MOST_MS):
        raise ValueError(f"the times of associations and datagrams are 1 to {TERMS_MOST_MS} ms")
    out.idle_us, out.silent_us, out.wait_us = idle_ms * 1000, silent_ms * 1000, wait_ms * 1000


cdef fill_datagrams(DatagramImport* out, row):
    idle_ms, silent_ms, wait_ms, out.associations, out.of_source, out.each_second, prefixes = row
    fill_terms(&out.terms, idle_ms, silent_ms, wait_ms)
    if len(prefixes) > ROUTE_PREFIXES:
        raise ValueError(f"an import has at most {ROUTE_PREFIXES} prefixes of clients")
    for host, bits in prefixes:
        fill_prefix(&out.prefixes[out.prefix_count], host, bits)
        out.prefix_count += 1


cdef fill_prefix(Prefix* out, str host, uint32_t bits):
    cdef Target address
    cdef bint is_ipv6 = ":" in host
    fill_target(&address, host, 0)
    if host.startswith("/") or bits > (128 if is_ipv6 else 32):
        raise ValueError(f"{host}/{bits} is no prefix")
    memcpy(out.address, address.address + (8 if is_ipv6 else 4), 16 if is_ipv6 else 4)
    out.family, out.bits = (<uint16_t*>address.address)[0], <uint16_t>bits


cdef fill_sources(Sources* out, hosts):
    cdef Target address
    if hosts is None:
        return
    if len(hosts) > ROUTE_SOURCES:
        raise ValueError(f"there are at most {ROUTE_SOURCES} addresses to connect from")
    for host in hosts:
        fill_target(&address, host, 0)
        if address.length > ROUTE_SOURCE:
            raise ValueError("only a socket of IPv4 or IPv6 has an address to connect from")
        memcpy(out.each[out.count].address, address.address, ROUTE_SOURCE)
        out.each[out.count].length = address.length
        out.count += 1


# The path of a unix socket begins with a slash; its port is not looked at.
cdef fill_path(Target* out, bytes path):
    if len(path) > ROUTE_PATH or 0 in path:
        raise ValueError(f"the path of a unix socket has at most {ROUTE_PATH} bytes and no zero")
    (<uint16_t*>out.address)[0] = <uint16_t>AF_UNIX
    memcpy(out.address + 2, <const char*>path, len(path))
    out.length = 2 + <uint32_t>len(path) + 1


cdef fill_target(Target* out, str host, uint16_t port):
    cdef bytes text = host.encode("utf-8", "surrogateescape")
    memset(out, 0, sizeof(Target))
    if host.startswith("/"):
        fill_path(out, text)
        return
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


# The seventh field, of the outlets, and the eighth, of datagrams, may be absent.
cdef fill_import(Import* out, row, dict meters):
    number, service, marking, priority, state, routes, *more = row
    fill_name(out.service, &out.service_length, service)
    out.number, out.marking, out.priority, out.state = number, marking, priority, state
    if number > 0xffff or len(routes) > ROUTE_ROUTES:
        raise ValueError(f"an import has a number up to 65,535 and at most {ROUTE_ROUTES} routes")
    for session, precedence, weight in routes:
        out.routes[out.route_count].session = session
        out.routes[out.route_count].precedence = precedence
        out.routes[out.route_count].weight = weight
        out.route_count += 1
    if len(more) > 1 and more[1] is not None:
        out.datagrams = <DatagramImport*>calloc(1, sizeof(DatagramImport))
        if out.datagrams == NULL:
            raise MemoryError
        fill_datagrams(out.datagrams, more[1])
    if more and more[0] is not None:
        out.outlets = <Outlets*>calloc(1, sizeof(Outlets))
        if out.outlets == NULL:
            raise MemoryError
        fill_outlets(out.outlets, more[0], meters)


cdef fill_outlets(Outlets* out, row, dict meters):
    cdef MeterEntry entry
    meter, careful, leads_denied, deadline_ms, wait_ms, slots, order, outlets = row
    entry = meters.get(meter)
    if entry is None or entry.meter.outlets < len(outlets) or not 1 <= len(outlets) <= TABLES_OUTLETS:
        raise ValueError(f"an import has 1 to {TABLES_OUTLETS} outlets and a meter that is open for them")
    if len(slots) != TABLES_SLOTS or len(order) > TABLES_OUTLETS or max(slots + order) >= len(outlets):
        raise ValueError(f"outlets have {TABLES_SLOTS} slots and an order, and name no outlet that is not there")
    if not 1 <= deadline_ms <= PATIENCE_MOST_MS or not 0 <= wait_ms <= deadline_ms:
        raise ValueError(f"outlets have a deadline of at most {PATIENCE_MOST_MS} ms, and wait no longer than that")
    out.meter = meter_hold(entry.meter)
    out.careful, out.leads_denied = careful, leads_denied
    out.deadline_us, out.wait_us = <uint64_t>deadline_ms * 1000, <uint64_t>wait_ms * 1000
    memcpy(out.slots, <const char*><bytes>slots, TABLES_SLOTS)
    memcpy(out.order, <const char*><bytes>order, len(order))
    out.order_count = len(order)
    for kind, patience_ms, targets, sources in outlets:
        fill_outlet(&out.outlet[out.count], kind, patience_ms, targets, sources)
        out.count += 1
    if out.outlet[0].kind == OUTLET_DIRECT:
        raise ValueError("the first outlet is the gateway")


cdef fill_outlet(Outlet* out, uint32_t kind, uint32_t patience_ms, targets, sources):
    if kind > OUTLET_ENDED or not 1 <= patience_ms <= PATIENCE_MOST_MS or len(targets) > ROUTE_TARGETS:
        raise ValueError(
            f"an outlet has a kind, a patience of 1 to {PATIENCE_MOST_MS} ms and at most {ROUTE_TARGETS} addresses")
    out.kind, out.patience_us = <OutletKind>kind, <uint64_t>patience_ms * 1000
    for host, port in targets:
        fill_target(&out.targets[out.target_count], host, port)
        out.target_count += 1
    fill_sources(&out.sources, sources)
