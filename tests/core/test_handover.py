"""The state of all workers, written by one core and taken by another: nothing that flows notices."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pcgrelay._core.face import core as native
from tests.support.applications import PATIENCE, Across, client, echo, pattern, server, transfer, was_reset
from tests.support.cores import frozen_record
from tests.support.handover import hand_over
from tests.support.waiting import receive, until

MEGABYTE = 1 << 20


WAYS = {"edge-edge": (0, 1, 1), "edge-relay-edge": (1, 1, 1), "three-lanes": (1, 3, 1), "two-workers": (1, 3, 2)}


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def across(request: pytest.FixtureRequest) -> Iterator[Across]:
    relays, lanes, workers = request.param
    with Across(relays=relays, lanes=lanes, workers=workers) as built:
        yield built


@pytest.mark.parametrize(
    ("across", "which"),
    [
        pytest.param(way, which, id=f"{name}-{which}")
        for name, way in WAYS.items()
        for which in (("near", "relay", "far") if way[0] else ("near", "far"))
    ],
    indirect=["across"],
)
def test_a_stream_in_transfer_goes_on_in_another_core(across: Across, which: str) -> None:
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


def test_streams_that_wait_for_their_flow_are_opened_in_their_order() -> None:
    """A table knows no order of theirs, and the far edge takes no number below one that it had."""
    with server(echo) as target, Across(relays=0) as across:
        address = across.serve(target)
        across.far.core.freeze()
        # Nobody answers on the new path, so the flow resumes until the far edge goes on.
        across.realm.path(across.session, across.near, across.far, [], across.links[0])
        clients = [client(address) for _ in range(40)]
        until(lambda: across.near.core.streams() == len(clients))
        hand_over(across, across.near, target)
        across.far.core.start()
        for number, connection in enumerate(clients):
            connection.sendall(b"stream %2d" % number)
        for number, connection in enumerate(clients):
            assert receive(connection, 9) == b"stream %2d" % number
            connection.close()


def test_what_is_frozen_goes_on_as_if_nothing_had_been(across: Across) -> None:
    data = pattern(20 * MEGABYTE)
    with server(echo) as target:
        address = across.serve(target)
        received: list[bytes] = []
        running = threading.Thread(target=lambda: received.append(transfer(address, data)))
        running.start()
        for node in across.nodes * 3:
            _, fds = frozen_record(node)
            for fd in fds:
                os.close(fd)
            node.core.start()
        running.join(PATIENCE)
        assert received == [data]


def watched() -> int:
    """Of how many descriptors epoll tells somebody in this process, be they closed here and held elsewhere."""
    count = 0
    for path in Path("/proc/self/fdinfo").iterdir():
        # What listed the folder is itself gone by now.
        with contextlib.suppress(FileNotFoundError):
            count += path.read_text().count("tfd:")
    return count


def test_what_ends_while_another_process_still_holds_it_ends_all_the_same(across: Across) -> None:
    """A new process that was given up may hang, and its copies keep every connection from ending by being closed."""
    with server(echo) as target:
        before = watched()
        address = across.serve(target)
        until(lambda: watched() == before + across.near.core.workers)
        leaves, stays = client(address), client(address)
        for connection in (leaves, stays):
            connection.sendall(b"here")
            assert receive(connection, 4) == b"here"
        copies: list[int] = []
        for node in across.nodes:
            copies += frozen_record(node)[1]
            node.core.start()

        leaves.shutdown(socket.SHUT_WR)
        assert leaves.recv(1) == b""
        leaves.close()
        until(lambda: across.near.core.streams() == across.far.core.streams() == 1)
        across.near.core.session_close(across.session, 0)
        assert was_reset(stays)
        stays.close()
        until(lambda: across.far.core.streams() == 0)
        across.near.core.import_unlisten(0)
        until(lambda: is_refused_at(address))
        (first, *_) = across.links
        lanes = across.near.core.links()[first]["lanes_up"]
        across.near.core.link_close(first, 0)
        for _ in range(lanes):
            across.nodes[1].wait_kind(native.EVENT_LANE_DOWN)
        until(lambda: watched() == before - 2 * lanes)

        for fd in copies:
            os.close(fd)


def is_refused_at(address: tuple[str, int]) -> bool:
    """Whether nobody listens there any more; a reset comes from a listener that goes just now."""
    try:
        with client(address):
            return False
    except ConnectionResetError:
        return False
    except ConnectionRefusedError:
        return True


def test_each_epoch_has_stepped_once_the_other_core_goes_on(across: Across) -> None:
    with server(echo) as target, client(across.serve(target)) as connection:
        connection.sendall(b"before")
        assert receive(connection, 6) == b"before"
        lanes = sum(figures["lanes"] for figures in across.near.core.per_worker())
        before = across.near.core.counters()["rekeys_total"]
        hand_over(across, across.near, target)
        connection.sendall(b"after!")
        assert receive(connection, 6) == b"after!"
        # Each lane, and each flow.
        until(lambda: across.near.core.counters()["rekeys_total"] >= before + 2 * lanes)


def test_a_renewal_that_both_sides_keep_is_agreed_after_the_hand_over() -> None:
    with Across(relays=0) as across, server(echo) as target, client(across.serve(target)) as connection:
        connection.sendall(b"before")
        assert receive(connection, 6) == b"before"
        (link,) = across.links
        for node in across.nodes:
            node.core.link_renew(link, secret=across.realm.secret("of a link"), mix=1)
            node.core.session_renew(across.session, secret=across.realm.secret("of a session"), mix=1)
            node.wait_kind(native.EVENT_LINK_RENEWED)
            node.wait_kind(native.EVENT_SESSION_RENEWED)
        hand_over(across, across.near, target)
        for node in across.nodes:
            node.core.link_mix(link, 1)
            node.core.session_mix(across.session, 1)
        connection.sendall(b"after!")
        assert receive(connection, 6) == b"after!"
        # Each side has seen the other one step with it; with another secret nothing would open any more.
        for node in across.nodes:
            until(lambda node=node: node.core.links()[link]["mix"] == 1)  # type: ignore[misc]
            until(lambda node=node: node.core.sessions()[across.session]["mix"] == 1)  # type: ignore[misc]
        hand_over(across, across.near, target)
        connection.sendall(b"later.")
        assert receive(connection, 6) == b"later."
