"""Times of the monotonic clock, as the wall has them."""

from __future__ import annotations

from datetime import timedelta

from pcgrelay.gateway.node import Node


def moment(node: Node, monotonic_ms: int) -> str:
    """Return a time of the monotonic clock as wall-clock time, in UTC."""
    passed = timedelta(milliseconds=node.clock.monotonic_ms() - monotonic_ms)
    return (node.clock.wall() - passed).strftime("%Y-%m-%dT%H:%M:%SZ")
