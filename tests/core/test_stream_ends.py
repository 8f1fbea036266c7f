"""When the control plane hears of streams that ended: soon, and not once for each."""

import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pcgrelay._core.face import core as native
from pcgrelay._core.face.end_bodies import end_bodies
from pcgrelay.services.counts import DONE
from tests.support.applications import Across, client, echo, is_turned_away, read_all, server
from tests.support.cores import Node, carried_out, listen
from tests.support.waiting import until

TICK_S = 0.05
STREAMS = 200
# Of a line: its numbers alone, with spaces between.
PARTS = (b"", b" ", b" ", b" ", b" ", b" ", b" ", b"")
TELLS_AN_END = (native.EVENT_STREAM_END, native.EVENT_STREAMS_DONE)


@pytest.fixture
def across() -> Iterator[Across]:
    with Across(relays=0) as built:
        yield built


def short(address: tuple[str, int]) -> None:
    """Open a stream, say something, and end it."""
    with client(address) as connection:
        connection.sendall(b"here")
        connection.shutdown(1)
        assert read_all(connection) == b"here"


@contextmanager
def refusing() -> Iterator[tuple[str, int]]:
    """A port that nobody else can have, and where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


def served(across: Across, targets: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """As many services; answer where to connect to."""
    names = [(number, b"echo-%d" % number) for number in range(len(targets))]
    across.far.core.publish(
        exports=[
            (number, name, 1, 0, native.EXPORT_READY, 2000, [target])
            for (number, name), target in zip(names, targets, strict=True)
        ],
        imports=[],
        grants=[(across.session, [number for number, _ in names])],
    )
    carried_out(across.far)
    across.near.core.publish(
        exports=[],
        imports=[(number, name, 1, 0, native.IMPORT_LIVE, [(across.session, 2, 100)]) for number, name in names],
        grants=[],
    )
    return [listen(across.near, number) for number, _ in names]


def kinds(node: Node) -> list[object]:
    return [event[0] for event in node.core.events()]


def test_they_wait_for_each_other(across: Across) -> None:
    near, heard, wakes = across.near, [0], [0]
    with server(echo) as target:
        address = across.serve(target)
        near.core.events()
        over = threading.Event()

        def listen() -> None:
            while not over.is_set() or heard[0] < STREAMS:
                if select.select([near.core.fileno()], [], [], 0.2)[0]:
                    wakes[0] += 1
                    heard[0] += kinds(near).count(native.EVENT_STREAM_END)

        listener = threading.Thread(target=listen)
        listener.start()
        began = time.monotonic()
        for _ in range(STREAMS):
            short(address)
        over.set()
        listener.join(10)
        took = time.monotonic() - began
    assert heard[0] == STREAMS
    # One wake-up for each tick, and one that was under way.
    assert wakes[0] <= took / TICK_S + 3


@pytest.fixture
def near(across: Across) -> Node:
    """An edge of which one stream has just ended."""
    with server(echo) as target:
        address = across.serve(target)
        across.near.core.events()
        short(address)
    until(lambda: across.near.core.streams() == 0)
    return across.near


def test_another_event_brings_them_along_in_their_order(across: Across, near: Node) -> None:
    near.core.link_close(across.links[0], 0)
    near.wait_kind(native.EVENT_LANE_DOWN)
    seen = [event[0] for event in near.seen]
    assert seen.index(native.EVENT_STREAM_END) < seen.index(native.EVENT_LANE_DOWN)


def test_a_frozen_core_keeps_none_back(near: Node) -> None:
    near.core.freeze()
    near.core.settle()
    assert kinds(near).count(native.EVENT_STREAM_END) == 1
    near.core.start()


def test_one_alone_is_heard_after_a_tick(near: Node) -> None:
    near.wait_kind(native.EVENT_STREAM_END)


def test_the_cause_has_one_name() -> None:
    assert native.cause_name(0) == DONE


def test_those_that_were_done_are_counted_and_told_in_one(across: Across) -> None:
    with server(echo) as target, refusing() as refuses:
        address, another, refused = served(across, [target, target, refuses])
        across.near.core.events()
        for _ in range(20):
            short(address)
        short(another)
        assert is_turned_away(refused)
    until(lambda: across.near.core.streams() == across.far.core.streams() == 0)
    for node, is_opener in ((across.near, True), (across.far, False)):
        found: list[tuple[Any, ...]] = []

        def are_all_told(node: Node = node, found: list[tuple[Any, ...]] = found) -> bool:
            found.extend(each for each in node.core.events(4096, False) if each[0] in TELLS_AN_END)
            return sum(each[4] if each[0] == native.EVENT_STREAMS_DONE else 1 for each in found) == 22

        until(are_all_told)
        (alone,) = [each for each in found if each[0] == native.EVENT_STREAM_END]
        assert alone[9] in {"target-refused", "far-reset"}
        done = [each for each in found if each[0] == native.EVENT_STREAMS_DONE]
        assert {(each[1], each[3]) for each in done} == {(is_opener, across.session)}
        sums = Counter[int]()
        for _, _, number, _, count, answered_us, (sent, received, life_us, first_us, lives, firsts, *_), *_ in done:
            sums[number] += count
            assert 0 < answered_us < 60_000_000
            # Each of them has sent as much as came back, and an application waits for its first byte.
            assert sent == received > 0
            assert sum(lives) == count
            assert sum(firsts) == (count if is_opener else 0)
            assert 0 <= first_us <= life_us
            assert (first_us > 0) is is_opener
        assert sorted(sums.values()) == [1, 20]


def test_what_differs_between_them_goes_along_if_somebody_asks(across: Across) -> None:
    with server(echo) as target:
        address, another = served(across, [target, target])
        across.near.core.events()
        for _ in range(5):
            short(address)
        short(another)
    until(lambda: across.near.core.streams() == across.far.core.streams() == 0)
    ids: list[set[bytes]] = []
    for node, names in ((across.near, b"echo-0 echo-1"), (across.far, b"echo-0 echo-1")):
        found: list[tuple[Any, ...]] = []

        def are_all_told(node: Node = node, found: list[tuple[Any, ...]] = found) -> bool:
            events = node.core.events(4096, False, True)
            found.extend(each for each in events if each[0] == native.EVENT_STREAMS_DONE)
            return sum(each[4] for each in found) == 6

        until(are_all_told)
        assert {each[8] for each in found} == set(names.split())
        bodies: list[bytes] = []
        for _, _, _, _, count, _, (sent, received, life_us, *_), _, _, details, *_ in found:
            lines = end_bodies(PARTS, details, 0, 0xCAFE, b"", 1)
            told = [line.split() for line in lines]
            assert len(lines) == count
            assert sum(int(each[3]) for each in told) == sent
            assert sum(int(each[4]) for each in told) == received
            assert sum(round(float(each[5]) * 1_000) for each in told) == life_us
            bodies += [each[1] for each in told]
        # No two streams have one id, and both edges have the same.
        assert len(set(bodies)) == 6
        ids.append(set(bodies))
    assert ids[0] == ids[1]


def test_of_a_kind_too_many_each_is_told(across: Across) -> None:
    kinds_most = 64
    with server(echo) as target:
        addresses = served(across, [target] * (kinds_most + 6))
        until(lambda: across.near.core.streams() == 0)
        across.near.core.events()
        # All in one turn of whoever listens.
        for address in addresses:
            short(address)
    until(lambda: across.near.core.streams() == 0)
    found: list[tuple[Any, ...]] = []

    def are_all_told() -> bool:
        found.extend(across.near.core.events(4096, False))
        return len([each for each in found if each[0] in TELLS_AN_END]) == len(addresses)

    until(are_all_told)
    assert len([each for each in found if each[0] == native.EVENT_STREAMS_DONE]) >= kinds_most
    assert len({each[2] for each in found if each[0] in TELLS_AN_END}) == len(addresses)
