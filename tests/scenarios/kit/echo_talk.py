"""An application of an echo service: a word that must come back."""

from __future__ import annotations

import socket

from tests.scenarios.kit.nodes import Address
from tests.scenarios.kit.socket_steps import connect, read_exactly


def talks(sock: socket.socket, word: bytes) -> None:
    sock.sendall(word)
    assert read_exactly(sock, len(word)) == word


def answers(door: Address) -> bool:
    try:
        with connect(door) as sock:
            talks(sock, b"are you there")
    except OSError:
        return False
    return True
