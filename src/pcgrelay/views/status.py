"""The status of a node, built on request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from msgspec import structs

from pcgrelay import __version__
from pcgrelay.admin.condition import condition_of, troubles
from pcgrelay.admin.discovery import DiscoveryStatus
from pcgrelay.admin.status import (
    DrillsStatus,
    LinkStatus,
    LogStatus,
    MemoryStatus,
    NodeStatus,
    RouteStatus,
    ServiceStatus,
    SessionStatus,
    StateStatus,
    Status,
    StreamStatus,
    TablesStatus,
    WorkerStatus,
)
from pcgrelay.config import LinkSettings
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.link_totals import Place
from pcgrelay.gateway.node import Node
from pcgrelay.health.state import Health
from pcgrelay.link.link import Link, LinkState
from pcgrelay.model import Precedence, Priority
from pcgrelay.services.counts import ServiceCounts
from pcgrelay.services.imports import Exporter, ImportState
from pcgrelay.services.services import Exported, Imported, key_of
from pcgrelay.services.tables import IMPORT, Row
from pcgrelay.session.session import State
from pcgrelay.views.audit import audit_status
from pcgrelay.views.cutover import cutover_lines
from pcgrelay.views.drills import drills_status
from pcgrelay.views.fleet import fleet_status
from pcgrelay.views.markings import clearances_status, link_cleared, node_marking
from pcgrelay.views.moments import moment
from pcgrelay.views.organisations import organisations_status
from pcgrelay.views.outlets import decided_by, import_is_served, listeners_status, outlets_status, state_status
from pcgrelay.views.quiet import strays_status
from pcgrelay.views.udp_lanes import udp_lanes_of

LINK_STATES = {
    LinkState.OPENING: "connecting",
    LinkState.UP: "up",
    LinkState.ORPHANED: "connecting",
    LinkState.CLOSED: "down",
}
_IMPORT_STATES = {ImportState.LIVE: "ready", ImportState.PENDING: "waiting", ImportState.DOWN: "down"}
_ROUTE_STATES = {State.UP: "ready", State.STALLED: "away"}


def node_status(node: Node) -> Status:
    """Return the current status of a node."""
    config, memory, role, refusals = node.config, node.plane.memory(), node.role, node.refused.total()
    status = Status(
        node=NodeStatus(
            identity=config.node.id.uri,
            role=config.node.role.title,
            uptime_s=(node.clock.monotonic_ms() - node.started_ms) / 1000,
            version=__version__,
            draining=node.draining,
            stands_back=node.stands_back,
        ),
        marking=node_marking(node),
        clearances=clearances_status(node, refusals),
        links=_links(node),
        discoveries=_discoveries(node),
        sessions=_sessions(node, role) if isinstance(role, EdgeRole) else (),
        services=_services(node, role) if isinstance(role, EdgeRole) else (),
        organisations=organisations_status(role.services.traffic.rows.items()) if isinstance(role, EdgeRole) else (),
        streams=_streams(node, role) if isinstance(role, EdgeRole) else StreamStatus(),
        memory=MemoryStatus(
            used_bytes=memory.get("used_bytes", 0),
            budget_bytes=memory.get("budget_bytes", 0),
            high_water_bytes=memory.get("high_water_bytes", 0),
        ),
        workers=tuple(WorkerStatus(index=index, **figures) for index, figures in enumerate(node.plane.per_worker())),
        log=LogStatus(lost_total=node.log.lost_total, failing=node.log.is_failing),
        audit=audit_status(node),
        configuration=node.configuration,
        fleet=fleet_status(node),
        twins=tuple(peer.dotted for peer in node.twins.all),
        tables=TablesStatus(successful=not role.unserved(), reason=role.unserved()),
        approvals=structs.replace(node.approvals.status(), waiting=node.waiting.found),
        state=state_status(role) if isinstance(role, EdgeRole) else StateStatus(),
        cutovers=cutover_lines(node, role) if isinstance(role, EdgeRole) else (),
        drills=drills_status(role.drills, node.clock.wall()) if isinstance(role, EdgeRole) else DrillsStatus(),
        clocks=node.clocks.status(),
        credentials=structs.replace(node.ageing.status(), lists=node.lists.status()),
        bundle=node.bundles.status(),
        rules=node.rule_ends.status(),
        refusals=refusals,
    )
    return structs.replace(status, condition=condition_of(status, troubles(status)).value)


def _links(node: Node) -> tuple[LinkStatus, ...]:
    figures = node.plane.links()
    now_ms = node.clock.monotonic_ms()
    found = [_link(node, link, figures.get(link.number, {}), now_ms) for link in node.link_table.links.values()]
    for wanted in node.link_table.dialler.wanted:
        if wanted.link is None or wanted.link.state is LinkState.CLOSED:
            found.append(
                LinkStatus(
                    peer=wanted.peer.dotted if wanted.peer is not None else "",
                    discover=wanted.discover,
                    bearer=wanted.settings.bearer,
                    direction="out",
                    address=str(wanted.settings.address),
                    state="down" if wanted.attempts > 1 else "connecting",
                    precedence=wanted.settings.precedence.title,
                    weight=wanted.settings.weight,
                    reason=wanted.reason,
                )
            )
    for (peer, bearer, address), since_ms in node.watch.away.items():
        since = moment(node, since_ms)
        found.append(
            LinkStatus(peer=peer.dotted, bearer=bearer, direction="in", address=address, state="away", away_since=since)
        )
    return numbered(sorted(found, key=_place), node.link_totals.ended)


def _discoveries(node: Node) -> tuple[DiscoveryStatus, ...]:
    return tuple(
        DiscoveryStatus(
            discover=each.settings.discover,
            bearer=each.settings.bearer,
            wanted=each.settings.links,
            up=each.up,
            relays=len(each.relays),
            answered=each.answered,
            absent=each.is_absent,
        )
        for each in node.link_table.dialler.discoveries
    )


def _place(link: LinkStatus) -> Place:
    return link.peer, link.bearer, link.direction, link.address


def numbered(
    links: Iterable[LinkStatus], ended: Callable[[Place], tuple[int, int]] = lambda place: (0, 0)
) -> tuple[LinkStatus, ...]:
    """Return the links, numbered where several are alike, so that each has metrics of its own.

    ended: what links that have ended have sent and received at a place; the first link there has it in its totals.
    """
    seen: Counter[Place] = Counter()
    found = []
    for link in links:
        place = _place(link)
        seen[place] += 1
        sent, received = ended(place) if seen[place] == 1 else (0, 0)
        found.append(
            structs.replace(
                link,
                nth=seen[place],
                sent_total_bytes=link.sent_bytes + sent,
                received_total_bytes=link.received_bytes + received,
            )
        )
    return tuple(found)


def _link(node: Node, link: Link, figures: dict[str, int], now_ms: int) -> LinkStatus:
    rtt_us = figures.get("rtt_us", 0)
    state = LINK_STATES[link.state]
    settings, probing = link.standing.settings, link.probing
    return LinkStatus(
        peer=link.peer.dotted,
        bearer=link.bearer,
        direction="out" if link.dialled else "in",
        address=str(settings.address),
        state="draining" if link.replaced or (link.draining and state == "up") else state,
        suite=link.suite.title,
        group=link.group,
        lanes_up=len(link.lanes_up),
        lanes=link.lanes,
        rtt_ms=rtt_us / 1000 if rtt_us else None,
        health=probing.health.value,
        loss=probing.loss,
        silent_ms=probing.silent_ms,
        steady=link.is_steady,
        precedence=settings.precedence.title,
        weight=settings.weight,
        paths=node.role.paths.count_over(link),
        cleared=link_cleared(node, link),
        sent_bytes=figures.get("sent_bytes", 0),
        received_bytes=figures.get("received_bytes", 0),
        discover=settings.discover if isinstance(settings, LinkSettings) else "",
        reason="replaced" if link.replaced else "control_lost" if link.state is LinkState.ORPHANED else "",
        generation=link.generation,
        authenticated_s=link.schedule.age_ms(now_ms) / 1000,
        until=_until(link),
        udp=udp_lanes_of(node, link),
    )


def _until(link: Link) -> str:
    end = min((certificate.not_valid_after_utc for certificate in link.chain), default=None)
    return "" if end is None else f"{end:%Y-%m-%dT%H:%M:%SZ}"


def _sessions(node: Node, edge: EdgeRole) -> tuple[SessionStatus, ...]:
    figures, now_ms = node.plane.sessions(), node.clock.monotonic_ms()
    found = []
    for session in sorted(edge.sessions, key=lambda session: (session.key, session.number)):
        if session.suite is None or session.schedule is None:
            continue
        own = figures.get(session.number, {})
        found.append(
            SessionStatus(
                peer=session.key.edge.dotted,
                via=session.via,
                direction="out" if session.initiator else "in",
                state=session.state.name.lower(),
                marking=session.key.marking,
                suite=session.suite.title,
                group=session.group,
                flows=session.flows,
                streams_active=own.get("streams", 0),
                sent_bytes=own.get("sent_bytes", 0),
                received_bytes=own.get("received_bytes", 0),
                generation=session.generation,
                authenticated_s=session.schedule.age_ms(now_ms) / 1000,
                bearers=tuple(dict.fromkeys(path.link.bearer for path in session.paths)),
                relays=tuple(dict.fromkeys(relay for path in session.paths for relay in path.relays)),
            )
        )
    return tuple(found)


def _services(node: Node, edge: EdgeRole) -> tuple[ServiceStatus, ...]:
    found = []
    services, active, far = edge.services, node.plane.services(), _FarEdges(node, edge)
    for exported in services.exports:
        stream_counts = services.stream_counts.exports.get(exported.number, ServiceCounts())
        refusal = edge.tables.refusal_of(exported)
        is_down = bool(refusal) or exported.target.health is Health.FAILING or exported.target.failure is not None
        found.append(
            ServiceStatus(
                name=str(exported.settings.service),
                direction="export",
                state="draining" if node.draining else "down" if is_down else "ready",
                health=Health.FAILING.value if is_down else exported.target.health.value,
                present=not is_down,
                reason=f"the data plane does not take its target: {refusal}" if refusal else _target_words(exported),
                streams_active=active["exports"].get(exported.number, 0),
                opened_total=stream_counts.opened_total,
                refused_total=stream_counts.refused_total,
                protocol=exported.settings.transport.title,
                **_datagrams(stream_counts),
                strays=strays_status(edge, exported.settings.service),
            )
        )
    for imported in services.imports:
        stream_counts = services.stream_counts.imports.get(imported.number, ServiceCounts())
        row = Row(IMPORT, imported.number, imported.settings.service.service.encode())
        refusal = imported.refusal or edge.tables.publisher.left_out.get(row, "")
        routes = (
            *(_route(edge, imported, exporter, far) for exporter in imported.exporters),
            *_missed(node, edge, imported),
        )
        is_live, outlets = import_is_served(imported), outlets_status(node, edge, imported)
        state, reason = "ready" if is_live else _IMPORT_STATES[imported.plan.state], ""
        if refusal:
            state, reason = "down", f"the data plane does not take it: {refusal}"
        elif is_live and not outlets and (refused := refused_by_all(routes)):
            state, reason = "refused", refused
        elif not is_live and not outlets and (failure := edge.import_failure(imported)):
            reason = failure.detail
        if node.draining:
            state = "draining"
        found.append(
            ServiceStatus(
                name=str(imported.settings.service),
                direction="import",
                state=state,
                health="ok" if state in ("ready", "draining") and is_live else "failing",
                present=imported.is_open,
                reason=reason,
                routes=routes,
                outlets=outlets,
                decided_by=decided_by(imported),
                listeners=listeners_status(edge, imported),
                streams_active=active["imports"].get(imported.number, 0),
                opened_total=stream_counts.opened_total,
                refused_total=stream_counts.refused_total,
                protocol=imported.settings.transport.title,
                **_datagrams(stream_counts),
            )
        )
    return tuple(found)


def _datagrams(counts: ServiceCounts) -> dict[str, Any]:
    """Return the figures of associations that have ended; those of streams are zeros."""
    return {
        "sent_datagrams": counts.sent_datagrams,
        "received_datagrams": counts.received_datagrams,
        "dropped": dict(counts.dropped),
    }


def _target_words(exported: Exported) -> str:
    failure = exported.target.failure
    return failure.detail if failure else ""


def _missed(node: Node, edge: EdgeRole, imported: Imported) -> Iterable[RouteStatus]:
    """Return routes to edges that offered the service and are gone."""
    there = {exporter.edge for exporter in imported.exporters}
    for exporter, since_ms in edge.import_watch.away(imported.settings.service).items():
        if exporter not in there:
            since = moment(node, since_ms)
            yield RouteStatus(
                via="", exporter=exporter.dotted, precedence="", state="away", well=False, away_since=since
            )


def refused_by_all(routes: Iterable[RouteStatus]) -> str:
    """Return the last refusal, if every exporter with a usable route has refused its last stream."""
    able = [route for route in routes if route.state in ("ready", "settling", "refused")]
    return able[0].reason if able and all(route.state == "refused" for route in able) else ""


class _FarEdges:
    """What is known of far edges, asked once for each in a status: a thousand imports may come from a few of them."""

    def __init__(self, node: Node, edge: EdgeRole) -> None:
        self.now_ms = node.clock.monotonic_ms()
        self.sessions = cache(edge.sessions.with_key)
        self.link = cache(lambda far, marking: node.exchange.route(far, lambda link: True, marking))
        self.is_well = cache(lambda far: bool(node.exchange.candidates(far, lambda link: link.is_well)))


def _route(edge: EdgeRole, imported: Imported, exporter: Exporter, far: _FarEdges) -> RouteStatus:
    sessions, link = far.sessions(key_of(exporter)), far.link(exporter.edge, exporter.marking)
    via = sessions[0].via if sessions and sessions[0].via else link.peer.dotted if link else ""
    state = _ROUTE_STATES.get(sessions[0].state, "session") if sessions else "session" if link else "away"
    if state == "ready" and not imported.is_steady(exporter.edge, far.now_ms):
        state = "settling"
    refusal = edge.services.far_refusals.of(imported.number, exporter.edge)
    if refusal is not None and state in ("ready", "settling"):
        state = "refused"
    return RouteStatus(
        via=via,
        exporter=exporter.edge.dotted,
        precedence=Precedence(exporter.precedence).title,
        weight=exporter.weight,
        priority=Priority(exporter.priority).title,
        state=state,
        reason=refusal.words(far.now_ms) if refusal is not None and state == "refused" else "",
        well=far.is_well(exporter.edge),
    )


def _streams(node: Node, edge: EdgeRole) -> StreamStatus:
    stream_counts = edge.services.stream_counts
    return StreamStatus(
        active=node.plane.streams(),
        opened_total=stream_counts.opened_total,
        closed_total=dict(stream_counts.closed_total),
    )
