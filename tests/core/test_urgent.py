"""Urgent data come in their place among the others: a stream has no other place for them."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.support.applications import Across, client, pattern, read_all, server
from tests.support.cores import carried_out

BULK = pattern(150_000)
WAYS = {
    "alone": [(b"!", True)],
    "first": [(b"!", True), (b"rest", False)],
    "last": [(b"begin", False), (b"!", True)],
    "between": [(b"begin", False), (b"!", True), (b"rest", False)],
    "many": [(b"%d" % n, n % 2 == 0) for n in range(10)],
    "in-bulk": [(BULK, False), (b"end\xff", True), (BULK, False), (b"!", True), (b"rest", False)],
}


def say(connection: socket.socket, parts: list[tuple[bytes, bool]]) -> None:
    for data, urgent in parts:
        if urgent:
            assert connection.send(data, socket.MSG_OOB) == len(data)
        else:
            connection.sendall(data)


def read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (part := connection.recv(size - len(data))):
        data += part
    return data


def serve(across: Across, target: tuple[str, int]) -> tuple[str, int]:
    """Where a connection comes before its listener was tuned, the kernel may have dropped its first urgent byte."""
    address = across.serve(target)
    carried_out(across.near)
    return address


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ended", [True, False], ids=["ends", "stays"])
def test_what_a_client_sends_urgently_is_heard(across: Across, way: str, ended: bool) -> None:
    heard: list[bytes] = []
    over = threading.Event()
    whole = b"".join(data for data, _ in WAYS[way])

    def hear(connection: socket.socket) -> None:
        # Where the client stays, nothing but these bytes tells that they have come.
        heard.append(read_all(connection) if ended else read(connection, len(whole)))
        over.set()

    with server(hear) as target, client(serve(across, target)) as connection:
        say(connection, WAYS[way])
        if ended:
            connection.shutdown(socket.SHUT_WR)
        assert over.wait(20)
    assert heard == [whole]


@pytest.mark.parametrize("way", WAYS)
def test_what_a_server_sends_urgently_is_heard(across: Across, way: str) -> None:
    whole = b"".join(data for data, _ in WAYS[way])
    with (
        server(lambda connection: (connection.recv(1), say(connection, WAYS[way]), connection.recv(1))) as target,
        client(serve(across, target)) as connection,
    ):
        connection.sendall(b"x")
        assert read(connection, len(whole)) == whole
