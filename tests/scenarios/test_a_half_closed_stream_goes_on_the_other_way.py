"""The end of one direction is carried as such, after the last byte, and leaves the other direction alone."""

import random
import threading

import pytest

from tests.scenarios.kit.nodes import Line
from tests.scenarios.kit.socket_steps import accepted, bind_listener, connect, read_exactly, read_to_end, sequence, wire

pytestmark = pytest.mark.tier_test

MIB = 1 << 20


def test_the_client_says_its_last_and_then_listens(path: Line) -> None:
    with wire(path) as (client, server):
        client.sendall(sequence(MIB // 16, "question"))
        client.shutdown(1)
        assert read_to_end(server) == sequence(MIB // 16, "question")
        # The server has seen the end, and its way back is as open as before.
        for number in range(4):
            server.sendall(sequence(MIB // 16, f"answer {number}"))
            assert read_exactly(client, MIB // 16) == sequence(MIB // 16, f"answer {number}")
        server.close()
        assert client.recv(1) == b""
    path.await_quiet()


def test_the_server_says_its_last_and_then_listens(path: Line) -> None:
    with wire(path) as (client, server):
        server.sendall(b"that is all")
        server.shutdown(1)
        assert read_to_end(client) == b"that is all"
        for number in range(4):
            client.sendall(sequence(MIB // 16, f"more {number}"))
            assert read_exactly(server, MIB // 16) == sequence(MIB // 16, f"more {number}")
        client.close()
        assert server.recv(1) == b""
    path.await_quiet()


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 65_536, 5 * MIB + 7])
def test_no_byte_before_the_end_is_lost(path: Line, size: int) -> None:
    body = sequence(size, "last words")
    with wire(path) as (client, server):
        # Written and closed at once, by a thread, because the reader is the next line.
        writer = threading.Thread(target=lambda: (server.sendall(body), server.close()))
        writer.start()
        assert read_to_end(client) == body
        writer.join(10)
        assert not writer.is_alive()
    with bind_listener(path.target("echo")) as listener, connect(path.door("echo")) as client:
        writer = threading.Thread(target=lambda: (client.sendall(body), client.close()))
        writer.start()
        with accepted(listener) as server:
            assert read_to_end(server) == body
        writer.join(10)
        assert not writer.is_alive()
    path.await_quiet()


def test_a_hundred_short_answers_that_end_at_once_arrive(path: Line) -> None:
    sizes = [random.randrange(1, 40_000) for _ in range(100)]
    with bind_listener(path.target("echo")) as listener:
        for size in sizes:
            with connect(path.door("echo")) as client:
                with accepted(listener) as server:
                    server.sendall(sequence(size, "short"))
                assert read_to_end(client) == sequence(size, "short")
    path.await_quiet()


def test_an_end_that_is_clean_is_logged_as_done(path: Line) -> None:
    with wire(path) as (client, server):
        client.sendall(b"hello")
        client.shutdown(1)
        assert read_to_end(server) == b"hello"
        server.sendall(b"goodbye!")
        server.close()
        assert read_to_end(client) == b"goodbye!"
    path.await_quiet()
    fields = {"service": path.services["echo"].full_name, "code": "done", "cause": "done"}
    path.importer.await_log("stream.end", direction="import", sent_bytes=5, received_bytes=8, **fields)
    path.exporter.await_log("stream.end", direction="export", sent_bytes=8, received_bytes=5, **fields)
