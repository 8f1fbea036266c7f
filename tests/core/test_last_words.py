"""What was said before a reset arrives: as over one connection, in both directions, wherever the bytes are by then."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import termios
import threading
from collections.abc import Callable, Iterator

import pytest

from pcgrelay._core.face import core as native
from tests.support.applications import Across, client, pattern, reset, server
from tests.support.cores import Node, carried_out, listen
from tests.support.handover import hand_over
from tests.support.waiting import until

CLIENTS = 25
SIZES = [1, 300, 70_000, 200_000]
UPLOAD = pattern(2 << 20, seed=7)


def is_delivered(connection: socket.socket) -> bool:
    """Has the other machine acknowledged all? What it has not, a reset takes from it, directly too."""
    (left,) = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))
    return left == 0


def serve_at(across: Across, *targets: tuple[str, int]) -> tuple[str, int]:
    """Serve targets, the later ones if the earlier ones cannot be reached."""
    address = across.serve(targets[0])
    rows = [(0, b"echo", 1, 0, native.EXPORT_READY, 2000, targets)]
    across.far.core.publish(exports=rows, imports=[], grants=[(across.session, [0])])
    carried_out(across.far)
    return address


def last_words(connection: socket.socket, words: bytes) -> None:
    connection.sendall(words)
    until(lambda: is_delivered(connection))


def heard(connection: socket.socket) -> tuple[bytes, bool]:
    """All that comes, and whether it ended by a reset."""
    data = bytearray()
    try:
        while part := connection.recv(1 << 16):
            data += part
    except ConnectionResetError:
        return bytes(data), True
    return bytes(data), False


def upload(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(UPLOAD)


class Counted:
    """A server that counts its connections and keeps what each of them heard."""

    def __init__(self, talk: Callable[[socket.socket], None] | None = None) -> None:
        self.talk = talk
        self.connections = 0
        self.heard: list[tuple[bytes, bool]] = []

    def __call__(self, connection: socket.socket) -> None:
        self.connections += 1
        if self.talk is None:
            self.heard.append(heard(connection))
        else:
            self.talk(connection)


# -- the server resets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_an_answer_is_heard_whole_by_who_is_still_sending(across: Across, size: int) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(1_000)
        last_words(connection, pattern(size))
        reset(connection)

    counted = Counted(refuse)
    with server(counted) as target:
        address = across.serve(target)
        for _ in range(5):
            with client(address) as connection:
                sending = threading.Thread(target=upload, args=(connection,), daemon=True)
                sending.start()
                assert heard(connection)[0] == pattern(size)
                sending.join(20)
    assert counted.connections == 5


def close_unread(connection: socket.socket) -> None:
    """With bytes unread the kernel makes a reset of it."""
    until(lambda: bool(connection.recv(1, socket.MSG_PEEK)))
    connection.close()


def end_and_reset(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    reset(connection)


@pytest.mark.parametrize("leave", [reset, close_unread, end_and_reset])
def test_a_banner_is_heard_by_all_and_each_is_connected_once(
    across: Across, leave: Callable[[socket.socket], None]
) -> None:
    def turn_away(connection: socket.socket) -> None:
        connection.sendall(b"too many connections\r\n")
        leave(connection)

    first, second = Counted(turn_away), Counted(turn_away)
    with server(first) as target, server(second) as spare:
        address = serve_at(across, target, spare)
        # A client that meets the reset while it connects hears nothing, directly too.
        with held_back(across.near):
            connections = [client(address) for _ in range(CLIENTS)]
        for connection in connections:
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"hello")
                assert heard(connection)[0] == b"too many connections\r\n"
    assert (first.connections, second.connections) == (CLIENTS, 0)


def test_a_reset_without_a_word_before_the_first_look_is_no_refusal(across: Across) -> None:
    """The next address is for a connection that was not made."""
    first, second = Counted(reset), Counted(reset)
    with server(first) as target, server(second) as spare:
        address = serve_at(across, target, spare)
        for _ in range(CLIENTS):
            with contextlib.suppress(ConnectionResetError), client(address) as connection:
                heard(connection)
        until(lambda: across.far.core.streams() == 0)
    assert (first.connections, second.connections) == (CLIENTS, 0)


@contextlib.contextmanager
def held_back(node: Node) -> Iterator[None]:
    """What comes meanwhile is all there when the node looks again."""
    node.core.freeze()
    try:
        yield
    finally:
        node.core.start()


def test_what_comes_with_the_reset_is_written(across: Across) -> None:
    released = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.recv(1)
        released.wait(20)
        last_words(connection, pattern(50_000))
        reset(connection)

    with server(answer) as target, client(across.serve(target)) as connection:
        connection.sendall(b"x")
        until(lambda: across.far.core.counters()["application_received_bytes"] == 1)
        with held_back(across.near):
            released.set()
            until(lambda: across.far.core.streams() == 0)
        assert heard(connection) == (pattern(50_000), True)


@pytest.mark.parametrize("code", [0, 9])
def test_what_comes_with_the_end_of_the_session_is_written(across: Across, code: int) -> None:
    released = threading.Event()

    def answer(connection: socket.socket) -> None:
        connection.recv(1)
        released.wait(20)
        connection.sendall(pattern(50_000))
        connection.recv(1)

    with server(answer) as target, client(across.serve(target)) as connection:
        connection.sendall(b"x")
        until(lambda: across.far.core.counters()["application_received_bytes"] == 1)
        with held_back(across.near):
            released.set()
            until(lambda: across.far.core.counters()["application_sent_bytes"] == 50_000)
            across.far.core.session_close(across.session, code)
            until(lambda: across.far.core.streams() == 0)
        assert heard(connection) == (pattern(50_000), True)


# -- the client resets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ended", [False, True], ids=["reset", "end-and-reset"])
def test_a_request_is_heard_whole_by_the_server(across: Across, size: int, ended: bool) -> None:
    counted = Counted()
    with server(counted) as target:
        address = across.serve(target)
        for _ in range(5):
            connection = client(address)
            last_words(connection, pattern(size))
            if ended:
                end_and_reset(connection)
            else:
                reset(connection)
        until(lambda: len(counted.heard) == 5)
    assert [data for data, _ in counted.heard] == [pattern(size)] * 5
    if not ended:
        assert all(was_reset for _, was_reset in counted.heard)


def test_a_request_that_comes_with_its_reset_is_heard_by_the_server(across: Across) -> None:
    counted = Counted()
    with server(counted) as target:
        address = across.serve(target)
        with held_back(across.far):
            for _ in range(5):
                connection = client(address)
                last_words(connection, b"a request")
                reset(connection)
            until(lambda: across.near.core.streams() == 0)
        until(lambda: len(counted.heard) == 5)
    assert counted.heard == [(b"a request", True)] * 5


@pytest.mark.parametrize("handed_over", [False, True])
def test_a_request_that_waits_for_a_route_outlives_its_client(handed_over: bool) -> None:
    counted = Counted()
    pending = [(0, b"echo", 1, 0, native.IMPORT_PENDING, [])]
    with server(counted) as target, Across(relays=0) as across:
        across.near.core.publish(exports=[], imports=pending, grants=[])
        connection, silent = client(listen(across.near)), client(listen(across.near))
        last_words(connection, b"a request")
        until(lambda: across.near.core.streams() == 2)
        reset(connection)
        reset(silent)
        # Who had nothing to say is forgotten.
        until(lambda: across.near.core.streams() == 1)
        if handed_over:
            hand_over(across, across.near, imports=pending)
        across.serve(target)
        until(lambda: len(counted.heard) == 1)
    assert counted.heard == [(b"a request", True)]


# -- nobody reads yet -------------------------------------------------------------------------------------------------


LITTLE = 4_096
MUCH = 300_000  # more than a window and what those sockets hold, by less than what the far edge's own holds


@contextlib.contextmanager
def a_full_stream(across: Across) -> Iterator[tuple[socket.socket, tuple[str, int]]]:
    """A client that has read nothing of an answer, which its server has reset; and the target."""

    def answer(connection: socket.socket) -> None:
        last_words(connection, pattern(MUCH))
        reset(connection)
        gone.set()

    gone = threading.Event()
    with server(answer) as target, socket.create_server(("127.0.0.1", 0)) as listener:
        across.serve(target)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LITTLE)
        listener.setblocking(False)
        address = listener.getsockname()
        across.near.core.import_listen(0, [listener.detach()])
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)
            connection.settimeout(20)
            connection.connect(address)
            assert gone.wait(20)
            yield connection, target


def test_an_answer_waits_for_a_reader_that_is_late(across: Across) -> None:
    with a_full_stream(across) as (connection, _):
        assert across.near.core.streams() == across.far.core.streams() == 1
        assert heard(connection) == (pattern(MUCH), True)
        until(lambda: across.near.core.streams() == across.far.core.streams() == 0)


def test_an_answer_waits_while_its_reader_only_writes(across: Across) -> None:
    with a_full_stream(across) as (connection, _):
        connection.sendall(UPLOAD)
        assert heard(connection) == (pattern(MUCH), True)


@pytest.mark.parametrize("which", ["near", "far", "both"])
def test_an_answer_outlives_a_hand_over(across: Across, which: str) -> None:
    with a_full_stream(across) as (connection, target):
        for node in (across.near, across.far):
            if which in ("both", "near" if node is across.near else "far"):
                hand_over(across, node, target)
        assert heard(connection) == (pattern(MUCH), True)
        until(lambda: across.near.core.streams() == across.far.core.streams() == 0)


def test_an_answer_that_is_being_written_outlives_a_hand_over(across: Across) -> None:
    """By then the far edge has said RESET, and the near edge still has most of what came before."""
    with a_full_stream(across) as (connection, target):
        data = b""
        while across.far.core.streams() != 0:
            data += connection.recv(LITTLE)
        assert across.near.core.streams() == 1
        hand_over(across, across.near, target)
        rest, was_reset = heard(connection)
        assert (data + rest, was_reset) == (pattern(MUCH), True)
