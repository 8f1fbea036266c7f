"""Ports on loopback for servers that a test starts."""

import fcntl
import functools
import os
import random
import socket
import tempfile
from collections import deque
from pathlib import Path

HOST = "127.0.0.1"
FIRST, END = 12_000, 32_000
# So many this process keeps to itself; of more, it gives up those that it chose first.
KEPT_MOST = 5_000

_chance = random.SystemRandom()
_kept: deque[int] = deque()


def free_port() -> int:
    """A port that nobody listens on, below those that the kernel gives to outgoing connections.

    So a connection that begins between this call and the server's start cannot take it. Nor can another test: the port
    is used a while after it was chosen, or again and again, and other processes may choose some meanwhile.
    """
    for _ in range(200):
        port = _chance.randrange(FIRST, END)
        if port not in _kept and _claim(port):
            with socket.socket() as sock:
                try:
                    sock.bind((HOST, port))
                except OSError:
                    fcntl.lockf(_claims(), fcntl.LOCK_UN, 1, port)
                    continue
            _kept.append(port)
            if len(_kept) > KEPT_MOST:
                fcntl.lockf(_claims(), fcntl.LOCK_UN, 1, _kept.popleft())
            return port
    raise AssertionError("no port is free")


def _claim(port: int) -> bool:
    """Lock the byte of a port; the lock ends with this process."""
    try:
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@functools.cache
def _claims() -> int:
    """A file that all tests of this user know, in whatever working tree they run."""
    path = Path(tempfile.gettempdir()) / f"pcgrelay-test-ports-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
