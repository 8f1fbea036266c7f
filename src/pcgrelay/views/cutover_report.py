"""The facts of a report, from a cut-over and what the node knows of its outlets and of the old network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date

from msgspec import structs

from pcgrelay.config import GATEWAY, Config
from pcgrelay.cutover.plan import Plan
from pcgrelay.cutover.report_facts import (
    AdviceFacts,
    DrillFacts,
    OutletFacts,
    QuietFacts,
    ReportFacts,
    StatementFacts,
    facts_of,
)
from pcgrelay.drills.record import BACKUP, BROKEN, PASSED, DrillRecord
from pcgrelay.gateway.cutover import Cutover
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.node import Node
from pcgrelay.services.retired import RetiredOutlet
from pcgrelay.views.outlets import who


def report_facts(node: Node, edge: EdgeRole, cutover: Cutover) -> ReportFacts:
    """Return what is known now of one cut-over."""
    config, plan = node.config, cutover.plan
    outlets = tuple(_outlets(config, cutover))
    retired = edge.retirement.state.find(plan.service, plan.old)
    if retired is not None:
        # The configuration may have it no more, and its days go on without anybody who looks.
        outlets = tuple(_with_bearer(each, retired) for each in outlets)
    networks = {each.bearer for each in outlets if each.name == plan.old}
    return facts_of(
        cutover.to_keep(),
        written=node.clock.wall().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        node=config.node.id.name,
        organisation=config.node.id.organisation,
        outlets=outlets,
        quiet=_quiet(edge, cutover) if retired is None else _proven(retired),
        statements=tuple(
            StatementFacts(
                bearer=each.bearer,
                observer=each.observer,
                since=each.since,
                until=each.until,
                transferred=each.transferred,
                at=each.at,
                by=who(each.uid, each.by),
            )
            for each in edge.statements.state.statements
            if each.bearer in networks
        ),
        drills=tuple(_drills(plan, edge.drills.records)),
        advice=tuple(
            AdviceFacts(role=each.role, on=each.on, by=who(each.uid, each.by), at=each.at, reason=each.reason)
            for each in cutover.state.advice
        ),
        names=tuple(sorted(set(_names(config)))),
    )


def _outlets(config: Config, cutover: Cutover) -> Iterator[OutletFacts]:
    """The outlets that the plan names, and those that have carried something."""
    plan = cutover.plan
    directs = {each.name: each for each in config.directs if str(each.service) == plan.service}
    for name in dict.fromkeys((plan.new, plan.old, *plan.back, *cutover.state.counts)):
        direct = directs.get(name)
        if direct is None:
            yield OutletFacts(name=name, kind="gateway" if name == GATEWAY else "direct")
            continue
        bearer = config.bearer(direct.bearer)
        yield OutletFacts(
            name=name,
            kind="direct",
            bearer=direct.bearer,
            marking=bearer.marking.value,
            supported_until=bearer.supported_until,
            addresses=(str(direct.target),),
        )


def _quiet(edge: EdgeRole, cutover: Cutover) -> QuietFacts:
    plan = cutover.plan
    quiet = edge.days.quiet(plan.service, plan.old)
    return QuietFacts(
        days=quiet.days,
        since=quiet.since,
        coverage=quiet.coverage,
        last_use=edge.days.used(plan.service, plan.old),
        why_not=edge.cutovers.not_quiet(plan) or "",
    )


def _with_bearer(outlet: OutletFacts, retired: RetiredOutlet) -> OutletFacts:
    return structs.replace(outlet, bearer=retired.bearer) if outlet.name == retired.outlet else outlet


def _proven(retired: RetiredOutlet) -> QuietFacts:
    """What was proven when it was retired."""
    return QuietFacts(
        days=retired.days,
        since=date.fromisoformat(retired.since) if retired.since else None,
        coverage=retired.coverage,
        last_use=retired.used,
    )


def _drills(plan: Plan, records: Iterable[DrillRecord]) -> Iterator[DrillFacts]:
    """The drills that were held of what the plan falls back to. One that could not begin has put nothing to the test.

    The file of one that the node's end cut short does not say which outlet it was of; it is told all the same.
    """
    for record in records:
        backup = next((each for each in record.outlets if each.role == "back-up"), None)
        is_of_plan = record.result == BROKEN if backup is None else backup.name in plan.back
        if record.kind == BACKUP and record.subject == plan.service and record.is_over and is_of_plan:
            yield DrillFacts(
                on=date.fromisoformat(record.begun[:10]),
                kind=record.kind,
                passed=record.result == PASSED,
                lost=sum(each.lost for each in record.outlets),
                sentence=record.sentence,
                id=record.id,
                outlet="" if backup is None else backup.name,
                result=record.result,
                share=record.share,
                lasted_s=record.took_s,
                streams=0 if backup is None else backup.setups,
            )


def _names(config: Config) -> Iterator[str]:
    """What the configuration calls nodes, organisations, networks and hosts."""
    nodes = [config.node.id, *(each.peer for each in config.named_links)]
    nodes += [peer for each in config.discoveries for peer in each.peers]
    yield from (part for each in nodes for part in (each.name, each.organisation))
    services = [each.service for each in config.imports] + [each.service for each in config.exports]
    yield from (each.organisation for each in services)
    yield from (organisation for each in config.exports for organisation in each.allow)
    yield from (each.bearer for each in config.links)
    yield from (each.bearer for each in config.listens)
    yield from (name for each in config.directs for name in (each.name, each.bearer, each.target.host))
    yield from (each.target.host for each in config.exports)
    yield from (each.address.host for each in config.named_links)
    yield from (each.discover for each in config.discoveries)
