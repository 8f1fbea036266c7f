"""Small applications for tests with real workers: an echo server, and an exchange whose every byte is checked."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def echo_server() -> Iterator[tuple[str, int]]:
    """Answers every byte; passes the end on."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        threading.Thread(target=_accept, args=(server,), daemon=True).start()
        yield server.getsockname()
        # A blocked accept does not notice that its socket is closed elsewhere.
        server.shutdown(socket.SHUT_RDWR)


def _accept(server: socket.socket) -> None:
    with suppress(OSError):
        while True:
            held, _ = server.accept()
            threading.Thread(target=_echo, args=(held,), daemon=True).start()


def _echo(held: socket.socket) -> None:
    with held, suppress(OSError):
        while data := held.recv(65536):
            held.sendall(data)
        held.shutdown(socket.SHUT_WR)


def exchange(address: tuple[str, int], size: int, seed: int) -> None:
    """Send size random bytes to an echo server while reading them back; they must be the same, with a clean end."""
    payload = random.Random(seed).randbytes(size)
    with socket.create_connection(address, timeout=30) as held:
        writer = threading.Thread(target=_write, args=(held, payload), daemon=True)
        writer.start()
        digest, count = hashlib.sha256(), 0
        while data := held.recv(65536):
            digest.update(data)
            count += len(data)
        writer.join(10)
    assert (count, digest.digest()) == (size, hashlib.sha256(payload).digest())


def _write(held: socket.socket, payload: bytes) -> None:
    # Where the connection ends early its reader says so; an error of this thread would be one of another test.
    with suppress(OSError):
        held.sendall(payload)
        held.shutdown(socket.SHUT_WR)
