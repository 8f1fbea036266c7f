"""Limits on the control messages that a relay forwards for neighbours and edges (pure).

A neighbour accepts a limited number of control messages from this node and then ends the link, while others decide how
many there are to forward. What is forwarded is therefore limited for each outgoing link, well below the neighbour's
limit; within that for each neighbour that it comes from, however many links that has; and for each edge that is named
as the author, which an honest neighbour attests. The less is left of a link's limit, the less of its own share an edge
may have used.
"""

from __future__ import annotations

from pcgrelay.model import NodeId, Role
from pcgrelay.net.ratelimit import TokenBucket

# (Messages at once, messages each second). A neighbour accepts 20,000 and 2,000 (docs/protocol.md, 8).
OF_A_LINK = (10_000, 1_000)
OF_A_RELAY = (6_000, 600)
OF_AN_EDGE = (2_000, 200)
# The end of a request is forwarded too, whenever it comes: both are counted at once.
REQUEST_COST = 2


class HandedOn:
    """The token buckets of one relay for forwarded messages."""

    def __init__(self) -> None:
        self._links: dict[int, TokenBucket] = {}
        self._from: dict[tuple[NodeId, int], TokenBucket] = {}  # by neighbour or edge, and outgoing link

    def admits(self, now_ms: int, out: int, neighbour: NodeId, role: Role, author: NodeId, cost: int = 1) -> bool:
        """Whether `cost` more messages may be forwarded over the link `out`; if so they are counted.

        neighbour, role: the node whose link they came over. author: the edge that they are sent in the name of.
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
        """Drop the buckets that are full again; called once a second."""
        self._links = {out: each for out, each in self._links.items() if not each.is_whole(now_ms)}
        self._from = {key: each for key, each in self._from.items() if not each.is_whole(now_ms)}

    def _share(self, who: NodeId, out: int, share: tuple[int, int], now_ms: int) -> TokenBucket:
        return self._from.setdefault((who, out), TokenBucket(*share, now_ms))
