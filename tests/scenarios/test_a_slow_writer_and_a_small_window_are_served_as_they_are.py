"""Applications at the edge of what TCP allows: one byte at a time, and a window of 64 KiB."""

import socket
import threading
import time
from collections.abc import Callable

import pytest

from tests.scenarios.kit.nodes import Line
from tests.scenarios.kit.socket_steps import accepted, bind_listener, connect, read_exactly, read_to_end, sequence, wire

pytestmark = pytest.mark.tier_test

LETTERS = 5_000
BODY = 32 << 20
# What the kernel doubles to 64 KiB.
WINDOW = 32 << 10


def test_a_writer_of_single_bytes(path: Line) -> None:
    said = sequence(LETTERS, "letters")
    with wire(path) as (client, server):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        writer = threading.Thread(target=lambda: [client.sendall(said[at : at + 1]) for at in range(LETTERS)])
        writer.start()
        assert read_exactly(server, LETTERS) == said
        writer.join(10)
        # The first byte of an answer does not wait for a second one.
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(100):
            server.sendall(said[at : at + 1])
            assert client.recv(10) == said[at : at + 1]
    path.await_quiet()


@pytest.mark.tier_all
def test_a_reader_with_a_small_window(path: Line, figure: Callable[[str], None]) -> None:
    body = sequence(BODY, "wide")
    with bind_listener(path.target("echo")) as listener, connect(path.door("echo"), receive_buffer=WINDOW) as client:
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * WINDOW
        with accepted(listener) as server:
            writer = threading.Thread(target=lambda: (server.sendall(body), server.shutdown(socket.SHUT_WR)))
            writer.start()
            begun = time.monotonic()
            # Compared whole, and not by its parts, so that a failure does not print it.
            same = read_to_end(client) == body
            seconds = time.monotonic() - begun
            writer.join(10)
    assert same
    path.await_quiet()
    figure(f"{BODY / seconds / 1e6:.0f} MB/s down")


@pytest.mark.tier_all
def test_a_server_with_a_small_window(path: Line, figure: Callable[[str], None]) -> None:
    body = sequence(BODY, "narrow")
    with bind_listener(path.target("echo"), receive_buffer=WINDOW) as listener, connect(path.door("echo")) as client:
        writer = threading.Thread(target=lambda: (client.sendall(body), client.shutdown(socket.SHUT_WR)))
        writer.start()
        with accepted(listener) as server:
            begun = time.monotonic()
            same = read_to_end(server) == body
            seconds = time.monotonic() - begun
        writer.join(10)
    assert same
    path.await_quiet()
    figure(f"{BODY / seconds / 1e6:.0f} MB/s up")
