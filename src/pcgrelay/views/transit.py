"""What a relay forwards between networks, and what it would forward if it were asked: for those who gather evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice

from pcgrelay.admin.assure_answers import LedAcross, PathsAcross, TransitAnswer
from pcgrelay.gateway.node import Node
from pcgrelay.gateway.relay import RelayRole
from pcgrelay.link.link import Link, LinkState
from pcgrelay.model import NodeId

ROWS_MOST = 256
# Each is one choice of a link, some microseconds of the control plane.
ASKED_MOST = 1_024
LINKS_OF_A_BEARER_MOST = 8


def transit_answer(node: Node) -> TransitAnswer:
    """Return what is forwarded now, and what would be. An edge forwards nothing."""
    role = node.role
    if not isinstance(role, RelayRole):
        return TransitAnswer(forwards=False)
    counts = Counter(
        (each.a.bearer, each.b.bearer, each.marking, _relays(node, each.via, each.destination, each.b))
        for each in role.paths.standing()
    )
    rows = tuple(
        PathsAcross(came=came, goes=goes, marking=marking, relays=relays, count=count)
        for (came, goes, marking, relays), count in counts.most_common(ROWS_MOST)
    )
    led: Counter[tuple[str, str]] = Counter()
    refused: Counter[str] = Counter()
    for link, edge in islice(_ways(node), ASKED_MOST):
        onward = role.paths.onward(link, edge)
        if isinstance(onward, str):
            refused[onward] += 1
        else:
            led[link.bearer, onward.bearer] += 1
    return TransitAnswer(
        forwards=True,
        paths=rows,
        paths_left=counts.total() - sum(each.count for each in rows),
        asked=led.total() + refused.total(),
        led=tuple(LedAcross(came=came, goes=goes, count=count) for (came, goes), count in sorted(led.items())),
        refused=dict(sorted(refused.items())),
    )


def _ways(node: Node) -> Iterator[tuple[Link, NodeId]]:
    """Yield links by turns of their networks, each with every edge that the catalogue has and that is not there."""
    by_bearer: dict[str, list[Link]] = {}
    for link in node.link_table.links.values():
        if link.state is LinkState.UP and len(links := by_bearer.setdefault(link.bearer, [])) < LINKS_OF_A_BEARER_MOST:
            links.append(link)
    # Each edge with all networks before the next edge, so that what is bounded is the number of edges.
    for edge in list(node.exchange.catalogue.edges()):
        for turn in range(LINKS_OF_A_BEARER_MOST):
            for links in by_bearer.values():
                if turn < len(links) and links[turn].peer != edge:
                    yield links[turn], edge


def _relays(node: Node, via: tuple[str, ...], destination: NodeId, onward: Link) -> tuple[str, ...]:
    """Return the organisations of the other relays on a path."""
    uris = {*via, *node.exchange.relays_behind(destination, onward)}
    return tuple(sorted({NodeId.from_uri(uri).organisation for uri in uris}))
