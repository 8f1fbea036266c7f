"""Applications at both ends of real nodes: servers that do what a test says, clients that read and write to the end."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise

from tests.support.cores import CoreRealm, Node
from tests.support.waiting import receive

Talk = Callable[[socket.socket], None]
PATIENCE = 20.0


@contextlib.contextmanager
def server(talk: Talk) -> Iterator[tuple[str, int]]:
    """A server that has this talk on each connection, in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    held: list[socket.socket] = []

    def run(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.settimeout(PATIENCE)
            talk(connection)
        connection.close()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                held.append(connection)
                threading.Thread(target=run, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()
    finally:
        # shutdown wakes the thread that accepts; close alone would not.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in held:
            with contextlib.suppress(OSError):
                connection.close()


def echo(connection: socket.socket) -> None:
    while data := connection.recv(65_536):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def swallow(connection: socket.socket) -> None:
    """Read to the end, then answer how much it was."""
    size = 0
    while data := connection.recv(1 << 18):
        size += len(data)
    connection.sendall(b"%d" % size)


def client(address: tuple[str, int]) -> socket.socket:
    connection = socket.create_connection(address, timeout=PATIENCE)
    connection.settimeout(PATIENCE)
    return connection


def client_unless_refused(address: tuple[str, int]) -> socket.socket | None:
    """A client, or nothing if the other side reset its connection at once: that may come before connect() returns."""
    try:
        return client(address)
    except ConnectionResetError:
        return None


def try_open(address: tuple[str, int]) -> socket.socket | None:
    """A stream to an echo that has answered once, and is open until it is closed here; nothing if it was refused.

    Each step may meet the reset: connect(), what is sent, what is received.
    """
    with contextlib.ExitStack() as unless_it_answers, contextlib.suppress(ConnectionError):
        connection = unless_it_answers.enter_context(client(address))
        connection.sendall(b"hello")
        if receive(connection, 5) == b"hello":
            unless_it_answers.pop_all()
            return connection
    return None


def knock(address: tuple[str, int], source: str = "") -> socket.socket:
    """A connection that nobody waits for: it may be under way, made, or refused already."""
    connection = socket.socket()
    connection.setblocking(False)
    if source:
        connection.bind((source, 0))
    # Unlike connect() it raises nothing.
    connection.connect_ex(address)
    return connection


def read_all(connection: socket.socket) -> bytes:
    parts = []
    while data := connection.recv(1 << 18):
        parts.append(data)
    return b"".join(parts)


@contextlib.contextmanager
def silent() -> Iterator[tuple[str, int]]:
    """A listener that never answers: its queue is full, so the kernel drops what knocks."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(knock(full.getsockname()))
        yield full.getsockname()


def reset(connection: socket.socket) -> None:
    """Close with RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def was_reset(connection: socket.socket) -> bool:
    try:
        while connection.recv(65_536):
            pass
    except ConnectionResetError:
        return True
    return False


def is_turned_away(address: tuple[str, int]) -> bool:
    """Does a connection end with RST, perhaps before it is noticed to be one?"""
    connection = client_unless_refused(address)
    if connection is None:
        return True
    with connection:
        return was_reset(connection)


def transfer(address: tuple[str, int], data: bytes) -> bytes:
    """Send and receive at once, to the end of both."""
    with client(address) as connection:

        def send() -> None:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        received = read_all(connection)
        sender.join(PATIENCE)
    return received


def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes in which a shifted or exchanged block shows."""
    block = b"".join(struct.pack(">II", seed, at) for at in range(8_192))
    return (block * (size // len(block) + 1))[:size]


class Across:
    """Two edges with a relay between them or not, and a session from near to far."""

    def __init__(self, *, relays: int = 1, lanes: int = 1, cap: int = 8 << 20, suite: int = 1, **options: int) -> None:
        self.realm = CoreRealm()
        self.near = self.realm.edge(**options)
        self.relays = [self.realm.relay(**options) for _ in range(relays)]
        self.far = self.realm.edge(**options)
        nodes = [self.near, *self.relays, self.far]
        self.links = [self.realm.link(one, other, lanes=lanes, suite=suite) for one, other in pairwise(nodes)]
        way = list(zip(self.relays, self.links[:-1], strict=True))
        self.session = self.realm.session(self.near, self.far, way, self.links[-1], flows=lanes, cap=cap, suite=suite)

    def serve(self, target: tuple[str, int]) -> tuple[str, int]:
        return self.realm.service(self.near, self.far, self.session, target)

    @property
    def nodes(self) -> list[Node]:
        return self.realm.nodes

    def __enter__(self) -> Across:
        return self

    def __exit__(self, *_: object) -> None:
        self.realm.close()
