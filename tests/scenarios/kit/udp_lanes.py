"""UDP lanes as they can be seen from outside: which are up, what they carried, and what was refused."""

from __future__ import annotations

from collections.abc import Iterable

from tests.scenarios.kit.nodes import Node
from tests.support.waiting import until

ON = {"udp_lanes": True}
UP_S = 20.0


def lanes_up(node: Node) -> tuple[int, int]:
    """How many UDP lanes of a node are up, and how many there can be, over the links that are up."""
    found = [link.udp for link in node.status().links if link.state == "up" and link.udp is not None]
    return sum(each.up for each in found), sum(each.lanes for each in found)


def await_lanes(nodes: Iterable[Node], seconds: float = UP_S) -> None:
    """Wait until all UDP lanes of these nodes are up."""
    for node in nodes:
        until(lambda node=node: _is_whole(lanes_up(node)), seconds, f"the UDP lanes of {node} are up")


def _is_whole(figures: tuple[int, int]) -> bool:
    up, lanes = figures
    return up == lanes > 0


def packets(node: Node) -> tuple[int, int]:
    """Packets that a node has sent on UDP lanes and has taken from them, probes and answers to these among them."""
    counts = node.metrics()
    return int(counts["core_udp_packets_sent_total"]), int(counts["core_udp_packets_taken_total"])


def on_the_way(near: Node, far: Node) -> int:
    """Packets that two nodes have sent each other, and that have not been taken: lost, refused, or still under way."""
    missing = 0
    for sender, receiver in ((near, far), (far, near)):
        taken = packets(receiver)[1]
        # Read later, so that what is under way now is missing rather than there twice.
        missing += packets(sender)[0] - taken
    return missing


def refused(node: Node) -> dict[str, int]:
    """Packets that a node did not take, by cause."""
    begin, end = "core_udp_refused_", "_total"
    return {
        name.removeprefix(begin).removesuffix(end): int(count)
        for name, count in node.metrics().items()
        if name.startswith(begin) and count
    }
