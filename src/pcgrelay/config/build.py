"""From the file's tables to a Config: every text is parsed, and every rule across several keys applied."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pcgrelay.config import schema
from pcgrelay.config.allow import allowed
from pcgrelay.config.assure import assure, service_code
from pcgrelay.config.audit import audit
from pcgrelay.config.callers import callers, refuse_callers
from pcgrelay.config.clearances import clearances, transit
from pcgrelay.config.datagrams import (
    WAIT_MS,
    carried_as,
    export_transport,
    import_transport,
    prefixes,
    rate_bytes,
    refuse_datagram_loops,
)
from pcgrelay.config.drills import drills, refuse_drills
from pcgrelay.config.fields import (
    bearer_name,
    file_path,
    group_number,
    parsed,
    precedence,
    probe_words,
    refuse_same,
    refuse_twice,
    socket_rights,
    sources,
    target_address,
)
from pcgrelay.config.fleet import fleet
from pcgrelay.config.links import link, refuse_links
from pcgrelay.config.outlets import bearers, directs, refuse_outlets
from pcgrelay.config.paper import approvals, paper, policy_paper, refuse_unsigned
from pcgrelay.config.processors import processors
from pcgrelay.config.readers import reader
from pcgrelay.config.settings import (
    Config,
    ExportSettings,
    IdentitySettings,
    ImportSettings,
    Limits,
    ListenSettings,
    LogSettings,
    NodeSettings,
    PolicySettings,
    RealmSettings,
)
from pcgrelay.config.shape import example_for
from pcgrelay.config.source import KeyPath, Source, shown_path
from pcgrelay.config.udp_lanes import refuse_udp_lanes
from pcgrelay.config.values import SOCKET_PATH_LIMIT, Address, memory_bytes
from pcgrelay.model import (
    Marking,
    NodeId,
    Priority,
    Role,
    ServiceName,
    Suite,
    Transport,
    check_dotted,
    check_label,
)

# With less, a worker cannot hold its frames and windows; more is more likely a typing error than intended.
MEMORY_LEAST_BYTES = 16 << 20
MEMORY_MOST_BYTES = 1 << 40
# A key with a lower limit would do little but step; the most is the soft limit of docs/protocol.md, 6.5.
REKEY_LEAST_BYTES = 64 << 10
REKEY_MOST_BYTES = 64 << 30
LANES_MOST = 64
# The limits of a catalogue entry (catalogue.entries). Imports need a port each, and are fewer than numbers.
EXPORTS_MOST = 1_024


def build(source: Source, tables: schema.FileTable) -> Config:
    """Return the whole configuration. ConfigError: the first error in it."""
    node = _node(source, tables.node)
    config = Config(
        path=source.path,
        node=node,
        identity=_identity(source, tables.identity),
        policy=_policy(source, tables.policy),
        listens=tuple(_listen(source, ("listen", i), table) for i, table in enumerate(tables.listen)),
        links=tuple(link(source, ("link", i), table, node.id) for i, table in enumerate(tables.link)),
        exports=tuple(_export(source, ("export", i), table, node.id) for i, table in enumerate(tables.exports)),
        imports=tuple(_import(source, ("import", i), table) for i, table in enumerate(tables.imports)),
        log=LogSettings(level=tables.log.level, access=tables.log.access, format=tables.log.format),
        bearers=bearers(source, tables.bearer),
        directs=directs(source, tables.direct, carried_as(tables.imports)),
        drills=drills(source, tables.drill, node.id.realm),
        callers=callers(source, tables.caller),
        audit=audit(source, tables.audit, node),
        assure=assure(source, tables.assure),
        realm=_realm(source, tables.realm),
        metrics=reader(source, "metrics", tables.metrics, node.id),
        page=reader(source, "page", tables.page, node.id),
        approvals=approvals(source, tables.approvals),
        fleet=fleet(source, tables.fleet),
    )
    _refuse_contradictions(source, config)
    return config


def _node(source: Source, table: schema.NodeTable) -> NodeSettings:
    parsed(source, ("node", "name"), table.name, lambda text: check_label(text, "node name"))
    parsed(source, ("node", "organisation"), table.organisation, lambda text: check_dotted(text, "organisation"))
    parsed(source, ("node", "realm"), table.realm, lambda text: check_dotted(text, "realm"))
    memory = parsed(source, ("node", "memory"), table.memory, memory_bytes)
    if not MEMORY_LEAST_BYTES <= memory <= MEMORY_MOST_BYTES:
        raise source.refusal(("node", "memory"), f"{table.memory} is out of bounds; write 16MiB to 1024GiB")
    workers = table.workers or min(processors(), LANES_MOST)
    return NodeSettings(
        id=NodeId(table.realm, table.organisation, table.name),
        role=Role[table.role.upper()],
        workers=workers,
        lanes=table.lanes or workers,
        workers_by_machine=table.workers == 0,
        lanes_by_machine=table.lanes == 0,
        udp_lanes=table.udp_lanes,
        memory_bytes=memory,
        admin=_admin_path(source, table),
        admin_group=None
        if table.admin_group is None
        else group_number(source, ("node", "admin_group"), table.admin_group),
        state=None if table.state is None else file_path(source, ("node", "state"), table.state),
        inventory=None if table.inventory is None else file_path(source, ("node", "inventory"), table.inventory),
    )


def _admin_path(source: Source, table: schema.NodeTable) -> Path:
    text = table.admin if table.admin is not None else f"/run/pcgrelay/{table.name}.sock"
    path = file_path(source, ("node", "admin"), text.removeprefix("unix:"))
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
        problem = f"the path of a unix socket has at most {SOCKET_PATH_LIMIT} bytes, this has {len(os.fsencode(path))}"
        raise source.refusal(("node", "admin"), f"{problem}; choose a shorter one")
    return path


def _identity(source: Source, table: schema.IdentityTable) -> IdentitySettings:
    return IdentitySettings(
        certificate=file_path(source, ("identity", "certificate"), table.certificate),
        key=file_path(source, ("identity", "key"), table.key),
        trust=file_path(source, ("identity", "trust"), table.trust),
        crl=None if table.crl is None else file_path(source, ("identity", "crl"), table.crl),
    )


def _realm(source: Source, table: schema.RealmTable | None) -> RealmSettings:
    return (
        RealmSettings() if table is None else RealmSettings(bundle=file_path(source, ("realm", "bundle"), table.bundle))
    )


def _policy(source: Source, table: schema.PolicyTable) -> PolicySettings:
    where = ("policy", "suites")
    if not table.suites:
        raise source.refusal(where, f"at least one suite is needed; write for example: {example_for(where)}")
    suites = tuple(parsed(source, (*where, i), text, Suite.from_title) for i, text in enumerate(table.suites))
    refuse_twice(source, "policy", "suites", table.suites)
    for key, patterns in (("members", table.members), ("relays", table.relays or ())):
        for index, pattern in enumerate(patterns):
            parsed(source, ("policy", key, index), pattern, _member_pattern)
        refuse_twice(source, "policy", key, patterns)
    per_source = table.half_open_per_source or max(1, table.half_open_total // 8)
    if per_source > table.half_open_total:
        problem = f"one source may not have more than all together ({table.half_open_total}); lower this or raise that"
        raise source.refusal(("policy", "half_open_per_source"), problem)
    rekey = parsed(source, ("policy", "rekey_bytes"), table.rekey_bytes, memory_bytes)
    if not REKEY_LEAST_BYTES <= rekey <= REKEY_MOST_BYTES:
        raise source.refusal(("policy", "rekey_bytes"), f"{table.rekey_bytes} is out of bounds; write 64KiB to 64GiB")
    if table.renewal_age_s < 2 * table.renewal_interval_s:
        problem = "a renewal that fails must have time for another, so this is at least twice renewal_interval_s"
        raise source.refusal(
            ("policy", "renewal_age_s"), f"{problem} ({table.renewal_interval_s}); raise this or lower that"
        )
    return PolicySettings(
        post_quantum_required=table.post_quantum == "required",
        suites=suites,
        members=table.members,
        relays=table.relays,
        paper=policy_paper(source, table),
        clearances=clearances(source, table.clearances),
        transit=transit(source, table.transit),
        handshake_deadline_ms=table.handshake_deadline_ms,
        half_open_total=table.half_open_total,
        half_open_per_source=per_source,
        rekey_bytes=rekey,
        rekey_frames=table.rekey_frames,
        rekey_s=table.rekey_s,
        renewal_interval_s=table.renewal_interval_s,
        renewal_age_s=table.renewal_age_s,
        path_wait_ms=table.path_wait_ms,
        half_closed_s=table.half_closed_s,
        organisation_streams=table.max_streams_per_organisation,
        organisation_new_per_second=table.new_streams_per_second,
        probe_interval_ms=table.probe_interval_ms,
    )


def _member_pattern(text: str) -> str:
    if text != "*":
        check_dotted(text.removeprefix("*."), "organisation")
    return text


def _listen(source: Source, where: KeyPath, table: schema.ListenTable) -> ListenSettings:
    return ListenSettings(
        address=parsed(source, (*where, "address"), table.address, Address.parse),
        bearer=bearer_name(source, where, table.bearer),
        precedence=precedence(table.precedence),
        weight=table.weight,
        udp_port=table.udp_port or 0,
        paper=paper(source, where, table),
    )


def _export(source: Source, where: KeyPath, table: schema.ExportTable, own: NodeId) -> ExportSettings:
    at = (*where, "service")
    if "@" in table.service:
        problem = f"the organisation is added by itself, so write only the part before the @: {example_for(at)}"
        raise source.refusal(at, problem)
    service = parsed(source, at, table.service, lambda text: ServiceName(text, own.organisation))
    names, terms = allowed(source, where, table.allow)
    if table.proxy is not None and table.also:
        problem = "a caller who comes the old way has no name that a target could be told; remove this line, or also"
        raise source.refusal((*where, "proxy"), problem)
    send, expect = probe_words(source, where, table)
    target = target_address(source, (*where, "target"), table.target)
    transport = export_transport(source, where, table, target)
    probe = table.probe or ("connect" if transport is Transport.STREAM else "none")
    target = target.over(transport)
    return ExportSettings(
        service=service,
        target=target,
        allow=names,
        terms=terms,
        marking=Marking(table.marking),
        connect_timeout_ms=table.connect_timeout_ms,
        precedence=precedence(table.precedence),
        weight=table.weight,
        priority=Priority[table.priority.upper()],
        probe=probe != "none",
        probe_send=send,
        probe_expect=expect,
        probe_interval_ms=table.probe_interval_ms,
        limits=Limits(
            streams=table.max_streams,
            per_organisation=table.max_streams_per_organisation,
            new_per_second=table.new_streams_per_second,
            idle_s=table.idle_timeout_s,
            duration_s=table.max_duration_s,
            rate_bytes=rate_bytes(source, where, table.rate),
        ),
        sources=sources(source, (*where, "source"), table.source, target),
        proxy=table.proxy is not None,
        also=tuple(parsed(source, (*where, "also", i), text, Address.parse) for i, text in enumerate(table.also)),
        wait_ms=_wait_ms(transport, table.wait_ms),
        paper=paper(source, where, table),
    )


def _import(source: Source, where: KeyPath, table: schema.ImportTable) -> ImportSettings:
    listen = parsed(source, (*where, "listen"), table.listen, Address.parse_any)
    also = tuple(parsed(source, (*where, "also", i), text, Address.parse_any) for i, text in enumerate(table.also))
    mode, group = socket_rights(source, where, table, has_socket=any(address.is_unix for address in (listen, *also)))
    places: dict[KeyPath, Address] = {("listen",): listen, **{("also", i): each for i, each in enumerate(also)}}
    transport = import_transport(source, where, table, places)
    return ImportSettings(
        service=parsed(source, (*where, "service"), table.service, ServiceName.parse),
        listen=listen.over(transport),
        priority=None if table.priority is None else Priority[table.priority.upper()],
        limits=Limits(
            streams=table.max_streams,
            per_source=table.max_streams_per_source or 0,
            new_per_second=table.new_streams_per_second,
            idle_s=table.idle_timeout_s,
            duration_s=table.max_duration_s,
            rate_bytes=rate_bytes(source, where, table.rate),
        ),
        mode=mode,
        group=group,
        outlet=table.outlet,
        also=tuple(address.over(transport) for address in also),
        careful=table.careful,
        exercise=table.exercise,
        srv=service_code(source, where, table.srv),
        prefixes=prefixes(source, (*where, "sources"), table.sources),
        wait_ms=_wait_ms(transport, table.wait_ms),
        paper=paper(source, where, table),
    )


def _wait_ms(transport: Transport, written: int | None) -> int:
    """Return what a datagram may wait; a stream has no such limit."""
    return 0 if transport is Transport.STREAM else written or WAIT_MS


def _refuse_contradictions(source: Source, config: Config) -> None:
    """Apply the rules that concern several tables."""
    # With direct outlets it is a plain proxy until the gateway is there.
    if not config.listens and not config.links and not config.directs:
        raise source.refusal((), "there is neither [[listen]] nor [[link]], so nothing can be reached; add one")
    if config.node.role is Role.RELAY and (config.exports or config.imports):
        table = "export" if config.exports else "import"
        problem = 'a relay offers and uses no services; remove this table, or write role = "edge" in [node]'
        raise source.refusal((table, 0), problem)
    if len(config.exports) > EXPORTS_MOST:
        problem = f"an edge exports {EXPORTS_MOST:,} services at most; remove {len(config.exports) - EXPORTS_MOST:,}"
        raise source.refusal(("export", EXPORTS_MOST), problem)
    _refuse_same_listener(source, config)
    refuse_udp_lanes(source, config)
    refuse_links(source, config)
    refuse_same(source, "export", "service", [export.service for export in config.exports], "this service")
    refuse_same(source, "import", "service", [entry.service for entry in config.imports], "this service")
    refuse_same(source, "bearer", "name", [bearer.name for bearer in config.bearers], "this bearer")
    listeners = dict(_listeners(config))
    refuse_outlets(source, config, listeners)
    refuse_datagram_loops(source, config)
    refuse_callers(source, config, listeners)
    refuse_drills(source, config)
    refuse_unsigned(source, config)


def _listeners(config: Config) -> Iterator[tuple[KeyPath, Address]]:
    for index, listen in enumerate(config.listens):
        yield ("listen", index, "address"), listen.address
    for index, export in enumerate(config.exports):
        for place, address in enumerate(export.also):
            yield ("export", index, "also", place), address
    for index, entry in enumerate(config.imports):
        yield ("import", index, "listen"), entry.listen
        for place, address in enumerate(entry.also):
            yield ("import", index, "also", place), address
    for table, each in config.readers.items():
        if each.listen is not None:
            yield (table, "listen"), each.listen


def _refuse_same_listener(source: Source, config: Config) -> None:
    seen: dict[Address, KeyPath] = {}
    first: dict[tuple[int, Transport], Address] = {}  # by port
    wildcards: dict[tuple[int, Transport], Address] = {}
    for where, address in _listeners(config):
        # A wildcard address takes its port on every address. By the kernel's default "::" includes IPv4, so the two
        # families are not distinguished.
        port = (address.port, address.transport)
        others = first if address.is_wildcard else wildcards
        other = address if address in seen else None if address.is_unix else others.get(port)
        if other is not None:
            problem = f"{address} is taken by {shown_path(seen[other])} ({other}); choose another port"
            raise source.refusal(where, problem)
        seen[address] = where
        if address.is_unix and address.host.removesuffix(".next") == os.fspath(config.node.admin):
            raise source.refusal(where, f"{address} is the admin socket of this node; choose another path")
        first.setdefault(port, address)
        if address.is_wildcard:
            wildcards[port] = address
