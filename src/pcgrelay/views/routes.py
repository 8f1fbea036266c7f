"""Routes to an edge according to the catalogue, and why each but one is not chosen (pure but for reading the node)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pcgrelay.admin.answers import EdgeExplained, WayExplained
from pcgrelay.catalogue.entries import STATE_DOWN, STATE_DRAIN, Offer
from pcgrelay.gateway.node import Node
from pcgrelay.link.choice import Candidate, against, choose
from pcgrelay.link.link import Link
from pcgrelay.model import NodeId, Precedence, Priority, Transport
from pcgrelay.views.status import LINK_STATES
from pcgrelay.views.udp_lanes import datagram_way

_OFFERS = {STATE_DOWN: "its target does not answer there", STATE_DRAIN: "that edge drains"}

# For a relay that is asked about an edge, whatever that edge offers.
NO_OFFER = Offer("", 1)


@dataclass(frozen=True, slots=True)
class RouteOption:
    """One route, with everything that decides whether it is chosen."""

    edge: NodeId
    hops: tuple[str, ...]
    link: Link
    link_state: str
    candidate: Candidate
    offer: Offer = NO_OFFER
    session: str = ""  # state of the session with that edge: up, or why there is none
    leads: bool = False  # the session with that edge uses this link
    uncleared: str = ""  # what on it is not cleared for what is to go there
    datagrams: str = ""  # of a service of UDP: which way they take over the first hop, and why
    settling_ms: int = 0  # remaining hold-down of that edge, before its precedence counts

    @property
    def obstacle(self) -> str:
        """The reason against this route that does not depend on the others, or an empty string."""
        link = self.link
        if self.offer.state in _OFFERS:
            return _OFFERS[self.offer.state]
        if self.uncleared:
            return self.uncleared
        if self.link_state == "draining":
            return "the neighbour drains"
        if self.link_state != "up":
            return f"the link is {self.link_state}"
        if len(link.lanes_up) < link.lanes:
            return f"the link has {len(link.lanes_up)} of {link.lanes} lanes"
        if self.session not in ("", "up"):
            return self.session
        return ""

    @property
    def rank(self) -> tuple[bool, int]:
        """Rank of the route's edge; the least is the best."""
        return self.settling_ms > 0, self.offer.precedence


def ways_to(node: Node, edge: NodeId, marking: int) -> list[RouteOption]:
    """Return all routes to an edge that neighbours announce, best first. marking: of what is to go there."""
    found = []
    clearances = node.local.clearances
    for candidate in node.exchange.candidates(edge, lambda link: True, marking):
        link = node.link_table.links[candidate.number]
        state = LINK_STATES[link.state]
        behind = node.exchange.relays_behind(edge, link)
        relays = [NodeId.from_uri(uri).dotted for uri in reversed(behind)]
        obstacle = clearances.obstacle(marking, link.bearer, behind)
        where = f"{link.peer.dotted} over {link.bearer}"
        found.append(
            RouteOption(
                edge=edge,
                hops=(*relays, edge.dotted),
                link=link,
                link_state="draining" if link.draining and state == "up" else state,
                candidate=candidate,
                uncleared="" if obstacle is None else f"{where}: {obstacle.words(marking)}",
            )
        )
    return sorted(found, key=lambda way: (not way.candidate.is_cleared, way.candidate.rank, way.candidate.share))


def chosen_of(ways: Sequence[RouteOption]) -> list[RouteOption]:
    """Return the routes that new streams use: at each usable edge of the best precedence, the one its session uses."""
    able = [way for way in ways if not way.obstacle]
    best = min((way.rank for way in able), default=None)
    taken: dict[NodeId, RouteOption] = {}
    for way in able:
        if way.rank == best and way.edge not in taken:
            taken[way.edge] = _of_edge([each for each in able if each.edge == way.edge])
    # Edges of weight zero are used only if there is no other.
    heavy = [way for way in taken.values() if way.offer.weight]
    return heavy or list(taken.values())


def _of_edge(ways: Sequence[RouteOption]) -> RouteOption:
    """Return one of several routes to one edge: the session's current one, else the best."""
    best = choose(way.candidate for way in ways)
    return next((way for way in ways if way.leads), None) or next(way for way in ways if way.candidate is best)


def explained(ways: Sequence[RouteOption]) -> tuple[WayExplained, ...]:
    """Return each route, the chosen ones first, the others with the reason against them."""
    chosen = chosen_of(ways)
    rest = [way for way in ways if not any(way is other for other in chosen)]
    return (*(_shown(way, "") for way in chosen), *(_shown(way, why_not(way, chosen)) for way in rest))


def why_not(way: RouteOption, chosen: Sequence[RouteOption]) -> str:
    """Return why a route is not chosen while those are."""
    if way.obstacle:
        return way.obstacle
    same = next((other for other in chosen if other.edge == way.edge), None)
    if same is None:
        return why_not_edge(way, chosen[0])
    if way.candidate.rank > same.candidate.rank:
        return against(way.candidate, same.candidate)
    if same.leads and way.candidate.rank[:2] < same.candidate.rank[:2]:
        return f"better than {same.hops[0]}; the session moves here in a moment"
    if same.leads:
        return f"no better than {same.hops[0]}, which the session leads through"
    words = against(way.candidate, same.candidate)
    return f"no better than {same.hops[0]}" if words == "it is no better" else words


def why_not_edge(way: RouteOption, best: RouteOption) -> str:
    """Return why an edge is not chosen while another one is."""
    if way.settling_ms:
        return f"that edge was away, and has to be well for {_seconds(way.settling_ms)} more"
    mine, other = way.offer.precedence, best.offer.precedence
    if mine > other:
        return f"a {Precedence(mine).title} edge, and a {Precedence(other).title} one is there"
    return "its weight is 0, and others are there"


def edges_explained(ways: Sequence[RouteOption]) -> tuple[EdgeExplained, ...]:
    """Return each edge with the service, the chosen ones first, with its share of new streams."""
    chosen = chosen_of(ways)
    total = sum(way.offer.weight for way in chosen)
    found: dict[NodeId, EdgeExplained] = {}
    for way in [*chosen, *ways]:
        is_chosen = any(way is each for each in chosen)
        share = (way.offer.weight / total if total else 1 / len(chosen)) if is_chosen else 0.0
        reason = "" if is_chosen else way.obstacle or (why_not_edge(way, chosen[0]) if chosen else "")
        found.setdefault(
            way.edge,
            EdgeExplained(
                edge=way.edge.dotted,
                precedence=Precedence(way.offer.precedence).title,
                weight=way.offer.weight,
                priority=Priority(way.offer.priority).title,
                share=share,
                why_not=reason,
            ),
        )
    return tuple(found.values())


def with_offer(node: Node, ways: Iterable[RouteOption], offer: Offer) -> list[RouteOption]:
    """Return the routes with what the edge offers of the service."""
    is_udp = offer.transport == Transport.DATAGRAM
    return [replace(way, offer=offer, datagrams=datagram_way(node, way.link) if is_udp else "") for way in ways]


def _seconds(milliseconds: int) -> str:
    return f"{max(1, round(milliseconds / 1000))} s"


def _shown(way: RouteOption, reason: str) -> WayExplained:
    link, candidate = way.link, way.candidate
    return WayExplained(
        exporter=way.edge.dotted,
        hops=way.hops,
        chosen=not reason,
        why_not=reason,
        link=way.link_state,
        health=link.probing.health.value,
        bearer=link.bearer,
        precedence=Precedence(candidate.precedence).title,
        weight=candidate.weight,
        paths=candidate.load,
        lanes_up=len(link.lanes_up),
        lanes=link.lanes,
        rtt_ms=candidate.round_trip_ms,
        loss=link.probing.loss,
        suite=link.suite.title,
        group=link.group,
        datagrams=way.datagrams,
    )
