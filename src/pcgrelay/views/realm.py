"""The realm as one node knows it: relays with their edges, edges with their relays, by the catalogue and the own links.

It is what neighbours have told, each relay the ways that are the best for it. An edge that no path leads to is not
here, and neither is a relay without edges that no link of this node leads to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from pcgrelay import __version__
from pcgrelay.admin.realm_answers import EDGES_EACH, RealmAnswer, RealmEdge, RealmRelay
from pcgrelay.catalogue.entries import STATE_DRAIN, ReceivedEntry, entry_relays
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.node import Node
from pcgrelay.identity.handshake import INTEREST
from pcgrelay.link.link import Link, LinkState
from pcgrelay.model import NameProblem, NodeId, Role
from pcgrelay.views.markings import node_marking

HERE = "here"  # in place of a link: this node itself
RELAYS_MOST = 2_000  # of one answer: more than a realm has
_STATES = {LinkState.OPENING: "connecting", LinkState.UP: "up", LinkState.ORPHANED: "connecting"}


@dataclass(slots=True)
class _Sums:
    edges: int = 0
    services: int = 0


def realm_answer(node: Node, organisation: str = "", offset: int = 0) -> RealmAnswer:
    """Return what this node knows of its realm. organisation: of whose edges alone; empty: all.

    offset: how many edges are left out, by their names.
    """
    catalogue, me, reading = node.exchange.catalogue, node.config.node.id, _Reading()
    known = [
        reading.edge(edge, catalogue.ways(edge))
        for edge in catalogue.edges()
        if organisation in ("", edge.organisation)
    ]
    if isinstance(node.role, EdgeRole) and organisation in ("", me.organisation):
        known.append(_own(node))
    known.sort(key=lambda each: _by_organisation(each.edge))
    return RealmAnswer(
        node=me.dotted,
        role=node.config.node.role.title,
        version=__version__,
        marking=node_marking(node),
        interest=_asks_for_a_part(node),
        organisation=organisation,
        relays=_relays(node, known, reading.passed()),
        edges=tuple(known[offset : offset + EDGES_EACH]),
        offset=offset,
        edges_total=len(known),
        services_total=sum(each.services for each in known),
    )


def _asks_for_a_part(node: Node) -> bool:
    """Whether relays tell this edge only what it needs (docs/protocol.md, 9.13)."""
    links = node.link_table.links.values()
    return isinstance(node.role, EdgeRole) and any(
        link.peer_role is Role.RELAY and INTEREST in link.features for link in links
    )


def _by_organisation(dotted: str) -> tuple[str, str]:
    name, _, organisation = dotted.partition(".")
    return organisation, name


def _own(node: Node) -> RealmEdge:
    """This edge, whose entry is in no catalogue of its own."""
    links = node.link_table.links.values()
    return RealmEdge(
        edge=node.config.node.id.dotted,
        relays=tuple(sorted({link.peer.dotted for link in links if link.peer_role is Role.RELAY and link.lanes_up})),
        said=True,
        services=len(node.config.exports),
        draining=node.draining,
    )


class _Reading:
    """One look through the catalogue. A relay of a large realm has 100,000 ways, and nothing is done twice for them."""

    def __init__(self) -> None:
        self._paths: set[tuple[str, ...]] = set()
        self._names: dict[str, str] = {}  # name.organisation by identity; empty: it is none

    def edge(self, edge: NodeId, ways: Mapping[int, ReceivedEntry]) -> RealmEdge:
        """Return what is known of an edge. ways: its entries by link, of which there is one at least."""
        verified = {id(way.verified): way.verified for way in ways.values()}
        newest = max(verified.values(), key=lambda each: each.sequence)
        paths = {way.path for way in ways.values()}
        self._paths |= paths
        said = tuple(filter(None, map(self._name, entry_relays(newest.signed))))
        nearest = () if said else tuple(sorted({self._name(path[0]) for path in paths if path}))
        return RealmEdge(
            edge=edge.dotted,
            relays=said or nearest,
            said=bool(said),
            services=len(newest.offers),
            draining=bool(newest.offers) and all(offer.state == STATE_DRAIN for offer in newest.offers),
            hops=min(map(len, paths)),
        )

    def passed(self) -> set[str]:
        """Return the relays on the paths that were seen."""
        return {self._name(uri) for path in self._paths for uri in path}

    def _name(self, uri: str) -> str:
        if uri not in self._names:
            self._names[uri] = ""
            with suppress(NameProblem):
                self._names[uri] = NodeId.from_uri(uri).dotted
        return self._names[uri]


def _relays(node: Node, edges: Iterable[RealmEdge], passed: set[str]) -> tuple[RealmRelay, ...]:
    sums: dict[str, _Sums] = {}
    for edge in edges:
        for relay in edge.relays:
            each = sums.setdefault(relay, _Sums())
            each.edges += 1
            each.services += edge.services
    links = _links(node.link_table.links.values())
    own = {node.config.node.id.dotted: HERE} if node.config.node.role is Role.RELAY else {}
    found = sorted({*sums, *links, *passed, *own}, key=_by_organisation)
    return tuple(
        RealmRelay(
            relay=dotted,
            link=_state(links[dotted]) if dotted in links else own.get(dotted, ""),
            edges=sums[dotted].edges if dotted in sums else 0,
            services=sums[dotted].services if dotted in sums else 0,
            draining=node.draining if dotted in own else dotted in links and links[dotted].draining,
        )
        for dotted in found[:RELAYS_MOST]
    )


def _links(links: Iterable[Link]) -> dict[str, Link]:
    """The links to relays, by their names; of several that which is up."""
    found: dict[str, Link] = {}
    for link in sorted(links, key=lambda link: link.state is LinkState.UP and not link.draining):
        if link.peer_role is Role.RELAY and link.state in _STATES:
            found[link.peer.dotted] = link
    return found


def _state(link: Link) -> str:
    return "draining" if link.draining and link.state is LinkState.UP else _STATES[link.state]
