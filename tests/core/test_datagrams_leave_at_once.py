"""A datagram leaves in the turn in which it came, with one call; a first one with what opens its association."""

from __future__ import annotations

import contextlib

import pytest

from tests.native.probe_datagrams import turn
from tests.support.applications import Across
from tests.support.cores import Node
from tests.support.datagrams import client, serve, server
from tests.support.waiting import until

READ, SENT, RECEIVED = "datagram_reads_total", "datagrams_sent_total", "datagrams_received_total"
FRAMES, CALLS, WRITTEN = "frames_sent_total", "system_calls_total", "datagram_writes_total"
# On a busy machine an acknowledgement and a probe may be due as well: they leave with the same call.
DUE = 2


def turned(node: Node) -> dict[str, int]:
    """Have a node that stands still take a turn; what it has counted."""
    before = node.core.counters()
    turn(node.core, 0)
    return {name: count - before[name] for name, count in node.core.counters().items()}


def turn_with(node: Node, name: str) -> dict[str, int]:
    """Have it take turns until something is counted there; what that turn has counted."""
    grown: dict[str, int] = {}

    def is_counted() -> bool:
        grown.update(turned(node))
        return grown[name] != 0

    until(is_counted)
    return grown


def stand_still(across: Across) -> None:
    """Freeze both edges, with nothing under way between them."""
    for node in (across.near, across.far):
        node.core.freeze()
    until(lambda: turned(across.near)[CALLS] == 0 and turned(across.far)[CALLS] == 0)


@pytest.mark.parametrize("clients", [1, 10])
def test_it_crosses_with_one_turn_of_each_edge_each_way(clients: int) -> None:
    silent = server(lambda _data, _source: None)
    with Across(relays=0) as across, silent as target, contextlib.ExitStack() as stack:
        address = serve(across, target.address)
        askers = [stack.enter_context(client(address)) for _ in range(clients)]
        stand_still(across)
        for asker in askers:
            asker.send(b"first")
        # OPEN in a BUNDLE, and DATAGRAMS behind it: read with one call, and sent with one.
        asked = turn_with(across.near, READ)
        assert (asked[SENT], asked[CALLS]) == (clients, 2)
        assert 2 <= asked[FRAMES] <= 2 + DUE
        # The lane is read, each target has a socket of its own, and one frame accepts all.
        told = turn_with(across.far, RECEIVED)
        assert (told[RECEIVED], told[CALLS]) == (clients, clients + 2)
        assert 1 <= told[FRAMES] <= 1 + DUE
        until(lambda: len(target.seen) == clients)
        for data, source in target.seen:
            target.socket.sendto(data, source)
        answered = turn_with(across.far, READ)
        assert (answered[SENT], answered[CALLS]) == (clients, clients + 1)
        assert 1 <= answered[FRAMES] <= 1 + DUE
        # They leave for all clients together.
        heard = turn_with(across.near, RECEIVED)
        assert (heard[RECEIVED], heard[WRITTEN]) == (clients, 1)
        for asker in askers:
            assert asker.recv(100) == b"first"
        for node in (across.near, across.far):
            node.core.start()
