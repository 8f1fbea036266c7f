"""Shares that somebody sets by hand: what is refused, and in which order they are written and published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pcgrelay.cutover.slots import SharesProblem
from pcgrelay.errors import ConfigError, RuleProblem, RunError, UsageProblem
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.role import NodeParts
from pcgrelay.log.outlet_events import OutletShares
from pcgrelay.model import ServiceName
from pcgrelay.printable import printable
from pcgrelay.services.outlet_plan import Away, away_words
from pcgrelay.services.outlets import ImportOutlets
from pcgrelay.services.services import Imported
from pcgrelay.services.shares import TEXT_MOST, OutletsState, ShareChange, wanted_shares
from pcgrelay.services.tables import IMPORT, Row


@dataclass(frozen=True, slots=True)
class Moved:
    """What came of it."""

    changed: bool
    before: Mapping[str, float]
    warnings: tuple[str, ...] = ()


def find_import(edge: EdgeRole, subject: str) -> Imported:
    """Return the import with that name, or with that service name if only one has it. RunError: there is none."""
    imports = edge.services.imports
    found = [each for each in imports if subject in (str(each.settings.service), each.settings.service.service)]
    exact = [each for each in found if str(each.settings.service) == subject]
    if len(exact or found) == 1:
        return (exact or found)[0]
    names = ", ".join(str(each.settings.service) for each in found or imports)
    if found:
        raise RunError(f"{subject} may be one of several; write its whole name: {names}.")
    raise RunError(f"{subject} is not imported here; there {f'are: {names}' if names else 'are no imports'}.")


async def move_shares(node: NodeParts, edge: EdgeRole, subject: str, words: Sequence[str], actor: Actor) -> Moved:
    """Deal the new streams of an import by other shares from now on; PcgrelayError if that is refused."""
    imported = find_import(edge, subject)
    service, outlets = imported.settings.service, imported.outlets
    if outlets is None:
        raise RunError(f"{service} has one outlet, the gateway; add a [[direct]] of it and reload.")
    try:
        after = wanted_shares(words, outlets.all_names)
    except SharesProblem as problem:
        raise UsageProblem(f"{service}: {problem}.") from None
    _refuse_forbidden(service, outlets, after)
    if refusal := edge.outlets.why_not_by_hand(service):
        raise RuleProblem(refusal)
    shares = edge.outlets.shares
    if not shares.has_home:
        raise ConfigError(
            "Shares would not outlast this process, for it has no folder to keep them in; write "
            f'state = "/var/lib/pcgrelay/{node.local.config.node.id.name}" in [node], make that folder '
            "(install -d -m 0700, owned by the node's user), and restart the node."
        )
    before = edge.outlets.wanted(imported, outlets).shares
    known = shares.state.shares.get(str(service))
    if known is not None and known.shares == after and not shares.is_behind:
        return Moved(False, before, _warnings(imported, outlets, after))
    change = ShareChange(
        service=str(service),
        before=dict(before),
        shares=after,
        at=node.clock.wall().strftime("%Y-%m-%dT%H:%M:%SZ"),
        uid=actor.uid,
        by=printable(actor.by)[:TEXT_MOST],
        reason=printable(actor.reason)[:TEXT_MOST],
    )
    configured = imported.settings.outlet
    is_forward = after.get(configured, 0.0) < before.get(configured, 0.0)
    if any(after.get(name, 0.0) > before.get(name, 0.0) for name in after if name != configured):
        words = ", ".join(f"{name} {share:g} %" for name, share in sorted(after.items()))
        async with node.approvals.acting("outlet", f"{service}: {words}", actor):
            unwritten = await _take(edge, imported, change, is_forward=is_forward)
    else:
        unwritten = await _take(edge, imported, change, is_forward=is_forward)
    node.emit(
        OutletShares(
            service=str(service),
            before=dict(before),
            after=after,
            uid=actor.uid,
            by=change.by,
            reason=change.reason,
            written=not unwritten,
        )
    )
    warnings = _warnings(imported, outlets, after)
    if unwritten:
        warnings = (f"It holds, and is not written ({unwritten.rstrip('.')}): a restart now would undo it.", *warnings)
    return Moved(True, before, warnings)


async def _take(edge: EdgeRole, imported: Imported, change: ShareChange, *, is_forward: bool) -> str:
    """Write and publish a change in the order of its direction; answers why it is not written."""
    shares = edge.outlets.shares
    last = shares.state
    if is_forward:
        # If this raises, nothing has changed.
        await edge.outlets.write(shares.state.with_change(change))
    # Meanwhile a marking may have been noted.
    shares.state = shares.state.with_change(change)
    if refusal := _published(edge, imported):
        shares.state = _without(shares.state, last)
        edge.tables.publisher.attempt()
        await edge.outlets.write_held()
        raise RunError(f"The data plane does not take these shares ({refusal}); all is as it was.")
    return await edge.outlets.write_held() if shares.is_behind else ""


def _published(edge: EdgeRole, imported: Imported) -> str:
    """Give the core the tables at once; answers why it did not take this import, or nothing."""
    publisher = edge.tables.publisher
    publisher.attempt()
    row = Row(IMPORT, imported.number, imported.settings.service.service.encode())
    return publisher.reason if publisher.has_failed else publisher.left_out.get(row, "")


def _without(state: OutletsState, last: OutletsState) -> OutletsState:
    return OutletsState(shares=last.shares, markings=state.markings, changes=last.changes)


def _refuse_forbidden(service: ServiceName, outlets: ImportOutlets, after: Mapping[str, float]) -> None:
    for name, direct in outlets.directs.items():
        if after[name] and outlets.away(direct.index) is Away.RETIRED:
            raise RuleProblem(f"{name} of {service} is retired, and takes no stream any more; give it no share.")
        if after[name] and outlets.away(direct.index) is Away.MARKING:
            raise RuleProblem(
                f"{service} may not go over {name}: that network is for {direct.bearer.marking.value}, and the service "
                f"is marked higher; give {name} no share."
            )


def _warnings(imported: Imported, outlets: ImportOutlets, after: Mapping[str, float]) -> tuple[str, ...]:
    """Return what whoever asked should know of outlets that streams are dealt to now."""
    found = []
    plan = outlets.plan
    well = [outlets.name_of(index) for index in plan.order if outlets.away(index) is Away.NOT]
    for name in [name for name, share in after.items() if share]:
        index = outlets.index_of(name)
        away = Away.NOT if index is None else outlets.away(index)
        if away is not Away.NOT:
            others = [each for each in well if each != name]
            led = f"until it is back its streams are led on to {others[0]}" if others else "no other outlet is well"
            found.append(f"{name} is away ({away_words(away, is_known=imported.is_known)}); {led}.")
        if name in outlets.directs and index not in plan.order:
            until = outlets.directs[name].bearer.supported_until
            found.append(f"The network of {name} is not supported any more (its last day was {until}).")
    return tuple(found)
