"""Direct streams: an application and a server of another network, joined by the edge alone."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import sys
import termios
import threading
from collections.abc import Iterator

import pytest

from pcgrelay._core.face import core as native
from tests.support.applications import (
    client,
    echo,
    is_turned_away,
    pattern,
    read_all,
    reset,
    server,
    swallow,
    transfer,
    was_reset,
)
from tests.support.cores import CoreRealm, Node, carried_out, frozen_record, listen
from tests.support.ports import free_port
from tests.support.waiting import until

MEGABYTE = 1 << 20


class DirectImport:
    """An import with direct outlets alone: no session, no far edge."""

    def __init__(self, *targets: tuple[str, int], source: str = "", **options: int) -> None:
        self.realm = CoreRealm()
        self.node: Node = self.realm.edge(**options)
        self.meter = self.node.core.meter_open(2)
        self.publish(self.node, targets, source)
        self.address = listen(self.node)

    def publish(self, node: Node, targets: tuple[tuple[str, int], ...], source: str = "") -> None:
        ways = [
            (native.OUTLET_GATEWAY, 1_000, [], None),
            (native.OUTLET_DIRECT, 1_000, list(targets), [source] if source else []),
        ]
        row = (self.meter, True, True, 5_000, 0, bytes([1]) * 200, b"", ways)
        node.core.publish(exports=[], imports=[(0, b"echo", 1, 0, native.IMPORT_DOWN, [], row)], grants=[])
        carried_out(node)

    def __enter__(self) -> DirectImport:
        return self

    def __exit__(self, *_: object) -> None:
        self.realm.close()

    def told(self) -> list[object]:
        """What was told of set-ups that failed, and of streams that broke."""
        return [event[3] for event in self.node.seen if event[0] == native.EVENT_SETUP_ENDED and any(event[8])]

    def end(self) -> tuple[object, object, int, int]:
        """Code, cause, bytes sent and received of the one stream that ended."""
        event = self.node.wait_kind(native.EVENT_STREAM_END)
        return event[8], event[9], event[5], event[6]


def test_bulk_in_both_directions_is_what_it_was() -> None:
    data = pattern(32 * MEGABYTE)
    with server(echo) as target, DirectImport(target) as direct:
        assert hashlib.sha256(transfer(direct.address, data)).digest() == hashlib.sha256(data).digest()
        assert direct.end() == (0, "done", len(data), len(data))
        until(lambda: direct.node.core.memory()["used_bytes"] == 0)


def test_half_closed_either_way() -> None:
    with server(swallow) as target, DirectImport(target) as direct, client(direct.address) as connection:
        connection.sendall(b"x" * MEGABYTE)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b"%d" % MEGABYTE

    def says_and_listens(connection: socket.socket) -> None:
        connection.sendall(b"all I have")
        connection.shutdown(socket.SHUT_WR)
        heard.append(read_all(connection))

    heard: list[bytes] = []
    with server(says_and_listens) as target, DirectImport(target) as direct, client(direct.address) as connection:
        assert read_all(connection) == b"all I have"
        connection.sendall(b"and I")
        connection.shutdown(socket.SHUT_WR)
        until(lambda: heard == [b"and I"])
        assert direct.end()[1] == "done"


def test_a_reset_reaches_the_other_side() -> None:
    seen: list[bool] = []

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"hello")
        seen.append(was_reset(connection))

    with server(talk) as target, DirectImport(target) as direct:
        connection = client(direct.address)
        assert connection.recv(5) == b"hello"
        reset(connection)
        until(lambda: seen == [True])
        assert direct.end()[1] == "application-reset"

    with server(reset) as target, DirectImport(target) as direct:
        assert is_turned_away(direct.address)
        assert direct.end()[1] == "far-reset"
        figures = direct.node.core.meter_read(direct.meter)[1][0]
        assert (figures["up"], figures["early"], figures["cut"]) == (1, 1, 0)
        assert direct.told() == ["early"]


def test_a_reset_after_data_is_cut() -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(b"hello")
        connection.recv(1)
        reset(connection)

    with server(talk) as target, DirectImport(target) as direct:
        with client(direct.address) as connection:
            assert connection.recv(5) == b"hello"
            connection.sendall(b"x")
            assert was_reset(connection)
        direct.end()
        figures = direct.node.core.meter_read(direct.meter)[1][0]
        assert (figures["early"], figures["cut"]) == (0, 1)
        # With the client's address, which the control plane makes a keyed hash of.
        assert direct.told() == ["cut"]


def test_what_was_sent_before_a_reset_arrives() -> None:
    data = pattern(MEGABYTE)

    def talk(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.recv(1)
        reset(connection)

    with server(talk) as target, DirectImport(target) as direct, client(direct.address) as connection:
        got = bytearray()
        while len(got) < len(data):
            got += connection.recv(len(data) - len(got))
        connection.sendall(b"x")
        assert bytes(got) == data
        assert was_reset(connection)


def test_a_reader_that_stops_holds_its_writer_and_little_memory() -> None:
    go_on = threading.Event()

    def talk(connection: socket.socket) -> None:
        go_on.wait(20)
        swallow(connection)

    with server(talk) as target, DirectImport(target) as direct:
        connection = client(direct.address)
        connection.settimeout(0.5)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while True:
                sent += connection.send(b"x" * 65_536)
        assert 0 < direct.node.core.memory()["used_bytes"] < 400_000
        go_on.set()
        connection.settimeout(20)
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b"%d" % sent
        connection.close()


def test_a_reset_behind_a_fin_meets_bulk_that_is_under_way() -> None:
    """The half that is written to ends in the middle of a turn, and more is there to be read for it."""

    def pump(connection: socket.socket) -> None:
        block = bytes(MEGABYTE)
        with contextlib.suppress(OSError):
            connection.recv(1)
            while True:
                connection.sendall(block)

    with server(pump) as target, DirectImport(target) as direct:
        for _ in range(60):
            connection = client(direct.address)
            connection.sendall(b"x")
            connection.shutdown(socket.SHUT_WR)
            for _ in range(8):
                assert connection.recv(MEGABYTE)
            reset(connection)
        until(lambda: direct.node.core.streams() == 0)
        assert transfer_of_one(direct) == b"x"


def transfer_of_one(direct: DirectImport) -> bytes:
    """A byte through a stream that comes after all others."""
    with client(direct.address) as connection:
        connection.sendall(b"x")
        return b"x" if connection.recv(1) == b"\0" else b""


def test_many_at_once() -> None:
    with server(echo) as target, DirectImport(target, workers=2) as direct:
        wrong: list[int] = []

        def one(number: int) -> None:
            data = pattern(100_000, number)
            if transfer(direct.address, data) != data:
                wrong.append(number)

        threads = [threading.Thread(target=one, args=(number,)) for number in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert wrong == []
        until(lambda: direct.node.core.streams() == 0)
        figures = direct.node.core.meter_read(direct.meter)[1][0]
        assert (figures["up"], figures["active"]) == (64, 0)


def test_the_second_address_is_tried_and_the_source_is_what_was_said() -> None:
    nobody = "127.0.0.1", free_port()
    peers: list[str] = []

    def talk(connection: socket.socket) -> None:
        peers.append(connection.getpeername()[0])
        echo(connection)

    with server(talk) as target, DirectImport(nobody, target, source="127.0.0.9") as direct:
        assert transfer(direct.address, b"hello") == b"hello"
    assert peers == ["127.0.0.9"]


def test_a_source_that_is_not_ours_is_the_nodes_own_fault() -> None:
    with server(echo) as target, DirectImport(target, source="192.0.2.1") as direct:
        with pytest.raises(ConnectionResetError), client(direct.address) as connection:
            connection.recv(1)
        direct.end()
        assert direct.node.core.meter_read(direct.meter)[1][0]["local"] == 1


def test_an_idle_pair_is_small() -> None:
    with server(echo) as target, DirectImport(target) as direct:
        connections = [client(direct.address) for _ in range(50)]
        for connection in connections:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
        assert direct.node.core.memory()["used_bytes"] / len(connections) <= 1024
        for connection in connections:
            connection.close()


def test_a_worker_that_stops_lets_go_of_all() -> None:
    with server(echo) as target, DirectImport(target) as direct:
        connections = [client(direct.address) for _ in range(5)]
        for connection in connections:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
        direct.node.core.stop()
        for connection in connections:
            assert was_reset(connection) or True
            connection.close()


def hand_over(direct: DirectImport, *targets: tuple[str, int]) -> None:
    """Another core takes the place of the node's, as in an upgrade."""
    old = direct.node.core
    record, fds = frozen_record(direct.node)
    direct.node.core = native.Core(workers=old.workers, memory_bytes=64 << 20, role=native.ROLE_EDGE)
    assert direct.node.core.handover_read(record, fds) == []
    for fd in old.handover_write(record):
        os.close(fd)
    old.abandon()
    direct.meter = direct.node.core.meter_open(2)
    direct.publish(direct.node, targets)
    direct.node.core.start()


def unsent(connection: socket.socket) -> int:
    """Bytes that the far kernel has not acknowledged."""
    return int.from_bytes(fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)


@contextlib.contextmanager
def accepting(listener: socket.socket) -> Iterator[None]:
    """Echo on all that connected to this listener and on all that will."""
    held: list[socket.socket] = []

    def talk(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            echo(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                held.append(listener.accept()[0])
                threading.Thread(target=talk, args=(held[-1],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        for connection in held:
            connection.close()


def test_a_hand_over_keeps_them() -> None:
    data = pattern(8 * MEGABYTE)
    with server(echo) as target, DirectImport(target) as direct:
        idle = client(direct.address)
        idle.sendall(b"before")
        assert idle.recv(6) == b"before"
        got: list[bytes] = []
        busy = threading.Thread(target=lambda: got.append(transfer(direct.address, data)))
        busy.start()
        for _ in range(5):
            hand_over(direct, target)
        busy.join(20)
        assert got == [data]
        figures = direct.node.core.meter_read(direct.meter)[1][0]
        assert figures["active"] == 1
        idle.sendall(b"after")
        assert idle.recv(5) == b"after"
        idle.close()
        until(lambda: direct.node.core.streams() == 0)
        assert direct.node.core.meter_read(direct.meter)[1][0]["active"] == 0


def test_a_hand_over_keeps_what_came_by_each_listener() -> None:
    with server(echo) as target, DirectImport(target) as direct:
        further = listen(direct.node, counts=7)
        stays, goes, other = client(further), client(further), client(direct.address)
        for connection in (stays, goes, other):
            connection.sendall(b"before")
            assert connection.recv(6) == b"before"
        goes.close()
        until(lambda: direct.node.core.listener(7) == (2, 1, 6, 6))
        hand_over(direct, target)
        assert direct.node.core.listener(7) == (2, 1, 6, 6)
        # The listener itself knows its counts too.
        with client(further) as fresh:
            fresh.sendall(b"x")
            assert fresh.recv(1) == b"x"
        stays.sendall(b"after")
        assert stays.recv(5) == b"after"
        stays.close()
        until(lambda: direct.node.core.listener(7) == (3, 0, 18, 18))
        other.close()


def test_a_hand_over_keeps_what_is_being_set_up() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        held = [socket.socket() for _ in range(3)]
        for each in held:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        with DirectImport(full.getsockname()) as direct:
            waiting = client(direct.address)
            until(lambda: direct.node.core.meter_read(direct.meter)[1][0]["tried"] == 1)
            hand_over(direct, full.getsockname())
            for each in held:
                each.close()
            with accepting(full):
                waiting.sendall(b"hello")
                assert waiting.recv(5) == b"hello"
            waiting.close()


def test_a_half_that_writes_its_last_is_kept() -> None:
    """The target reset after much data; the application is slow to read it."""
    data = pattern(2 * MEGABYTE)

    def talk(connection: socket.socket) -> None:
        connection.sendall(data)
        # All of it has to be with the edge, or the reset takes the rest from it.
        until(lambda: unsent(connection) == 0)
        connection.recv(1)
        reset(connection)

    with server(talk) as target, DirectImport(target) as direct:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(20)
        connection.connect(direct.address)
        connection.sendall(b"x")
        until(lambda: direct.node.core.memory()["used_bytes"] > 0)
        hand_over(direct, target)
        got = bytearray()
        while len(got) < len(data):
            got += connection.recv(len(data) - len(got))
        assert bytes(got) == data
        assert was_reset(connection)
        connection.close()


def test_what_waits_to_be_written_does_not_wait_for_more() -> None:
    """The application reads only after the hand-over. Nothing else happens that could remind a worker of its bytes."""
    data = pattern(32 * MEGABYTE)

    def talk(connection: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)

    with server(talk) as target, DirectImport(target) as direct:
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(20)
        connection.connect(direct.address)
        # More than a pair, however little of a read the socket has not taken.
        until(lambda: direct.node.core.memory()["used_bytes"] > 1_024)
        hand_over(direct, target)
        assert read_all(connection) == data
        connection.close()
