"""A client of datagrams that asks again and again by one socket, and a server that says each question back."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

from tests.scenarios.kit.nodes import Address

ANSWER_S = 0.5
LONGEST = 65_536


class Answerer:
    """Says each datagram back, and remembers from which addresses they came."""

    def __init__(self, address: Address) -> None:
        self.clients: set[Address] = set()
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(address)
        self._sock.settimeout(0.1)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(5)
        self._sock.close()

    def _serve(self) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                data, client = self._sock.recvfrom(LONGEST)
                self.clients.add(client)
                self._sock.sendto(data, client)


class Asker:
    """One application with one port."""

    def __init__(self, door: Address, host: str = "", port: int = 0) -> None:
        """host, port: the address and port to ask from; none: the system's choice."""
        self.asked = 0
        self.unanswered = 0
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.settimeout(ANSWER_S)
        self._sock.bind((host, port))
        self._sock.connect(door)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def asks(self, size: int = 16) -> bool:
        """Ask once; whether this question was answered in time. Late answers to others are passed over."""
        self.asked += 1
        question = (b"%016d" % self.asked).ljust(size, b".")
        with suppress(TimeoutError, ConnectionRefusedError):
            self._sock.send(question)
            while self._sock.recv(LONGEST) != question:
                pass
            return True
        self.unanswered += 1
        return False

    def asks_nothing(self) -> bool:
        """Send an empty datagram; whether one came back."""
        with suppress(TimeoutError):
            self._sock.send(b"")
            return self._sock.recv(LONGEST) == b""
        return False
