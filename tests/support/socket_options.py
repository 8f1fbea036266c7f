"""The options of a socket that a core in this process has, found by its own address."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple


class Options(NamedTuple):
    no_delay: bool
    urgent_in_place: bool
    linger: tuple[int, int]
    keep_alive: bool
    probes: tuple[int, int, int]  # after so many seconds, then every so many, so many times


def options_of(address: tuple[str, int]) -> Options:
    """The options of the connection of this process whose own end has that address."""
    for found in _sockets():
        with found, contextlib.suppress(OSError):
            if found.family == socket.AF_INET and found.getsockname() == address and _is_connected(found):
                return _options(found)
    raise AssertionError(f"no connection has {address}")


def _sockets() -> Iterator[socket.socket]:
    """Copies of all sockets of this process. What another thread closes meanwhile is not among them."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                yield socket.socket(fileno=os.dup(int(name)))


def _is_connected(found: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        return bool(found.getpeername())
    return False


def _options(found: socket.socket) -> Options:
    tcp, general = socket.IPPROTO_TCP, socket.SOL_SOCKET
    on, seconds = struct.unpack("ii", found.getsockopt(general, socket.SO_LINGER, 8))
    names = socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT
    idle, again, count = (found.getsockopt(tcp, name) for name in names)
    return Options(
        no_delay=bool(found.getsockopt(tcp, socket.TCP_NODELAY)),
        urgent_in_place=bool(found.getsockopt(general, socket.SO_OOBINLINE)),
        linger=(on, seconds),
        keep_alive=bool(found.getsockopt(general, socket.SO_KEEPALIVE)),
        probes=(idle, again, count),
    )
