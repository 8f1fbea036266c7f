"""Days of quiet and statements of others, as `pcgrelay quiet` shows them."""

from __future__ import annotations

from datetime import date

from msgspec import structs

from pcgrelay.admin.quiet_answers import QuietAnswer, QuietOutlet, QuietStatement, RetireAnswer
from pcgrelay.admin.status import StrayStatus
from pcgrelay.figures import ListenerFigures
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.node import Node
from pcgrelay.model import ServiceName
from pcgrelay.services.listeners import LISTEN, named
from pcgrelay.services.listeners import record_name as listener_record
from pcgrelay.services.outlets import ImportOutlets
from pcgrelay.services.retired import RetiredOutlet
from pcgrelay.services.statements import Statement
from pcgrelay.services.strays import TARGET, record_name
from pcgrelay.views.outlets import who


def quiet_answer(node: Node, edge: EdgeRole, *, noted: bool = False) -> QuietAnswer:
    """Return what is known of all direct outlets, and what others said."""
    outlets = {str(imported.settings.service): found for imported, found in edge.outlets.with_outlets()}
    config = node.config
    known = {*edge.days.known(), *((each.service, each.outlet) for each in edge.retirement.state.outlets)}
    linked = {each.bearer for each in config.links} | {each.bearer for each in config.listens}
    return QuietAnswer(
        node=config.node.id.dotted,
        today=edge.days.today().isoformat(),
        kept=edge.days.has_home,
        outlets=tuple(_outlet(edge, service, name, outlets.get(service)) for service, name in sorted(known)),
        services=tuple(str(entry.service) for entry in config.imports),
        bearers=tuple(sorted(linked | {each.bearer for each in config.directs})),
        linked=tuple(sorted(linked)),
        statements=tuple(map(_statement, edge.statements.state.statements)),
        noted=noted,
    )


def _outlet(edge: EdgeRole, service: str, name: str, outlets: ImportOutlets | None) -> QuietOutlet:
    quiet, records, used = (
        edge.days.quiet(service, name),
        edge.days.records(service, name),
        edge.days.used(service, name),
    )
    direct = None if outlets is None else outlets.directs.get(name)
    used_on = date.fromisoformat(used[:10]) if used else None
    streams = 0
    if outlets is not None and name in outlets.names:
        streams = outlets.meter.use(outlets.names.index(name)).streams
    caller = next(
        (each for each in edge.strays.all() if (str(each.service), record_name(each.caller)) == (service, name)), None
    )
    if caller is not None:
        streams = caller.meter.use(TARGET).streams
    listener, came = _listener(edge, service, name)
    if came is not None:
        streams = max(came.active, 0)
    cutover = edge.cutovers.get(service)
    is_moved = cutover is not None and cutover.plan.old == name
    found = QuietOutlet(
        service=service,
        outlet=name,
        listener=listener,
        bearer="" if direct is None else direct.settings.bearer,
        configured=direct is not None or bool(listener) or (caller is not None and not caller.is_left),
        days=quiet.days,
        since="" if quiet.since is None else quiet.since.isoformat(),
        coverage=quiet.coverage,
        why=quiet.why_not_longer,
        used=used,
        used_connections=sum(record.connections for record in records if record.day == used_on),
        streams=streams,
        records=len(records),
        phase=cutover.phase.value if cutover is not None and is_moved else "",
        quiet_of=cutover.plan.quiet_days if cutover is not None and is_moved else 0,
    )
    retired = edge.retirement.state.find(service, name)
    return found if retired is None else _as_retired(found, retired)


def _listener(edge: EdgeRole, service: str, name: str) -> tuple[str, ListenerFigures | None]:
    """The further listener of an import whose day records have a name: which one it is, and what came there."""
    for imported in edge.services.imports:
        if str(imported.settings.service) == service:
            figures = edge.services.listener_figures(imported)
            for label, address in named(imported.settings):
                if label in figures and label != LISTEN and listener_record(address) == name:
                    return label, figures[label]
    return "", None


def strays_status(edge: EdgeRole, service: ServiceName) -> tuple[StrayStatus, ...]:
    """Return who still comes to an export the old way, by organisation."""
    found = []
    for stray in edge.strays.of(service):
        real, name = stray.meter.figures(TARGET)[0], record_name(stray.caller)
        quiet = edge.days.quiet(service, name)
        found.append(
            StrayStatus(
                organisation=stray.caller,
                streams_active=max(real.active, 0),
                tried_total=real.tried,
                failed_total=real.failed,
                sent_bytes=real.sent_bytes,
                received_bytes=real.received_bytes,
                quiet_days=quiet.days,
                quiet_since="" if quiet.since is None else quiet.since.isoformat(),
                used=edge.days.used(service, name),
            )
        )
    return tuple(found)


def _as_retired(found: QuietOutlet, retired: RetiredOutlet) -> QuietOutlet:
    """What was proven when it was retired, unless something has used it since, which then is no proof."""
    if found.used > retired.used:
        return structs.replace(found, retired=retired.at, retired_by=who(retired.uid, retired.by))
    return structs.replace(
        found,
        bearer=retired.bearer or found.bearer,
        days=max(found.days, retired.days),
        since=retired.since,
        coverage=retired.coverage if found.days <= retired.days else found.coverage,
        why="",
        used=retired.used,
        used_connections=retired.used_connections,
        retired=retired.at,
        retired_by=who(retired.uid, retired.by),
    )


def retire_answer(
    node: Node,
    edge: EdgeRole,
    service: ServiceName,
    outlet: str,
    *,
    changed: bool = False,
    warnings: tuple[str, ...] = (),
) -> RetireAnswer:
    """Return whether an outlet is retired, and what was proven."""
    retired = edge.retirement.state.find(str(service), outlet)
    if retired is None:
        return RetireAnswer(service=str(service), outlet=outlet, node=node.config.node.id.dotted, ready=True)
    return RetireAnswer(
        service=str(service),
        outlet=outlet,
        bearer=retired.bearer,
        node=node.config.node.id.dotted,
        retired=retired.at,
        changed=changed,
        days=retired.days,
        since=retired.since,
        coverage=retired.coverage,
        used=retired.used,
        warnings=warnings,
    )


def _statement(statement: Statement) -> QuietStatement:
    return QuietStatement(
        bearer=statement.bearer,
        observer=statement.observer,
        since=statement.since.isoformat(),
        until=statement.until.isoformat(),
        transferred_bytes=statement.transferred,
        at=statement.at,
        by=who(statement.uid, statement.by),
        reason=statement.reason,
    )
