"""A reader that stops stalls its own stream: the others keep their speed, and no node grows past its budget."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pcgrelay._core.face import core as native
from tests.support.cores import CoreRealm, Node
from tests.support.echo_exchange import echo_server, exchange

MIB = 1 << 20
BUDGET = 24 * MIB


@pytest.fixture
def realm() -> Iterator[CoreRealm]:
    made = CoreRealm()
    yield made
    made.close()


def chain(realm: CoreRealm) -> tuple[Node, Node, Node, int]:
    a, relay, b = (make(memory=BUDGET) for make in (realm.edge, realm.relay, realm.edge))
    first, last = realm.link(a, relay), realm.link(relay, b)
    return a, relay, b, realm.session(a, b, [(relay, first)], last, cap=4 * MIB)


def within_budget(*nodes: Node) -> bool:
    return all(node.core.memory()["high_water_bytes"] <= BUDGET for node in nodes)


def fill(held: socket.socket) -> int:
    """Write until nothing has been taken for half a second; answer how much was."""
    held.settimeout(0.5)
    block, taken = bytes(256 << 10), 0
    with suppress(TimeoutError):
        while taken < 256 * MIB:
            taken += held.send(block)
    return taken


def seconds_of(address: tuple[str, int], size: int) -> float:
    begun = time.monotonic()
    streams = [threading.Thread(target=exchange, args=(address, size, seed)) for seed in range(4)]
    for stream in streams:
        stream.start()
    for stream in streams:
        stream.join(90)
        assert not stream.is_alive()
    return time.monotonic() - begun


@pytest.mark.parametrize("stopped", [1, 40])
def test_stopped_readers_stall_themselves_alone(realm: CoreRealm, stopped: int) -> None:
    a, relay, b, session = chain(realm)
    with echo_server() as target:
        address = realm.service(a, b, session, target)
        alone = min(seconds_of(address, 4 * MIB) for _ in range(2))
        # These write to the echo server and never read what it answers.
        idle = [socket.create_connection(address) for _ in range(stopped)]
        try:
            fillers = [threading.Thread(target=fill, args=(held,)) for held in idle]
            for filler in fillers:
                filler.start()
            for filler in fillers:
                filler.join(60)
                assert not filler.is_alive()
            beside = min(seconds_of(address, 4 * MIB) for _ in range(2))
        finally:
            for held in idle:
                held.close()
    assert within_budget(a, relay, b), [node.core.memory() for node in (a, relay, b)]
    # The others keep their speed; the margin is for a machine that does other things meanwhile.
    assert beside < 4 * alone + 10
    for node in (a, b):
        until = time.monotonic() + 10
        while node.core.streams() and time.monotonic() < until:
            node.poll(0.1)
        assert node.core.streams() == 0


def test_what_is_taken_from_a_writer_is_bounded_by_credit(realm: CoreRealm) -> None:
    a, relay, b, session = chain(realm)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = realm.service(a, b, session, server.getsockname())
        with socket.create_connection(address) as held:
            far, _ = server.accept()
            with far:
                taken = fill(held)
                # Two sockets' buffers of the system, and the credit of one stream.
                assert taken < 64 * MIB
                assert a.core.streams() == b.core.streams() == 1
                # What came for the target, and was not taken at once.
                assert 0 < b.core.counters()["settled_bytes"] < 2 * taken
                got = 0
                far.settimeout(10)
                while got < taken:
                    got += len(far.recv(MIB))
    assert within_budget(a, relay, b)


def test_a_dead_weight_beyond_the_budget_is_refused_and_the_rest_goes_on(realm: CoreRealm) -> None:
    a, relay, b, session = chain(realm)
    with echo_server() as target:
        address = realm.service(a, b, session, target)
        idle = [socket.create_connection(address) for _ in range(300)]
        try:
            fillers = [threading.Thread(target=lambda held=held: suppressed(held)) for held in idle]
            for filler in fillers:
                filler.start()
            for filler in fillers:
                filler.join(90)
                assert not filler.is_alive()
            exchange(address, MIB, 1)
        finally:
            for held in idle:
                held.close()
    assert within_budget(a, relay, b), [node.core.memory() for node in (a, relay, b)]
    assert a.core.sessions().keys() == {session}
    assert native.EVENT_SESSION_DOWN not in {event[0] for node in (a, b) for event in node.poll(0.1) + node.seen}


def suppressed(held: socket.socket) -> None:
    """A stream may be refused for want of memory; that is what the budget is for."""
    with suppress(OSError):
        fill(held)
