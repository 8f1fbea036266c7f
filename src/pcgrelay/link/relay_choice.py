"""Which of the relays that DNS leads to this node links to (pure).

Nodes do not choose alike: among records of one priority each node has an order of its own, drawn from its name, in
which a record comes early in proportion to its weight (weighted rendezvous hashing). So a relay that goes takes only
its own nodes to others, and a node that restarts chooses as before. Probes decide before weights, but only coarsely:
one that answers goes before one that does not, and one that is near before one that is far. A few milliseconds decide
nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence

from pcgrelay.config import Address
from pcgrelay.net.srv import SrvRecord

# Another relay is near if its round trip is at most this much longer than that of the nearest.
NEAR_RATIO = 2.0
NEAR_MS = 20.0
# RFC 2782 gives records of weight 0 a very small chance beside others.
WEIGHT_LEAST = 0.01


def own_order(records: Iterable[SrvRecord], node: str) -> list[SrvRecord]:
    """Return records by priority, and within one in the order of this node. node: its identity as a URI."""
    return sorted(records, key=lambda record: (record.priority, -_score(record, node), record.address))


def _score(record: SrvRecord, node: str) -> float:
    digest = hashlib.sha256(f"{node}\0{record.address}".encode()).digest()
    drawn = (int.from_bytes(digest[:8], "big") + 1) / (2**64 + 2)  # between 0 and 1, neither of them
    return max(record.weight, WEIGHT_LEAST) / -math.log(drawn)


def choose_relays(records: Sequence[SrvRecord], round_trips_ms: Mapping[Address, float], number: int) -> list[Address]:
    """Return the addresses of at most so many relays that answered a probe, the best first.

    records: in the order of the node. round_trips_ms: of those that answered.
    """
    able = [(record, round_trips_ms[record.address]) for record in records if record.address in round_trips_ms]
    nearest: dict[int, float] = {}  # by priority
    for record, took_ms in able:
        nearest[record.priority] = min(took_ms, nearest.get(record.priority, took_ms))

    def place(probed: tuple[SrvRecord, float]) -> tuple[int, bool]:
        record, took_ms = probed
        least_ms = nearest[record.priority]
        return record.priority, took_ms > max(least_ms * NEAR_RATIO, least_ms + NEAR_MS)

    return [record.address for record, _ in sorted(able, key=place)[:number]]
