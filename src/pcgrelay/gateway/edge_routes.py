"""Which link the next path of a session uses: the best that is cleared, and was not refused a moment ago."""

from __future__ import annotations

from collections.abc import Callable

from pcgrelay.gateway.role import NodeParts
from pcgrelay.link.link import Link
from pcgrelay.model import NodeId
from pcgrelay.path.edge import PathEnd
from pcgrelay.policy.clearances import NAMES
from pcgrelay.reasons import MARKING, OTHER_WAYS
from pcgrelay.session.session import Key, Session

Wanted = Callable[[Link], bool]

# A node behind a neighbour judges by what it alone knows. What it refused for that is asked again after this.
REFUSED_MS = 10_000
REFUSED_MOST = 4_096
# So long an answer is taken for what would be answered now: longer than the longest back-off between two requests.
REMEMBERED_MS = 60_000


class EdgeRoutes:
    """The choice of links for the sessions of one edge."""

    def __init__(self, node: NodeParts) -> None:
        self._node = node
        # By edge, marking and link: when, and why, a path was refused there last.
        self._refused: dict[tuple[NodeId, int, int], tuple[int, str]] = {}

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
        way, now = (key.edge, key.marking, link.number), self._node.clock.monotonic_ms()
        self._refused.pop(way, None)
        if reason not in OTHER_WAYS:
            return
        if len(self._refused) >= REFUSED_MOST:
            self._refused = {each: told for each, told in self._refused.items() if now - told[0] < REMEMBERED_MS}
        if len(self._refused) < REFUSED_MOST:
            self._refused[way] = now, reason

    def forget(self) -> None:
        """Ask everybody again: this node's own clearances have changed."""
        self._refused.clear()

    def is_barred(self, key: Key) -> bool:
        """Whether nothing but clearances, here or at another node, keeps a session with an edge from a path."""
        return bool(self.uncleared(key))

    def awaits_way(self, key: Key) -> bool:
        """Whether a cleared way to an edge may be there in a moment: its link is made anew, as after an upgrade."""
        node, clears = self._node, self._node.local.clearances.clears
        if node.exchange.awaits_way(key.edge, lambda link: not self._is_marked_refused(key, link), key.marking):
            return True
        for wanted in node.link_table.dialler.awaited():
            peer = wanted.peer
            relays = () if peer is None or peer == key.edge else (peer.uri,)
            if clears(key.marking, wanted.settings.bearer, relays):
                return True
        return False

    def bars(self, key: Key) -> bool | None:
        """The same; None: there is no way at all."""
        uncleared = self.uncleared(key)
        return None if uncleared is None else bool(uncleared)

    def may_carry(self, session: Session, end: PathEnd) -> bool:
        """Whether a path of a session is cleared, as far as this edge knows it."""
        relays = self._node.exchange.relays_behind(session.key.edge, end.link) if end.initiator else end.via
        return self._node.local.clearances.clears(session.key.marking, end.link.bearer, relays)

    def uncleared(self, key: Key) -> list[str] | None:
        """Return what is not cleared on each way to an edge; nothing: one of them is. None: there is no way."""
        exchange, clearances = self._node.exchange, self._node.local.clearances

        def leads(link: Link) -> bool:
            return link.usable or (link.able and link.peer == key.edge)

        found = []
        for candidate in exchange.candidates(key.edge, leads, key.marking):
            link = self._node.link_table.links[candidate.number]
            where = f"{link.peer.dotted} over {link.bearer}"
            if obstacle := clearances.obstacle(key.marking, link.bearer, exchange.relays_behind(key.edge, link)):
                found.append(f"{where}: {obstacle.words(key.marking)}")
            elif self._is_marked_refused(key, link):
                found.append(f"{where}: refused there, what is behind it is not cleared for {NAMES[key.marking]}")
            else:
                return []
        return found or None

    def _route(self, key: Key, wanted: Wanted) -> Link | None:
        return self._node.exchange.route(key.edge, wanted, key.marking)

    def _is_marked_refused(self, key: Key, link: Link) -> bool:
        return self._refusal(key, link, REMEMBERED_MS) == MARKING

    def _is_refused(self, key: Key, link: Link) -> bool:
        return bool(self._refusal(key, link, REFUSED_MS))

    def _refusal(self, key: Key, link: Link, within_ms: int) -> str:
        """Return why a path over a link was refused last, if that was a short while ago."""
        at_ms, reason = self._refused.get((key.edge, key.marking, link.number), (0, ""))
        return reason if reason and self._node.clock.monotonic_ms() - at_ms < within_ms else ""
