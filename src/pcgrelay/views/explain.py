"""Answers of `pcgrelay explain`: the route that a new stream or path takes, by which rule, and why not another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from msgspec import structs

from pcgrelay.admin.answers import ExplainAnswer, SessionExplained
from pcgrelay.catalogue.entries import Offer
from pcgrelay.config.shape import nearest
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.node import Node
from pcgrelay.gateway.relay import RelayRole
from pcgrelay.health.damping import FlapDamping
from pcgrelay.model import NameProblem, NodeId, Priority, ServiceName, Transport, check_dotted, organisation_matches
from pcgrelay.policy.clearances import LOWEST, NAMES
from pcgrelay.policy.in_force import has_ended
from pcgrelay.policy.rules import MARKING_NUMBERS
from pcgrelay.services.datagrams import datagram_words
from pcgrelay.services.imports import ROUTES_MOST, ImportState, offers_of
from pcgrelay.services.outlet_plan import Away, Decider
from pcgrelay.services.outlets import ImportOutlets
from pcgrelay.services.services import Exported, Imported
from pcgrelay.services.shares import shares_words
from pcgrelay.session.session import Key, Session, State
from pcgrelay.views.explain_caller import caller_explained
from pcgrelay.views.markings import marking_of_offers, shown_marking
from pcgrelay.views.outlets import import_is_served, listeners_status, outlets_explained
from pcgrelay.views.routes import NO_OFFER, RouteOption, chosen_of, edges_explained, explained, ways_to, with_offer
from pcgrelay.views.udp_lanes import datagram_way


def explain(node: Node, subject: str, caller: str = "") -> ExplainAnswer:
    """Explain an import or export of an edge; at a relay, an edge or a service.

    caller: the organisation that would open a stream of an export; empty: anybody.
    """
    role = node.role
    if caller:
        return _for_caller(node, subject, caller)
    if isinstance(role, EdgeRole):
        return _at_edge(node, role, subject)
    assert isinstance(role, RelayRole)
    return _at_relay(node, role, subject)


# -- an edge -----------------------------------------------------------------------------------------------


def _at_edge(node: Node, edge: EdgeRole, subject: str) -> ExplainAnswer:
    for imported in edge.services.imports:
        if str(imported.settings.service) == subject:
            return _import(node, edge, imported, subject)
    for number, exported in enumerate(edge.services.exports):
        if subject in (str(exported.settings.service), exported.settings.service.service):
            return _export(node, edge, number, exported)
    config = node.local.written
    if ended := _ended_import(node, subject):
        return ended
    names = [*(str(entry.service) for entry in config.imports), *(str(entry.service) for entry in config.exports)]
    near = nearest(subject, [*names, *(name.partition("@")[0] for name in names)])
    there = f"the nearest that is: {near}" if near else f"there are: {', '.join(names)}" if names else "there are none"
    return ExplainAnswer(subject=subject, reason=f"{subject} is neither imported nor exported here; {there}.")


def _ended_import(node: Node, subject: str) -> ExplainAnswer | None:
    """Explain an import that is written and whose last day is over."""
    for place, entry in enumerate(node.local.written.imports, 1):
        if str(entry.service) == subject and entry.paper is not None and entry not in node.config.imports:
            verdict = f"Applications are refused: the rule ended {entry.paper.until}."
            rule = f"import[{place}] ({entry.service})"
            return ExplainAnswer(subject=subject, kind="import", verdict=verdict, rule=rule, health="failing")
    return None


def _for_caller(node: Node, subject: str, caller: str) -> ExplainAnswer:
    role = node.role
    if not isinstance(role, EdgeRole):
        reason = "--from asks the edge that exports a service, and this node is a relay; name that edge's file."
        return ExplainAnswer(subject=subject, reason=reason)
    try:
        check_dotted(caller, "organisation")
    except NameProblem as problem:
        return ExplainAnswer(subject=subject, reason=f"{problem}.")
    for number, exported in enumerate(role.services.exports):
        if subject in (str(exported.settings.service), exported.settings.service.service):
            return caller_explained(node, role, number, exported, _export(node, role, number, exported), caller)
    general = _at_edge(node, role, subject)
    if general.reason:
        return general
    reason = f"{subject} is imported here; whether {caller} may use it, only the edge that exports it knows."
    return ExplainAnswer(subject=subject, reason=reason)


def _import(node: Node, edge: EdgeRole, imported: Imported, subject: str) -> ExplainAnswer:
    service = imported.settings.service
    ways: list[RouteOption] = []
    sessions: list[Session] = []
    now = node.clock.monotonic_ms()
    carried = imported.settings.transport
    for exporter, said in _offering(node, service):
        if said.transport != carried:
            continue  # the verdict says so
        offer = structs.replace(said, priority=min(said.priority, imported.priority_most))
        key = Key(exporter, offer.marking, offer.priority)
        mine = edge.sessions.with_key(key)
        sessions += mine
        settling_ms = imported.damping.get(exporter, FlapDamping()).left_ms(now)
        for way in with_offer(node, ways_to(node, exporter, offer.marking), offer):
            with_session = _with_session(edge, way, key, mine)
            if mine and mine[0].number in imported.plan.left_out:
                with_session = replace(with_session, session=f"{ROUTES_MOST} other edges come before it")
            ways.append(replace(with_session, settling_ms=settling_ms))
    chosen = {way.edge for way in chosen_of(ways)}
    heard = (edge.services.far_refusals.of(imported.number, each) for each in chosen)
    refusals = [refusal.words(now) for refusal in heard if refusal is not None]
    is_refused = imported.outlets is None and len(refusals) >= max(1, len(chosen))
    is_open = import_is_served(imported) and not node.draining and not is_refused
    place = [entry.service for entry in node.local.written.imports].index(service)
    rule = f"import[{place + 1}] ({service}); whether this organisation may use it, its owner decides"
    return ExplainAnswer(
        subject=subject,
        kind="import",
        protocol=imported.settings.transport.title,
        datagrams=datagram_words(imported.settings),
        open=is_open,
        verdict=_import_verdict(node, edge, imported, ways, refusals),
        marking=shown_marking(node, imported.marking or LOWEST),
        rule=rule,
        health="ok" if is_open else "failing",
        outlets=outlets_explained(imported),
        listeners=listeners_status(edge, imported),
        edges=edges_explained(ways),
        ways=explained(ways),
        sessions=tuple(_session(node, session, None, carried) for session in sessions),
    )


def _import_verdict(
    node: Node, edge: EdgeRole, imported: Imported, ways: list[RouteOption], refusals: list[str]
) -> str:
    if node.draining:
        return "Applications are refused: this edge drains."
    if imported.outlets is not None:
        return _outlets_verdict(imported, imported.outlets)
    organisation = imported.settings.service.organisation
    if not node.config.policy.realm.has(organisation):
        return f"Applications are refused: the realm's bundle does not name {organisation}."
    failure = edge.import_failure(imported)
    meant = f" Perhaps {failure.nearest} was meant." if failure and failure.nearest else ""
    if imported.plan.state is ImportState.LIVE:
        edges = [way.edge.dotted for way in chosen_of(ways)]
        but = f"; {'; '.join(refusals)}" if refusals else ""
        if refusals and len(refusals) == len(edges):
            return f"Applications are refused: {'; '.join(refusals)}. The next stream asks again."
        if len(edges) == 1:
            return f"A new stream goes to {edges[0]} at once."
        return f"A new stream goes to one of {len(edges)} edges at once, by weight{but}."
    if imported.plan.state is ImportState.PENDING:
        if ways:
            return "A new stream waits for a few seconds: a session is being set up."
        return f"A new stream waits for a few seconds, in which an edge may become known.{meant}"
    why = failure.detail if failure else "no route is usable"
    return f"Applications are refused: {why}.{meant}"


def _outlets_verdict(imported: Imported, outlets: ImportOutlets) -> str:
    if not outlets.plan.is_served:
        return "Applications are refused: no outlet is well."
    dealt = {outlets.name_of(index): share for index, share in enumerate(outlets.plan.shares) if share}
    away = [name for name in dealt if outlets.away(outlets.names.index(name)) is not Away.NOT]
    to = next(iter(dealt)) if len(dealt) == 1 else f"one of {len(dealt)} outlets ({shares_words(dealt)})"
    if outlets.plan.decided_by in (Decider.CUT_OVER, Decider.DRILL):
        to = f"{to}, as a {outlets.plan.decided_by.value} decides"
    if not away:
        return f"A new stream is dealt to {to}."
    well = [outlets.name_of(index) for index in outlets.plan.order if outlets.away(index) is Away.NOT]
    return f"A new stream is dealt to {to}; what is dealt to {' and '.join(away)} is led on to {well[0]} at once."


def _with_session(edge: EdgeRole, way: RouteOption, key: Key, sessions: list[Session]) -> RouteOption:
    if not sessions:
        cause = edge.sessions.causes.get(key, "")
        return replace(way, session=f"no session with that edge yet{f': {cause}' if cause else ''}")
    best = sessions[0]
    state = "up" if best.state is State.UP else f"the session is {best.state.name.lower()}"
    return replace(way, session=state, leads=best.path is not None and best.path.link is way.link)


def _export(node: Node, edge: EdgeRole, number: int, exported: Exported) -> ExplainAnswer:
    settings = exported.settings
    service = settings.service
    allowed = [session for session in edge.sessions if exported.number in edge.tables.granted_to(session)]
    failure = exported.target.failure
    offer = f"{settings.precedence.title}, weight {settings.weight}, priority {settings.priority.title}"
    if settings.paper is not None and has_ended(settings.paper, node.clock.wall()):
        verdict = f"New streams are refused: the rule ended {settings.paper.until}."
        offer = "none, for its rule has ended"
    elif node.draining:
        verdict = "New streams are refused: this edge drains."
    elif refusal := edge.tables.refusal_of(exported):
        verdict = f"New streams are refused: the data plane does not take the target ({refusal})."
    elif failure is not None:
        what = "New streams are refused" if exported.target.is_present else "The service is withdrawn"
        verdict = f"{what}: {failure.detail}."
    elif not exported.target.addresses:
        verdict = "New streams are refused: the name of the target has not been looked up yet."
    elif not settings.allow:
        verdict = "New streams are refused: the rule allows nobody."
    else:
        verdict = f"A new stream of {' or '.join(settings.allow)} is connected to the target."
    return ExplainAnswer(
        subject=str(service),
        kind="export",
        protocol=settings.transport.title,
        datagrams=datagram_words(settings),
        open=verdict.startswith("A new"),
        verdict=verdict,
        marking=shown_marking(node, MARKING_NUMBERS[settings.marking]),
        rule=edge.services.rules[number].text,
        health="failing" if edge.tables.refusal_of(exported) or failure else exported.target.health.value,
        offer=offer,
        sessions=tuple(_session(node, session, session in allowed, settings.transport) for session in edge.sessions),
    )


def _session(node: Node, session: Session, may_open: bool | None, transport: Transport) -> SessionExplained:
    figures, path = node.plane.sessions().get(session.number, {}), session.path
    return SessionExplained(
        peer=session.key.edge.dotted,
        state=session.state.name.lower(),
        via=session.via,
        hops=_hops(node, session),
        suite=session.suite.title if session.suite else "",
        group=session.group,
        marking=session.key.marking,
        priority=Priority(session.key.priority).title,
        flows=session.flows,
        streams=figures.get("streams", 0),
        may_open=may_open,
        datagrams="" if transport is Transport.STREAM or path is None else datagram_way(node, path.link),
    )


def _hops(node: Node, session: Session) -> tuple[str, ...]:
    """Return the hops of a session's path; the initiator knows them from the catalogue, others from the request."""
    path, peer = session.path, session.key.edge
    if path is None:
        return ()
    known = node.exchange.catalogue.ways(peer).get(path.link.number)
    relays = path.via if path.via or known is None or not session.initiator else known.path
    return (*(NodeId.from_uri(uri).dotted for uri in reversed(relays)), peer.dotted)


# -- a relay -----------------------------------------------------------------------------------------------


def _at_relay(node: Node, relay: RelayRole, subject: str) -> ExplainAnswer:
    try:
        if "@" in subject:
            service = ServiceName.parse(subject)
            return _routes(node, relay, subject, "service", service.organisation, _offering(node, service))
        edge = NodeId.from_dotted(subject, node.config.node.id.realm)
    except NameProblem as problem:
        return ExplainAnswer(subject=subject, reason=f"{problem}.")
    return _routes(node, relay, subject, "edge", edge.organisation, [(edge, NO_OFFER)])


def _routes(
    node: Node, relay: RelayRole, subject: str, kind: str, organisation: str, edges: list[tuple[NodeId, Offer]]
) -> ExplainAnswer:
    ways = [way for edge, offer in edges for way in with_offer(node, ways_to(node, edge, offer.marking), offer)]
    pattern = next((each for each in node.config.policy.members if organisation_matches(each, organisation)), None)
    if not node.config.policy.realm.has(organisation):
        pattern = None  # both must admit it
    shown = explained(ways)
    is_open = pattern is not None and not node.draining and any(way.chosen for way in shown)
    if pattern is None:
        verdict = f"New paths are refused: {organisation} is no member here."
    elif node.draining:
        verdict = "New paths are refused: this relay drains."
    elif not ways:
        verdict = "New paths are refused: no neighbour tells of it."
    elif all(way.uncleared for way in ways):
        verdict = f"New paths are refused: no route is cleared for {NAMES[max(way.offer.marking for way in ways)]}."
    else:
        verdict = "A new path takes the chosen route." if is_open else "New paths are refused: no route is usable."
    return ExplainAnswer(
        subject=subject,
        kind=kind,
        open=is_open,
        verdict=verdict,
        marking=shown_marking(node, marking_of_offers(_offers_there(node, edges))),
        rule=f"members: {_members_words(node, organisation, pattern)}",
        health="ok" if is_open else "failing",
        paths=sum(relay.paths.led_to(edge) for edge, _ in edges),
        edges=edges_explained(ways) if kind == "service" else (),
        ways=shown,
    )


def _offers_there(node: Node, edges: list[tuple[NodeId, Offer]]) -> Iterator[Offer]:
    """Yield the offers that are asked about: of an edge all that it announces."""
    for edge, offer in edges:
        newest = node.exchange.catalogue.newest(edge) if offer is NO_OFFER else None
        yield from newest.offers if newest else (offer,)


def _members_words(node: Node, organisation: str, pattern: str | None) -> str:
    if pattern is not None:
        return f"{pattern} takes in {organisation}"
    if not node.config.policy.realm.has(organisation):
        return f"the realm's bundle does not name {organisation}"
    paper = node.local.written.policy.paper
    if paper is not None and has_ended(paper, node.clock.wall()):
        return f"the list ended {paper.until}"
    return f"none takes in {organisation}"


def _offering(node: Node, service: ServiceName) -> list[tuple[NodeId, Offer]]:
    """Return the edges that announce a service, with their offers."""
    found = offers_of(node.exchange.catalogue, [service])[service]
    return sorted(found, key=lambda pair: (pair[1].precedence, pair[0]))
