"""When the control plane hears of streams that ended: soon, and not once for each."""

import select
import threading
import time
from collections.abc import Iterator

import pytest

from pcgrelay._core.face import core as native
from tests.support.applications import Across, client, echo, read_all, server
from tests.support.cores import Node
from tests.support.waiting import until

TICK_S = 0.05
STREAMS = 200


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
    near.wait_kind(native.EVENT_STREAM_END, 1.0)
