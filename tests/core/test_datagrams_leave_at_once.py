"""A datagram leaves in the turn in which it came, with one call; a first one with what opens its association."""

from __future__ import annotations

import pytest

from tests.native.probe_datagrams import turn
from tests.support.applications import Across
from tests.support.cores import Node
from tests.support.datagrams import client, serve, server
from tests.support.waiting import until

READ, SENT, RECEIVED = "datagram_reads_total", "datagrams_sent_total", "datagrams_received_total"
FRAMES, CALLS, WRITTEN = "frames_sent_total", "system_calls_total", "datagram_writes_total"


def turn_with(node: Node, name: str) -> dict[str, int]:
    """Have a node that stands still take turns until something is counted there; what that turn has counted."""
    grown: dict[str, int] = {}

    def is_counted() -> bool:
        before = node.core.counters()
        turn(node.core, 0)
        grown.update({key: count - before[key] for key, count in node.core.counters().items()})
        return grown[name] != 0

    until(is_counted)
    return grown


@pytest.mark.parametrize("clients", [1, 5])
def test_it_crosses_with_one_turn_of_each_edge_each_way(clients: int) -> None:
    with Across(relays=0) as across, server() as target:
        address = serve(across, target.address)
        askers = [client(address) for _ in range(clients)]
        for node in (across.near, across.far):
            node.core.freeze()
            # What the time has brought is done before.
            turn(node.core, 0)
        for asker in askers:
            asker.send(b"first")
        # OPEN in a BUNDLE, and DATAGRAMS behind it: read with one call, and sent with one.
        asked = turn_with(across.near, READ)
        assert (asked[SENT], asked[FRAMES], asked[CALLS]) == (clients, 2, 2)
        # The lane is read, each target has a socket of its own, and one frame accepts all.
        told = turn_with(across.far, RECEIVED)
        assert (told[RECEIVED], told[FRAMES], told[CALLS]) == (clients, 1, clients + 2)
        until(lambda: len(target.seen) == clients)
        answered = turn_with(across.far, READ)
        assert (answered[SENT], answered[FRAMES], answered[CALLS]) == (clients, 1, clients + 1)
        # What accepted them is there too, and is acknowledged some time.
        heard = turn_with(across.near, RECEIVED)
        assert (heard[RECEIVED], heard[WRITTEN]) == (clients, 1)
        for asker in askers:
            assert asker.recv(100) == b"first"
            asker.close()
        for node in (across.near, across.far):
            node.core.start()
