"""An echo server that remembers what it was told, and a good application that must notice nothing.

Both run in threads of their own, so that no scenario's loop delays them.
"""

from __future__ import annotations

import random
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

from tests.scenarios.kit.nodes import HOST, Address
from tests.support.waiting import until

REPLY_S = 15.0


@dataclass
class Talk:
    """One connection as the echo server saw it."""

    received: bytearray = field(default_factory=bytearray)
    ended: str = ""  # eof, or reset


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 1024


class Echo:
    """A server at a target. What each application sent, and how it ended, stands in `talks`."""

    def __init__(self, address: Address) -> None:
        self.talks: list[Talk] = []
        talks = self.talks

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                talk = Talk()
                talks.append(talk)
                try:
                    while data := self.request.recv(65_536):
                        talk.received += data
                        self.request.sendall(data)
                    talk.ended = "eof"
                except OSError:
                    talk.ended = "reset"

        self._server = _Server(address, Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Witness:
    """A good application: it sends blocks over one lasting connection and now and then over a new one.

    `fault` says what it noticed; nothing, if all is as it should be.
    """

    def __init__(self, door: Address, seed: int = 1) -> None:
        self.rounds = 0
        self.worst_s = 0.0
        self.fault = ""
        self._door = door
        self._random = random.Random(seed)
        self._stopping = threading.Event()
        self._pausing = threading.Event()
        self._paused = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        until(lambda: self.rounds > 1 or self.fault, REPLY_S, "the good application talks")
        self.check()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(REPLY_S)

    def check(self) -> None:
        """All is well, and it still talks."""
        before = self.rounds
        until(lambda: self.rounds > before + 1 or self.fault, REPLY_S, "the good application still talks")
        assert not self.fault

    def pause(self) -> None:
        """Be silent for a while; answers once it is."""
        self._pausing.set()
        until(lambda: self._paused.is_set() or self.fault, REPLY_S, "the good application is silent")

    def go_on(self) -> None:
        """Talk again."""
        self._pausing.clear()
        self._paused.clear()

    def _run(self) -> None:
        try:
            with self._connect() as lasting:
                while not self._stopping.is_set():
                    if self._pausing.is_set():
                        self._paused.set()
                        self._stopping.wait(0.01)
                        continue
                    self._exchange(lasting)
                    if self.rounds % 8 == 0:
                        with self._connect() as fresh:
                            self._exchange(fresh)
                    # A pace, so that the witness leaves the processor to what it watches.
                    self._stopping.wait(0.01)
        except (OSError, AssertionError) as error:
            self.fault = f"after {self.rounds} rounds: {error!r}"

    def _connect(self) -> socket.socket:
        return socket.create_connection(self._door, REPLY_S)

    def _exchange(self, sock: socket.socket) -> None:
        block = self._random.randbytes(self._random.randrange(1, 4_096))
        began = time.monotonic()
        sock.sendall(block)
        assert received(sock, len(block)) == block, "what came back is not what was sent"
        self.worst_s = max(self.worst_s, time.monotonic() - began)
        self.rounds += 1


def received(sock: socket.socket, size: int) -> bytes:
    """Exactly so many bytes; fewer, if the other side ends before."""
    taken = bytearray()
    while len(taken) < size and (data := sock.recv(size - len(taken))):
        taken += data
    return bytes(taken)


def ending(sock: socket.socket) -> tuple[bytes, str]:
    """All that still comes, and how it ends: eof, or reset."""
    taken = bytearray()
    try:
        while data := sock.recv(65_536):
            taken += data
    except TimeoutError:
        return bytes(taken), "silence"
    except OSError:
        return bytes(taken), "reset"
    return bytes(taken), "eof"


@contextmanager
def silent_connections(count: int, address: Address, sources: int = 1) -> Iterator[list[socket.socket]]:
    """Connections that say nothing, from so many addresses of loopback."""
    made: list[socket.socket] = []
    try:
        for number in range(count):
            sock = socket.socket()
            sock.settimeout(REPLY_S)
            sock.bind((f"127.0.7.{number % sources + 1}", 0))
            sock.connect(address)
            made.append(sock)
        yield made
    finally:
        for sock in made:
            with suppress(OSError):
                sock.close()


def counts(node: Any) -> dict[str, float]:
    """All counters of a node: those of its core by their names, refusals by their reasons."""
    figures = {name.removeprefix("core_"): value for name, value in node.metrics().items()}
    return figures | {reason: float(count) for reason, count in node.status().refusals.items()}


def await_more(node: Any, name: str, before: dict[str, float], more: int = 1, seconds: float = 10.0) -> None:
    """Wait until a counter has grown since."""
    wanted = before.get(name, 0) + more
    until(lambda: counts(node).get(name, 0) >= wanted, seconds, f"{node} counts {name} up to {wanted:g}")


def host_port(port: int) -> str:
    return f"{HOST}:{port}"
