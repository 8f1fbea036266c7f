"""Connections that come and go: every node has no more descriptors afterwards than before, and no more memory."""

from collections.abc import Callable

from crowd import Crowd
from stage import Line, until

FIRST, COUNT, AT_ONCE = 2_000, 20_000, 50
# Allocators take some megabytes once and keep them; a leak of the least size would be twice this.
GROWTH_BYTES = 4 << 20


def test_memory_and_descriptors_are_as_before(path: Line, figure: Callable[[str], None]) -> None:
    with Crowd.of("serve", *path.target("echo")):
        with Crowd.of("short", *path.door("echo"), FIRST, AT_ONCE) as clients:
            assert clients.go()["wrong"] == 0
        path.await_quiet()
        memory = [node.memory.rss_bytes for node in path.nodes]
        descriptors = [node.descriptors for node in path.nodes]
        until(lambda: path.importer.status().streams.opened_total >= FIRST, what="the first ones are counted")
        opened = path.importer.status().streams.opened_total

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
