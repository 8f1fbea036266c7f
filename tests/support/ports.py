"""Ports on loopback for servers that a test starts."""

import os
import random
import socket
from collections import deque

HOST = "127.0.0.1"
FIRST, END = 12_000, 32_000
# Processes that run tests side by side have ports of their own each, for a port is used a while after it was chosen.
_SHARES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_SHARE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw") or 0)
# Nor is one given again soon.
_given: deque[int] = deque(maxlen=500)


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel gives to outgoing connections.

    So a connection that begins between this call and the server's start cannot take it.
    """
    for _ in range(200):
        port = random.randrange(FIRST + _SHARE, END, _SHARES)
        if port in _given:
            continue
        with socket.socket() as sock:
            try:
                sock.bind((HOST, port))
            except OSError:
                continue
            _given.append(port)
            return port
    raise AssertionError("no port is free")
