"""The least budget that a node may have, with more readers that stand still than it could hold for: it holds."""

import socket
import threading

import pytest

from tests.support.applications import Across, client, pattern, read_all, server, swallow, transfer
from tests.support.cores import Node

MEGABYTE = 1 << 20
LEAST = 16 * MEGABYTE


def within_budget(nodes: list[Node]) -> bool:
    return all(node.core.memory()["high_water_bytes"] <= LEAST for node in nodes)


@pytest.mark.parametrize("relays", [0, 1])
def test_clients_that_do_not_read_hold_nobody_up(relays: int) -> None:
    """What waits for them is bounded by their windows; another stream of the lane gets all of its bytes meanwhile."""
    size = 4 * MEGABYTE

    def flood(connection: socket.socket) -> None:
        connection.sendall(pattern(size))

    with Across(relays=relays, memory=LEAST, cap=2 * MEGABYTE) as across, server(flood) as target:
        address = across.serve(target)
        idle = [client(address) for _ in range(20)]
        with client(address) as reader:
            assert read_all(reader) == pattern(size)
        assert within_budget(across.nodes)
        for connection in idle:
            assert read_all(connection) == pattern(size)
            connection.close()
        assert within_budget(across.nodes)


def test_many_writers_at_once_stay_within_it() -> None:
    data = pattern(2 * MEGABYTE)
    answers: list[bytes] = []
    with Across(memory=LEAST, cap=MEGABYTE) as across, server(swallow) as target:
        address = across.serve(target)
        threads = [
            threading.Thread(target=lambda: answers.append(transfer(address, data)), daemon=True) for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert answers == [b"%d" % len(data)] * 16
        assert within_budget(across.nodes)
        assert across.relays[0].core.counters()["frames_forwarded_total"] > 0
