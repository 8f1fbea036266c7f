"""Which link the next path of a session uses: the best that is cleared, and was not refused a moment ago."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pcgrelay.gateway.role import NodeParts
from pcgrelay.link.link import Link
from pcgrelay.model import NodeId
from pcgrelay.path.edge import PathEnd
from pcgrelay.reasons import OTHER_WAYS
from pcgrelay.session.session import Key, Session

Wanted = Callable[[Link], bool]

# A node behind a neighbour judges by what it alone knows. What it refused for that is asked again after this.
REFUSED_MS = 10_000
REFUSED_MOST = 4_096


class EdgeRoutes:
    """The choice of links for the sessions of one edge."""

    def __init__(self, node: NodeParts) -> None:
        self._node = node
        self._refused: dict[tuple[NodeId, int, int], int] = {}  # edge, marking and link, until when it is not asked

    def choose(self, key: Key, avoid: Link | None) -> Link | None:
        """Return the best cleared link to an edge, another one than `avoid` if there is one."""
        return (
            self._route(key, lambda link: link is not avoid and not self._is_refused(key, link))
            or self._route(key, lambda link: not self._is_refused(key, link))
            or self._route(key, lambda link: link is not avoid)
            or self._route(key, lambda link: True)
        )

    def better(self, key: Key, link: Link) -> bool:
        """Whether a move to another link is worth while."""
        return self._node.exchange.better(key.edge, link, lambda each: not self._is_refused(key, each), key.marking)

    def refused(self, key: Key, link: Link, reason: str) -> None:
        """Note that a path over a link was refused."""
        if reason not in OTHER_WAYS:
            return
        now = self._node.clock.monotonic_ms()
        if len(self._refused) >= REFUSED_MOST:
            self._refused = {way: until for way, until in self._refused.items() if until > now}
        if len(self._refused) < REFUSED_MOST:
            self._refused[key.edge, key.marking, link.number] = now + REFUSED_MS

    def forget(self) -> None:
        """Ask everybody again: this node's own clearances have changed."""
        self._refused.clear()

    def is_barred(self, key: Key) -> bool:
        """Whether nothing but clearances keeps a session with an edge from a path."""
        route = self._node.exchange.route
        return (
            route(key.edge, lambda link: True, key.marking) is None and route(key.edge, lambda link: True) is not None
        )

    def may_carry(self, session: Session, end: PathEnd) -> bool:
        """Whether a path of a session is cleared, as far as this edge knows it."""
        relays = self._node.exchange.relays_behind(session.key.edge, end.link) if end.initiator else end.via
        return self._node.local.clearances.clears(session.key.marking, end.link.bearer, relays)

    def uncleared(self, key: Key) -> list[str]:
        """Return what is not cleared on each way to an edge, if that alone keeps a session from a path."""
        return list(self._obstacles(key)) if self.is_barred(key) else []

    def _obstacles(self, key: Key) -> Iterator[str]:
        exchange, clearances = self._node.exchange, self._node.local.clearances
        for candidate in exchange.candidates(key.edge, lambda link: True, key.marking):
            link = self._node.link_table.links[candidate.number]
            relays = exchange.relays_behind(key.edge, link)
            if obstacle := clearances.obstacle(key.marking, link.bearer, relays):
                yield f"{link.peer.dotted} over {link.bearer}: {obstacle.words(key.marking)}"

    def _route(self, key: Key, wanted: Wanted) -> Link | None:
        return self._node.exchange.route(key.edge, wanted, key.marking)

    def _is_refused(self, key: Key, link: Link) -> bool:
        until = self._refused.get((key.edge, key.marking, link.number))
        return until is not None and self._node.clock.monotonic_ms() < until
