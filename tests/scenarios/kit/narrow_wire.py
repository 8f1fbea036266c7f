"""A bearer of little capacity: whoever connects to its port reaches another one, with so many bytes a second each way.

It holds next to nothing itself, so what waits does so in the nodes and in their sockets.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from tests.scenarios.kit.nodes import HOST, Address
from tests.support.ports import free_port

BUFFER_BYTES = 16_384
PIECE_BYTES = 4_096


class NarrowWire:
    """All connections of one direction share its rate."""

    def __init__(self, target: Address, bytes_a_second: int) -> None:
        self.address: Address = (HOST, free_port())
        self._target = target
        self._rate = bytes_a_second
        self._free_at = [0.0, 0.0]
        self._locks = [threading.Lock(), threading.Lock()]
        self._server = socket.socket()
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._server.bind(self.address)
        self._server.listen()
        self._sockets: list[socket.socket] = [self._server]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._begun(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def cut(self) -> None:
        """End everything that goes over it, and take nothing any more."""
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        for sock in self._sockets:
            sock.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.socket()
                far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
                try:
                    far.connect(self._target)
                except OSError:
                    # Nobody listens there yet.
                    near.close()
                    far.close()
                    continue
                for sock in (near, far):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
                self._sockets += [near, far]
                for way, (source, sink) in enumerate(((near, far), (far, near))):
                    self._begun(self._carry, way, source, sink)

    def _begun(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _carry(self, way: int, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                time.sleep(max(0.0, self._slot(way, len(data)) - time.monotonic()))
                sink.sendall(data)
        for sock in (source, sink):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _slot(self, way: int, size: int) -> float:
        """When so many bytes may go."""
        with self._locks[way]:
            self._free_at[way] = max(self._free_at[way], time.monotonic()) + size / self._rate
            return self._free_at[way]
