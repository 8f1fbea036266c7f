"""Applications that send without end, and a target that takes all of it."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

from tests.scenarios.kit.nodes import HOST, Address
from tests.scenarios.kit.socket_steps import connect
from tests.support.ports import free_port


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True


class Sink:
    """A target that takes all it gets."""

    def __init__(self, address: Address | None = None) -> None:
        self.address: Address = address or (HOST, free_port())
        self.taken = 0
        sink = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with suppress(OSError):
                    while data := self.request.recv(65_536):
                        sink.taken += len(data)

        self._server = _Server(self.address, Handler)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def bulk(door: Address, count: int) -> Iterator[None]:
    """So many applications that send without end."""
    stop = threading.Event()

    def send(sock: socket.socket) -> None:
        with suppress(OSError), sock:
            while not stop.is_set():
                sock.sendall(bytes(65_536))

    threads = [threading.Thread(target=send, args=(connect(door),), daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(10)
