"""Ways to an edge as its entries came, and why each but one is not taken (pure but for what it reads of the node)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pcgrelay.admin.answers import WayExplained
from pcgrelay.gateway.facts import LINK_STATES, PRECEDENCES
from pcgrelay.gateway.node import Node
from pcgrelay.model import NodeId
from pcgrelay.routing.catalogue import STATE_DOWN, STATE_DRAIN, STATE_READY
from pcgrelay.session.link import Link

_OFFERS = {STATE_DOWN: "its target does not answer there", STATE_DRAIN: "that edge drains"}


@dataclass(frozen=True, slots=True)
class Way:
    """One way, with all that decides whether it is taken."""

    edge: NodeId
    hops: tuple[str, ...]
    link: Link
    link_state: str
    rtt_ms: float | None
    offer_state: int = STATE_READY
    precedence: int = 2
    weight: int = 100
    session: str = ""  # how the session with that edge is: up, else why there is none
    leads: bool = False  # the session with that edge leads over this link

    @property
    def obstacle(self) -> str:
        """What speaks against the way whatever the others are, or nothing."""
        link = self.link
        if self.offer_state in _OFFERS:
            return _OFFERS[self.offer_state]
        if self.link_state == "draining":
            return "the neighbour drains"
        if self.link_state != "up":
            return f"the link is {self.link_state}"
        if len(link.lanes_up) < link.lanes:
            return f"the link has {len(link.lanes_up)} of {link.lanes} lanes"
        if self.session not in ("", "up"):
            return self.session
        return ""


def ways_to(node: Node, edge: NodeId) -> list[Way]:
    """All ways to an edge that neighbours tell of, shortest first."""
    figures = node.plane.links()
    found = []
    for number, known in node.adverts.catalogue.ways(edge).items():
        link = node.neighbours.links.get(number)
        if link is None:
            continue
        state = LINK_STATES[link.state]
        rtt_us = figures.get(number, {}).get("rtt_us", 0)
        relays = [NodeId.from_uri(uri).dotted for uri in reversed(known.path)]
        found.append(
            Way(
                edge=edge,
                hops=(*relays, edge.dotted),
                link=link,
                link_state="draining" if link.draining and state == "up" else state,
                rtt_ms=rtt_us / 1000 if rtt_us else None,
            )
        )
    return sorted(found, key=lambda way: (len(way.hops), way.link.number))


def chosen_of(ways: Sequence[Way]) -> list[Way]:
    """The ways that new streams take: at each edge of the best precedence that can, the one that its session leads."""
    able = [way for way in ways if not way.obstacle]
    best = min((way.precedence for way in able), default=0)
    taken: dict[NodeId, Way] = {}
    for way in sorted(able, key=lambda way: not way.leads):
        if way.precedence == best:
            taken.setdefault(way.edge, way)
    # A weight of nought is taken only if there is no other.
    heavy = [way for way in taken.values() if way.weight]
    return heavy or list(taken.values())


def explained(ways: Sequence[Way]) -> tuple[WayExplained, ...]:
    """Each way, the chosen ones first, the others with the reason against them."""
    chosen = chosen_of(ways)
    rest = [way for way in ways if not any(way is other for other in chosen)]
    return (*(_shown(way, "") for way in chosen), *(_shown(way, why_not(way, chosen)) for way in rest))


def why_not(way: Way, chosen: Sequence[Way]) -> str:
    """Why a way is not taken although those are."""
    if way.obstacle:
        return way.obstacle
    same = next((other for other in chosen if other.edge == way.edge), None)
    if same is None:
        best = chosen[0]
        if way.precedence > best.precedence:
            return f"a {PRECEDENCES[way.precedence]} edge, and a {PRECEDENCES[best.precedence]} one is there"
        return "its weight is 0, and others are there"
    if len(same.hops) < len(way.hops):
        return f"it is longer: {_relays(way)}, the chosen one has {_relays(same)}"
    if same.leads:
        return f"no better than {same.hops[0]}, which the session leads through"
    return f"no better than {same.hops[0]}"


def with_offer(ways: Iterable[Way], state: int, precedence: int, weight: int) -> list[Way]:
    """The ways with what the edge says of the service."""
    return [replace(way, offer_state=state, precedence=precedence, weight=weight) for way in ways]


def _relays(way: Way) -> str:
    count = len(way.hops) - 1
    return "no relay" if not count else f"{count} relay{'' if count == 1 else 's'}"


def _shown(way: Way, reason: str) -> WayExplained:
    link = way.link
    return WayExplained(
        exporter=way.edge.dotted,
        hops=way.hops,
        chosen=not reason,
        why_not=reason,
        link=way.link_state,
        bearer=link.bearer,
        lanes_up=len(link.lanes_up),
        lanes=link.lanes,
        rtt_ms=way.rtt_ms,
        suite=link.suite.title,
        group=link.group,
    )
