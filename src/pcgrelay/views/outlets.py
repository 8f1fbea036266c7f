"""The outlets of imports, as status, explain and `pcgrelay outlet` show them."""

from __future__ import annotations

from collections.abc import Mapping

from pcgrelay.admin.answers import OutletAnswer, OutletExplained
from pcgrelay.admin.status import ListenerStatus, OutletStatus, OutletTimes, StateStatus
from pcgrelay.cutover.histogram import EDGES, OCTAVE_PARTS, from_counts
from pcgrelay.figures import OUTCOMES, OutletFigures
from pcgrelay.gateway.actor import user_name
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.node import Node
from pcgrelay.gateway.outlet_shares import Moved
from pcgrelay.services.imports import ImportState
from pcgrelay.services.listeners import LISTEN, named, record_name
from pcgrelay.services.outlet_plan import Away, Decider, away_words
from pcgrelay.services.outlets import ImportOutlets
from pcgrelay.services.services import Imported
from pcgrelay.state.file import Found
from pcgrelay.views.moments import moment


def outlets_status(node: Node, edge: EdgeRole, imported: Imported) -> tuple[OutletStatus, ...]:
    """Return the outlets of one import, the gateway first; none if that is all it has."""
    outlets = imported.outlets
    if outlets is None:
        return ()
    outlets.meter.look(node.clock.monotonic_ms())
    # One that the configuration has no more is shown as long as something is open there.
    removed = [outlets.name_of(index) for index in outlets.given_up if outlets.meter.figures(index)[0].active > 0]
    return tuple(_outlet(node, edge, imported, outlets, name) for name in [*outlets.all_names, *removed])


def _outlet(node: Node, edge: EdgeRole, imported: Imported, outlets: ImportOutlets, name: str) -> OutletStatus:
    direct, plan = outlets.directs.get(name), outlets.plan
    index = outlets.names.index(name)
    real, shadow = outlets.meter.figures(index)
    away = outlets.away(index)
    problem = edge.outlets.watch.problem(imported, name)
    since = edge.outlets.watch.away_since_ms(imported, name)
    until = None if direct is None else direct.bearer.supported_until
    service = imported.settings.service
    quiet = edge.days.quiet(service, name)
    return OutletStatus(
        name=name,
        kind="gateway" if index == 0 else "direct",
        state=_state(away, problem),
        reason=_away_words(imported, outlets, name, away) or problem,
        share=outlets.share(index) / 100,
        exercised=plan.exercised == index,
        exercise_success_s=edge.outlets.exercises.succeeded_s(imported.number, name),
        next=plan.order.index(index) + 1 if index in plan.order else 0,
        away_since="" if since is None else moment(node, since),
        bearer="" if direct is None else direct.settings.bearer,
        marking="" if direct is None else direct.bearer.marking.value,
        supported_until="" if until is None else until.isoformat(),
        supported=until is None or node.clock.wall().date() <= until,
        streams_active=max(real.active, 0),
        outcomes=_outcomes(real),
        moved_total=real.moved,
        early_total=real.early,
        cut_total=real.cut,
        nudged_total=real.nudged,
        sent_bytes=real.sent_bytes,
        received_bytes=real.received_bytes,
        shadows=_outcomes(shadow),
        quiet_days=quiet.days,
        quiet_since="" if quiet.since is None else quiet.since.isoformat(),
        used=edge.days.used(service, name),
        patience_ms=plan.ways[index].patience_ms if index < len(plan.ways) else 0,
        setup=_times(real.setup_us),
        answer=_times(real.answer_us),
    )


def _away_words(imported: Imported, outlets: ImportOutlets, name: str, away: Away) -> str:
    """Why an outlet takes no stream; of a direct one whose target fails, with the cause."""
    words, direct = away_words(away, is_known=imported.is_known), outlets.directs.get(name)
    failure = direct.target.failure if direct is not None and away in (Away.FAILING, Away.UNRESOLVED) else None
    return f"{words}: {failure.detail}" if failure else words


def _state(away: Away, problem: str) -> str:
    if away in (Away.REMOVED, Away.ENDED, Away.RETIRED):
        return away.value
    if away is Away.MARKING:
        return "forbidden"
    if away is not Away.NOT:
        return "away"
    return "failing" if problem else "ready"


def _outcomes(figures: OutletFigures) -> dict[str, int]:
    return {name: getattr(figures, name) for name in OUTCOMES}


def _times(counts: Mapping[int, int]) -> OutletTimes:
    histogram = from_counts(counts)
    if not histogram.total:
        return OutletTimes()
    sum_us = sum(number * (EDGES[bucket] + EDGES[bucket + 1]) / 2 for bucket, number in histogram.counts)
    ends = range(OCTAVE_PARTS, len(EDGES), OCTAVE_PARTS)
    median, most = histogram.quantile(0.5), histogram.quantile(0.95)
    return OutletTimes(
        count=histogram.total,
        sum_s=round(sum_us / 1e6, 6),
        below=tuple(sum(number for bucket, number in histogram.counts if bucket < end) for end in ends),
        median_ms=None if median is None else round(median / 1000, 3),
        p95_ms=None if most is None else round(most / 1000, 3),
    )


def listeners_status(edge: EdgeRole, imported: Imported) -> tuple[ListenerStatus, ...]:
    """Return what came by each listener of an import that has further ones."""
    service, addresses = imported.settings.service, dict(named(imported.settings))
    found = []
    for name, figures in edge.services.listener_figures(imported).items():
        record = record_name(addresses[name])
        # Everybody comes to the first one.
        quiet = None if name == LISTEN else edge.days.quiet(service, record)
        found.append(
            ListenerStatus(
                name=name,
                connections_total=figures.connections,
                streams_active=figures.active,
                sent_bytes=figures.sent_bytes,
                received_bytes=figures.received_bytes,
                quiet_days=0 if quiet is None else quiet.days,
                quiet_since="" if quiet is None or quiet.since is None else quiet.since.isoformat(),
                used="" if quiet is None else edge.days.used(service, record),
            )
        )
    return tuple(found)


def import_is_served(imported: Imported) -> bool:
    """Return whether an application gets through, as far as this node knows."""
    if imported.outlets is None:
        return imported.plan.state is ImportState.LIVE
    return imported.outlets.plan.is_served


def outlets_explained(imported: Imported) -> tuple[OutletExplained, ...]:
    """Return why each outlet takes new streams or not."""
    outlets = imported.outlets
    if outlets is None:
        return ()
    found = []
    for name in outlets.all_names:
        index = outlets.names.index(name)
        share = outlets.share(index)
        found.append(
            OutletExplained(
                name=name,
                share=share / 100,
                next=outlets.plan.order.index(index) + 1 if index in outlets.plan.order else 0,
                taken=bool(share) and outlets.away(index) is Away.NOT,
                why_not=_why_not(imported, outlets, name, index),
                exercised=outlets.plan.exercised == index,
            )
        )
    return tuple(found)


def _why_not(imported: Imported, outlets: ImportOutlets, name: str, index: int) -> str:
    if words := _away_words(imported, outlets, name, outlets.away(index)):
        return words
    if outlets.share(index):
        return ""
    if index not in outlets.plan.order:  # a direct one
        until = outlets.directs[name].bearer.supported_until
        return f"it has no share, and is no back-up: its network was supported until {until}"
    return "it has no share; a set-up that fails elsewhere is led on to it"


def outlet_answer(node: Node, edge: EdgeRole, imported: Imported, moved: Moved | None = None) -> OutletAnswer:
    """Return how the outlets of an import are, and what a request has changed."""
    known = edge.outlets.shares.state.shares.get(str(imported.settings.service))
    return OutletAnswer(
        service=str(imported.settings.service),
        protocol=imported.settings.transport.title,
        serving=import_is_served(imported) and not node.draining,
        outlets=outlets_status(node, edge, imported),
        configured=imported.settings.outlet,
        decided_by=decided_by(imported),
        why_not_by_hand="" if imported.outlets is None else edge.outlets.why_not_by_hand(imported.settings.service),
        exercise=imported.settings.exercise if decided_by(imported) == Decider.CONFIGURATION.value else 0.0,
        set=known is not None,
        set_at="" if known is None else known.at,
        set_by="" if known is None else who(known.uid, known.by),
        set_reason="" if known is None else known.reason,
        changed=moved is not None and moved.changed,
        before={} if moved is None else dict(moved.before),
        warnings=() if moved is None else moved.warnings,
    )


def decided_by(imported: Imported) -> str:
    """Return who decides the shares of an import's outlets, if it has several."""
    return "" if imported.outlets is None else imported.outlets.plan.decided_by.value


def state_status(edge: EdgeRole) -> StateStatus:
    """Return whether shares outlast the process."""
    shares = edge.outlets.shares
    return StateStatus(
        folder=shares.has_home,
        lost=shares.found is Found.LOST,
        older=shares.found is Found.BEFORE,
        reason=edge.outlets.reason if shares.is_behind else "",
        days_reason=edge.days.reason or edge.retirement.reason,
        retired=tuple(edge.retirement.still_named()),
    )


def who(uid: int, by: str) -> str:
    """Return who asked for something: the user, as the kernel named it, and how they named themselves."""
    user = user_name(uid)
    return f"{user} ({by})" if by else user
