"""Both ends of a relayed connection as plain blocking sockets, so that a scenario reads as a list of steps.

Whatever one end sends waits in the gateways for the other, so one thread can play both.
"""

from __future__ import annotations

import hashlib
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Self

import pytest

from tests.scenarios.kit.nodes import Address, Line
from tests.support.waiting import until

WAIT_S = 30.0


@contextmanager
def bind_listener(address: Address, backlog: int = 128, receive_buffer: int = 0) -> Iterator[socket.socket]:
    """A server's socket at a target."""
    with socket.socket() as sock:
        sock.settimeout(WAIT_S)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.bind(address)
        sock.listen(backlog)
        yield sock


def connect(address: Address, receive_buffer: int = 0) -> socket.socket:
    """An application's connection to an import."""
    sock = socket.socket()
    sock.settimeout(WAIT_S)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    try:
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def accepted(server: socket.socket) -> socket.socket:
    sock, _ = server.accept()
    sock.settimeout(WAIT_S)
    return sock


@contextmanager
def wire_between(door: Address, target: Address) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's and the server's end of one relayed connection."""
    # OPEN goes out with the connection, so the server has it without a byte from the client.
    with bind_listener(target) as server, connect(door) as client, accepted(server) as far:
        yield client, far


def wire(line: Line, service: str = "echo") -> AbstractContextManager[tuple[socket.socket, socket.socket]]:
    """The same, for a service of a line."""
    return wire_between(line.door(service), line.target(service))


def reset(sock: socket.socket) -> None:
    """Close so that the other end sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(min(1 << 20, size - len(data)))
        assert piece, f"it ended after {len(data)} of {size} bytes"
        data += piece
    return bytes(data)


def read_to_end(sock: socket.socket) -> bytes:
    """Everything up to a clean end."""
    data = bytearray()
    while piece := sock.recv(1 << 20):
        data += piece
    return bytes(data)


def write_until_reset(sock: socket.socket) -> None:
    """Write until the reset comes back."""
    with pytest.raises((ConnectionResetError, BrokenPipeError)):  # noqa: PT012  (which of them, is a matter of time)
        while True:
            sock.sendall(bytes(16_384))


def sequence(size: int, seed: str) -> bytes:
    """Bytes in which every place differs from every other, and from those of another seed."""
    return hashlib.shake_128(seed.encode()).digest(size)


class Silent:
    """A target that neither takes nor refuses connections: its queue is full, so the kernel drops the rest."""

    def __init__(self, server: socket.socket, stack: ExitStack) -> None:
        self._server = server
        self._in_queue = 0
        while self._fills(stack):
            self._in_queue += 1

    def _fills(self, stack: ExitStack) -> bool:
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(self._server.getsockname())
        # Loopback answers at once or not at all.
        if select.select([], [filler], [], 0.05)[1]:
            stack.enter_context(filler)
            return True
        filler.close()
        return False

    def answer(self) -> socket.socket:
        """Be a target like any other from now on; answer the connection of the gateway."""
        for _ in range(self._in_queue):
            accepted(self._server).close()
        return accepted(self._server)


@contextmanager
def silent(address: Address) -> Iterator[Silent]:
    with ExitStack() as stack:
        server = stack.enter_context(bind_listener(address, backlog=0))
        yield Silent(server, stack)


def refused_after(address: Address) -> float:
    """Connect to an import that closes at once, by a reset; answer after how many seconds."""
    begun = time.monotonic()
    # The reset can be there before the connection is looked at.
    with pytest.raises(ConnectionResetError), connect(address) as client:
        client.recv(1)
    return time.monotonic() - begun


class Conversation:
    """A relayed connection on which one side asks without a pause and the other answers, each word checked."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.words = 0
        self.longest_s = 0.0
        self.failure = ""
        self._client, self._server = client, server
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._talk)

    @classmethod
    @contextmanager
    def over(cls, client: socket.socket, server: socket.socket) -> Iterator[Self]:
        """Talk until the end of the block."""
        made = cls(client, server)
        made._thread.start()
        try:
            yield made
        finally:
            made._ending.set()
            made._thread.join(2 * WAIT_S)

    def await_words(self, more: int, seconds: float = WAIT_S) -> None:
        """Wait until so many more words were heard back."""
        aim = self.words + more
        until(lambda: self.words >= aim or self.failure, seconds, f"{more} words more")
        assert not self.failure

    def forget_the_longest(self) -> None:
        self.longest_s = 0.0

    def _talk(self) -> None:
        try:
            while not self._ending.is_set():
                begun = time.monotonic()
                word = sequence(1_000, f"word {self.words}")
                self._client.sendall(word)
                if read_exactly(self._server, 1_000) != word:
                    raise AssertionError("another word was asked")
                self._server.sendall(word[::-1])
                if read_exactly(self._client, 1_000) != word[::-1]:
                    raise AssertionError("another word was answered")
                self.longest_s = max(self.longest_s, time.monotonic() - begun)
                self.words += 1
        except (OSError, AssertionError) as error:
            self.failure = repr(error)
