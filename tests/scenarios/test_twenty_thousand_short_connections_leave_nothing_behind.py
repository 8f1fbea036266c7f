"""Connections that come and go: every node has no more descriptors afterwards than before, and no more memory."""

import time
from collections.abc import Callable

import pytest

from tests.scenarios.kit.bulk_clients import Crowd
from tests.scenarios.kit.nodes import Line, Node
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

FIRST, COUNT, AT_ONCE = 2_000, 20_000, 50
# Allocators take some megabytes once and keep them. So does the queue of events, 216 bytes for each end of a connection
# that waits for the control plane: 4.3 MB if it hears of none before all have ended. The least record that could be
# left behind for each is that of a stream, 8 MB in sum.
GROWTH_BYTES = 6 << 20
# The core tells of ends of streams twenty times a second.
TELLING_S = 0.2


def told_of(node: Node) -> int:
    """How many streams the node has counted, once it was told of all that have ended."""
    before, now = -1, 0
    while before != now:
        before, now = now, node.status().streams.opened_total
        time.sleep(TELLING_S)
    return now


def test_memory_and_descriptors_are_as_before(path: Line, figure: Callable[[str], None]) -> None:
    with Crowd.of("serve", *path.target("echo")):
        with Crowd.of("short", *path.door("echo"), FIRST, AT_ONCE) as clients:
            assert clients.go()["wrong"] == 0
        path.await_quiet()
        memory = [node.memory.rss_bytes for node in path.nodes]
        descriptors = [node.descriptors for node in path.nodes]
        opened = told_of(path.importer)

        with Crowd.of("short", *path.door("echo"), COUNT, AT_ONCE) as clients:
            found = clients.go()
        assert found["wrong"] == 0
        path.await_quiet()
    until(lambda: path.importer.status().streams.opened_total - opened == COUNT, what="every stream is counted")
    # The first count may hold the end of a connection that asked for the status.
    until(
        lambda: all(node.descriptors <= past for node, past in zip(path.nodes, descriptors, strict=True)),
        what=f"descriptors are {descriptors} again",
    )
    growth = [node.memory.rss_bytes - past for node, past in zip(path.nodes, memory, strict=True)]
    assert max(growth) < GROWTH_BYTES
    used = [node.status().memory.used_bytes for node in path.nodes]
    assert max(used) < 1 << 20
    figure(f"{COUNT / found['seconds']:.0f} connections a second, a node grew by at most {max(growth) >> 10} KiB")
