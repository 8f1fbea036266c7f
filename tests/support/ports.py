"""Ports on loopback for servers that a test starts."""

import random
import socket

HOST = "127.0.0.1"


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel gives to outgoing connections.

    So a connection that begins between this call and the server's start cannot take it.
    """
    for _ in range(200):
        port = random.randrange(12_000, 32_000)
        with socket.socket() as sock:
            try:
                sock.bind((HOST, port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
