"""What speaks against starting a cut-over at this node, and starting it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from msgspec import structs

from pcgrelay.cutover.objections import Surroundings, refuse_plan, warnings
from pcgrelay.cutover.phases import UNDER_WAY, Event, Phase
from pcgrelay.cutover.plan import Plan, parse_plan
from pcgrelay.cutover.plan_text import changed_lines
from pcgrelay.cutover.requests import Request
from pcgrelay.cutover.state import CutoverState, digest_of
from pcgrelay.errors import ConfigError, PcgrelayError, RuleProblem, RunError
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.cutover import Cutover
from pcgrelay.gateway.cutovers import Requested
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.role import NodeParts
from pcgrelay.model import ServiceName, Transport
from pcgrelay.services.outlet_plan import Away
from pcgrelay.services.outlets import ImportOutlets
from pcgrelay.services.services import Imported


@dataclass(frozen=True, slots=True)
class Started:
    """What came of a start."""

    cutover: Cutover
    requested: Requested


async def start(node: NodeParts, edge: EdgeRole, text: str, file: Path, actor: Actor, *, again: bool) -> Started:
    """Start the cut-over of a plan; PcgrelayError if that is refused, and then nothing has changed."""
    cutovers = edge.cutovers
    if not cutovers.has_home:
        raise ConfigError(
            "A cut-over would not outlast this process, for it has no folder to be kept in; write "
            f'state = "/var/lib/pcgrelay/{node.local.config.node.id.name}" in [node], make that folder '
            "(install -d -m 0700, owned by the node's user), and restart the node."
        )
    plan, source = parse_plan(text, file)
    last = cutovers.get(plan.service)
    if last is not None and last.phase in UNDER_WAY:
        refuse_other_plan(last, text)
        return Started(last, Requested((), 0))
    imported = _imported(edge, plan)
    around = surroundings(node, imported, plan)
    refuse_plan(plan, source, around)
    _refuse_phase(edge, plan, last, again=again)
    if why := edge.drills.why_not_now():
        raise RuleProblem(f"{why[:1].upper()}{why[1:]}.")
    async with node.approvals.acting("start", text, actor):
        cutover = cutovers.begin(plan, _fresh(plan, text, last))
        try:
            requested = await cutovers.request(
                cutover, Request(Event.START, actor.by, actor.reason, is_approved=True), actor
            )
        except PcgrelayError:
            cutovers.forget(plan.service, last)
            raise
    # If its file is ever lost, the configuration decides, and not what somebody set before.
    await edge.outlets.forget_shares(ServiceName.parse(plan.service))
    told = tuple(objection.problem + "." for objection in warnings(plan, around))
    return Started(cutover, _with_warnings(requested, told))


def refuse_other_plan(running: Cutover, text: str) -> None:
    """RuleProblem: another plan than this runs, told with the lines in which they differ."""
    if digest_of(text) == running.state.plan_sha256:
        return
    lines = "\n".join(changed_lines(running.state.plan_text, text))
    raise RuleProblem(
        f"The cut-over of {running.service} is running ({running.phase.value}) by another plan, and a plan is not "
        f"changed while it runs; go back first. This file (+) differs from that plan (-):\n{lines}"
    )


def surroundings(node: NodeParts, imported: Imported | None, plan: Plan) -> Surroundings:
    """What a plan is held against at this node, now."""
    outlets = None if imported is None else imported.outlets
    if imported is None:
        return Surroundings(node.clock.wall(), {}, is_imported=False)
    if outlets is None:
        # It has the gateway alone, so there is nothing to move from.
        return Surroundings(node.clock.wall(), {"gateway": None})
    index = outlets.index_of(plan.new)
    is_there = index is not None and outlets.away(index) is Away.NOT
    of_datagrams = imported.settings.transport is Transport.DATAGRAM
    return Surroundings(node.clock.wall(), support_of(outlets), has_session=is_there, of_datagrams=of_datagrams)


def support_of(outlets: ImportOutlets) -> dict[str, date | None]:
    """Each outlet with the last day of its support; nothing: no end is known."""
    ends: dict[str, date | None] = dict.fromkeys(outlets.all_names)
    for name, direct in outlets.directs.items():
        ends[name] = direct.bearer.supported_until
    return ends


def _imported(edge: EdgeRole, plan: Plan) -> Imported | None:
    return next((each for each in edge.services.imports if str(each.settings.service) == plan.service), None)


def _refuse_phase(edge: EdgeRole, plan: Plan, last: Cutover | None, *, again: bool) -> None:
    """Refuse a start that does not fit what is there."""
    service, is_lost = plan.service, plan.service in edge.cutovers.lost
    if last is None and not is_lost:
        if again:
            raise RunError(f"{service} has no cut-over to start again; leave --again out.")
        return
    if is_lost and not again:
        raise RuleProblem(
            f"The cut-over of {service} is lost: {edge.cutovers.lost[service]} cannot be read. Its streams go by the "
            "configuration; to begin anew, add --again."
        )
    if last is None:
        return
    if last.phase is Phase.RETIRED:
        raise RuleProblem(f"{service} has moved, and {last.plan.old} is retired.")
    if last.phase is Phase.BACK and not again:
        raise RuleProblem(
            f"The cut-over of {service} fell back at {last.state.since}; when the cause is mended, add --again."
        )


def _fresh(plan: Plan, text: str, last: Cutover | None) -> CutoverState:
    """The state to start from: what was counted and decided before stays."""
    if last is None:
        return CutoverState(service=plan.service, plan_text=text, plan_sha256=digest_of(text))
    return structs.replace(last.to_keep(), plan_text=text, plan_sha256=digest_of(text))


def _with_warnings(requested: Requested, told: tuple[str, ...]) -> Requested:
    """The same with more warnings."""
    return Requested(requested.decisions, requested.took_ms, (*requested.warnings, *told))
