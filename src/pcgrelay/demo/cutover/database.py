"""What stands in for Kent's database: a small server that is reached over two networks, and says over which.

Each line that a caller sends is a question, and has one line as its answer: the service, the network, and the SHA-256
of the question, so that the caller knows that its own bytes arrived whole. It needs nothing that is not installed.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from functools import partial
from typing import cast

from pcgrelay.errors import RunError
from pcgrelay.files import reason_of

SERVICE = "custody"
QUESTION_MOST_BYTES = 256
CALLERS_MOST = 2_000


def answer_to(question: bytes, network: str) -> bytes:
    """The line that answers a question, which came without its line end."""
    return f"{SERVICE} over {network} {hashlib.sha256(question).hexdigest()}\n".encode()


def network_of(answer: bytes, question: bytes) -> str:
    """The network that an answer names; "" if it is not the answer to this question."""
    words = answer.split(b" ")
    if len(words) != 4:
        return ""
    network = words[2].decode("ascii", "replace")
    return network if answer == answer_to(question, network) else ""


def listening(address: str) -> socket.socket:
    """A listening socket at an address of this machine, on a free port. RunError: there is none."""
    made = socket.socket()
    try:
        made.bind((address, 0))
        made.listen(512)
    except OSError as error:
        made.close()
        raise RunError(
            f"The demonstration cannot listen on {address} ({reason_of(error)}); it needs all of 127.0.0.0/8 on the "
            "loopback device, as Linux has it."
        ) from None
    made.setblocking(False)
    return made


class Database:
    """The server. It is made anywhere, and serves from `start` on in a running loop."""

    def __init__(self, addresses: dict[str, str]) -> None:
        """addresses: where it is reached, by the name of the network."""
        self._sockets = {network: listening(address) for network, address in addresses.items()}
        self.ports = {network: made.getsockname()[1] for network, made in self._sockets.items()}
        self._servers: list[asyncio.Server] = []
        self._open: set[_Caller] = set()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        for network, made in self._sockets.items():
            self._servers.append(await loop.create_server(partial(_Caller, network, self._open), sock=made))

    def close(self) -> None:
        """Close the listeners and whatever is open; without `start`, too."""
        for server in self._servers:
            server.close()
        for caller in list(self._open):
            caller.abort()
        for made in self._sockets.values():
            made.close()


class _Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self, network: str, others: set[_Caller]) -> None:
        self._network, self._others = network, others
        self._begun = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # those of uvloop are of no common class
        if len(self._others) >= CALLERS_MOST:
            self._transport.abort()
            return
        self._others.add(self)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        *questions, self._begun = (self._begun + data).split(b"\n")
        if len(self._begun) > QUESTION_MOST_BYTES:
            self._transport.abort()
            return
        if questions:
            self._transport.write(b"".join(answer_to(question, self._network) for question in questions))

    def connection_lost(self, error: Exception | None) -> None:
        self._others.discard(self)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
