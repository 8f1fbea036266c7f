"""Datagrams of a direct outlet: many are moved with one call, once it is known that the target is there."""

from __future__ import annotations

import contextlib

import pytest

from tests.native.probe_datagrams import turn
from tests.support.applications import Across
from tests.support.cores import Node
from tests.support.datagram_outlets import DatagramOutlets
from tests.support.datagrams import ask, client, dropped, server
from tests.support.ports import free_port
from tests.support.waiting import until

READ, WRITTEN, CALLS = "datagram_reads_total", "datagram_writes_total", "system_calls_total"
AT_ONCE = 64


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


def test_all_that_waits_goes_with_one_call() -> None:
    with Across(relays=0) as across, server() as far, server() as direct:
        outlets = DatagramOutlets(across, far.address, direct.address)
        outlets.publish(shares=200)
        with client(outlets.address) as asker:
            assert ask(asker, b"begin") == b"begin"
            across.near.core.freeze()
            for number in range(AT_ONCE):
                asker.send(b"%d" % number)
            grown = turn_with(across.near, READ)
            assert (grown[READ], grown[WRITTEN]) == (1, 1)
            until(lambda: len(direct.seen) == 1 + AT_ONCE)
            assert [data for data, _ in direct.seen[1:]] == [b"%d" % number for number in range(AT_ONCE)]
            assert (far.seen, dropped(across.near)) == ([], {})
            across.near.core.start()


@pytest.mark.parametrize(("clients", "writes"), [(10, 1), (48, 1), (60, 2)])
def test_answers_to_many_clients_leave_together(clients: int, writes: int) -> None:
    silent = server(lambda _data, _source: None)
    with Across(relays=0) as across, server() as far, silent as direct, contextlib.ExitStack() as stack:
        outlets = DatagramOutlets(across, far.address, direct.address)
        outlets.publish(shares=200)
        askers = [stack.enter_context(client(outlets.address)) for _ in range(clients)]
        for number, asker in enumerate(askers):
            asker.send(b"%d" % number)
        until(lambda: len(direct.seen) == clients)
        across.near.core.freeze()
        for data, source in direct.seen:
            direct.socket.sendto(data, source)
        grown = turn_with(across.near, READ)
        assert (grown[READ], grown[WRITTEN]) == (clients, writes)
        for number, asker in enumerate(askers):
            assert asker.recv(100) == b"%d" % number
        across.near.core.start()


def test_what_was_not_sent_before_the_refusal_goes_to_the_next_outlet_in_its_order() -> None:
    with Across(relays=0) as across, server() as far:
        outlets = DatagramOutlets(across, far.address, ("127.0.0.1", free_port()))
        outlets.publish(shares=200)
        with client(outlets.address) as asker:
            across.near.core.freeze()
            for number in range(8):
                asker.send(b"%d" % number)
            across.near.core.start()
            for number in range(8):
                assert asker.recv(100) == b"%d" % number
        assert [data for data, _ in far.seen] == [b"%d" % number for number in range(8)]
        assert dropped(across.near) == {}
