"""Real workers and real sockets: how connections end, cleanly, by a reset or by a time."""

import socket
import threading
import time

import pytest

from tests.support.applications import (
    Across,
    client,
    echo,
    pattern,
    read_all,
    reset,
    server,
    transfer,
    was_reset,
)
from tests.support.cores import listen
from tests.support.handover import hand_over
from tests.support.stream_ends import causes, end_of, ends
from tests.support.waiting import until

MEGABYTE = 1 << 20


def test_a_client_that_ends_first_still_hears_the_server(across: Across) -> None:
    heard: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        heard.append(read_all(connection))
        connection.sendall(pattern(MEGABYTE))

    with server(talk) as target, client(across.serve(target)) as connection:
        connection.sendall(b"all I have to say")
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == pattern(MEGABYTE)
    assert heard == [b"all I have to say"]
    assert causes(across.near) == causes(across.far) == (0, "done")


def test_a_server_that_ends_first_still_hears_the_client(across: Across) -> None:
    heard: list[bytes] = []
    done = threading.Event()

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"all I have to say")
        connection.shutdown(socket.SHUT_WR)
        heard.append(read_all(connection))
        done.set()

    with server(talk) as target, client(across.serve(target)) as connection:
        assert read_all(connection) == b"all I have to say"
        connection.sendall(pattern(MEGABYTE))
        connection.shutdown(socket.SHUT_WR)
        assert done.wait(20)
    assert heard == [pattern(MEGABYTE)]
    assert causes(across.near) == causes(across.far) == (0, "done")


def test_the_last_bytes_come_before_the_end(across: Across) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(pattern(200_000))

    with server(talk) as target:
        address = across.serve(target)
        for _ in range(20):
            with client(address) as connection:
                assert read_all(connection) == pattern(200_000)


def test_a_reset_of_the_client_reaches_the_server(across: Across) -> None:
    seen: list[bool] = []
    done = threading.Event()

    def talk(connection: socket.socket) -> None:
        connection.sendall(b"hello")
        seen.append(was_reset(connection))
        done.set()

    with server(talk) as target:
        connection = client(across.serve(target))
        assert connection.recv(5) == b"hello"
        reset(connection)
        assert done.wait(20)
    assert seen == [True]
    assert causes(across.near) == (8, "application-reset")
    assert end_of(across.far)[8:12] == (8, "far-reset", 0xFFFF, True)


def test_a_reset_of_the_server_reaches_the_client(across: Across) -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(1)
        reset(connection)

    with server(talk) as target, client(across.serve(target)) as connection:
        connection.sendall(b"x")
        assert was_reset(connection)
    assert causes(across.far) == (8, "application-reset")


def test_a_client_that_leaves_before_the_answer_leaves_nothing(across: Across) -> None:
    with server(echo) as target:
        address = across.serve(target)
        for _ in range(30):
            reset(client(address))
        until(lambda: len(ends(across.near)) == 30 and across.far.core.streams() == 0)
        assert transfer(address, b"hello") == b"hello"
        until(lambda: across.near.core.streams() == across.far.core.streams() == 0)


def test_half_closed_connections_end_when_nothing_moves() -> None:
    over = threading.Event()

    def stay(connection: socket.socket) -> None:
        read_all(connection)
        over.wait(20)

    with server(stay) as target, Across(relays=0, linger_ms=200) as across:
        with client(across.serve(target)) as connection:
            connection.shutdown(socket.SHUT_WR)
            assert was_reset(connection)
        # Before the server ends its half, or that would be an end like any other.
        assert {end_of(node)[9] for node in (across.near, across.far)} <= {"linger", "far-reset"}
        over.set()


def thinks(connection: socket.socket) -> None:
    """A server that reads to the end, and answers after some time."""
    data = read_all(connection)
    time.sleep(1.5)
    connection.sendall(data[::-1])


def test_another_time_for_half_closed_connections_reaches_those_that_are() -> None:
    with server(thinks) as target, Across(relays=0, linger_ms=500) as across, client(across.serve(target)) as longer:
        longer.sendall(b"hello")
        longer.shutdown(socket.SHUT_WR)
        for node in across.nodes:
            node.core.settings(linger_ms=60_000)
        assert read_all(longer) == b"olleh"
        with client(listen(across.near)) as shorter:
            shorter.shutdown(socket.SHUT_WR)
            until(lambda: across.far.core.streams() == 1)
            for node in across.nodes:
                node.core.settings(linger_ms=200)
            assert was_reset(shorter)


def test_a_process_that_takes_over_has_its_own_time_for_half_closed_connections() -> None:
    with server(thinks) as target, Across(relays=0, linger_ms=700) as across, client(across.serve(target)) as waits:
        waits.sendall(b"hello")
        waits.shutdown(socket.SHUT_WR)
        until(lambda: across.far.core.counters()["application_received_bytes"] == 5)
        for node in across.nodes:
            hand_over(across, node, target)
        assert read_all(waits) == b"olleh"


@pytest.mark.parametrize("code", [0, 9])
def test_no_end_but_fin_looks_like_an_end(across: Across, code: int) -> None:
    """A session that ends in order is no end of its streams: what is cut short must not look whole."""
    with server(echo) as target, client(across.serve(target)) as connection:
        connection.sendall(b"hello")
        assert connection.recv(5) == b"hello"
        across.far.core.session_close(across.session, code)
        assert was_reset(connection)
