"""How much a relay hands on of what neighbours and edges say: to each neighbour, and for each of them (pure).

A neighbour takes so many control messages of this node and then ends the link. Others decide what they are. So what is
handed on has a bound for each link out, well below that; a share of it for each neighbour that it comes from, however
many links it has; and one for each edge that is named as its author, which an honest neighbour attests. The less is
left of the whole, the less of its share may an edge have used to go on.
"""

from __future__ import annotations

from pcgrelay.model import NodeId, Role
from pcgrelay.net.ratelimit import TokenBucket

# Messages at once, and more each second. A neighbour takes 20,000 and 2,000 (docs/protocol.md, 8).
OF_A_LINK = (10_000, 1_000)
OF_A_RELAY = (6_000, 600)
OF_AN_EDGE = (2_000, 200)
# A request has its end handed on too, whenever that comes: it is paid for at once.
REQUEST_COST = 2


class HandedOn:
    """The token buckets of one relay."""

    def __init__(self) -> None:
        self._links: dict[int, TokenBucket] = {}
        self._from: dict[tuple[NodeId, int], TokenBucket] = {}  # neighbours and edges, for each link out

    def admits(self, now_ms: int, out: int, neighbour: NodeId, role: Role, author: NodeId, cost: int = 1) -> bool:
        """Whether so many messages more go out over that link; if so they are counted.

        neighbour: whose link they came over. author: the edge in whose name they are.
        """
        total = self._links.setdefault(out, TokenBucket(*OF_A_LINK, now_ms))
        shares = [self._share(neighbour, out, OF_A_RELAY if role is Role.RELAY else OF_AN_EDGE, now_ms)]
        if not shares[0].has(cost, now_ms):
            return False
        if author != neighbour:
            shares.append(self._share(author, out, OF_AN_EDGE, now_ms))
        if not all(each.has(cost, now_ms) for each in (total, *shares)):
            return False
        if 1 - shares[-1].part_left(now_ms) > total.part_left(now_ms):
            return False
        for bucket in (total, *shares):
            bucket.owe(cost, now_ms)
        return True

    def forget(self, now_ms: int) -> None:
        """Drop those that have all of their share again; asked once a second."""
        self._links = {out: each for out, each in self._links.items() if not each.is_whole(now_ms)}
        self._from = {key: each for key, each in self._from.items() if not each.is_whole(now_ms)}

    def _share(self, who: NodeId, out: int, share: tuple[int, int], now_ms: int) -> TokenBucket:
        return self._from.setdefault((who, out), TokenBucket(*share, now_ms))
