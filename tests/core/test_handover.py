"""The state of all workers, written by one core and taken by another: nothing that flows notices."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from core.cores import Node
from core.farm import PATIENCE, Across, echo, pattern, server, transfer
from pcgrelay._core import core as native

MEGABYTE = 1 << 20


def frozen_record(node: Node) -> tuple[bytearray, list[int]]:
    """The state of a node that is frozen by this, and copies of its descriptors."""
    node.core.freeze()
    while not node.core.settle():
        pass
    record = bytearray(node.core.handover_size())
    return record, [os.dup(fd) for fd in node.core.handover_write(record)]


def hand_over(across: Across, node: Node, target: tuple[str, int]) -> None:
    """Have another core take the place of a node's."""
    old = node.core
    record, fds = frozen_record(node)
    role = native.ROLE_RELAY if node in across.relays else native.ROLE_EDGE
    node.core = native.Core(workers=old.workers, memory_bytes=64 << 20, role=role)
    assert node.core.handover_read(record, fds) == []
    for fd in old.handover_write(record):
        os.close(fd)
    old.abandon()
    native.wiped(record)
    if role == native.ROLE_EDGE:
        # The tables are the control plane's, and come before the first frame.
        publish(across, node, target)
    node.core.start()


def publish(across: Across, node: Node, target: tuple[str, int]) -> None:
    if node is across.far:
        rows = [(0, b"echo", 1, 0, native.EXPORT_READY, 2000, [target])]
        node.core.publish(exports=rows, imports=[], grants=[(across.session, [0])])
    else:
        routes = [(across.session, 2, 100)]
        node.core.publish(exports=[], imports=[(0, b"echo", 1, 0, native.IMPORT_LIVE, routes)], grants=[])


@pytest.fixture(params=[(0, 1), (1, 1), (1, 2)], ids=["edge-edge", "edge-relay-edge", "two-lanes"])
def across(request: pytest.FixtureRequest) -> Iterator[Across]:
    relays, lanes = request.param
    with Across(relays=relays, lanes=lanes) as built:
        yield built


@pytest.mark.parametrize("which", ["near", "relay", "far"])
def test_a_stream_in_transfer_goes_on_in_another_core(across: Across, which: str) -> None:
    if which == "relay" and not across.relays:
        pytest.skip("there is none")
    node = across.relays[0] if which == "relay" else getattr(across, which)
    data = pattern(30 * MEGABYTE)
    with server(echo) as target:
        address = across.serve(target)
        received: list[bytes] = []
        running = threading.Thread(target=lambda: received.append(transfer(address, data)))
        running.start()
        for _ in range(5):
            before = node.core.counters()["bytes_received_total"]
            while running.is_alive() and node.core.counters()["bytes_received_total"] < before + 2 * MEGABYTE:
                pass
            hand_over(across, node, target)
        running.join(PATIENCE)
        assert received == [data]
        assert transfer(address, pattern(1000)) == pattern(1000)
