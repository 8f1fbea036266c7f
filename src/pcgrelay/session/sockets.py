"""Sockets of our own: resolved, connected and bound with a deadline, and closed when anything goes wrong."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress

from pcgrelay.config import Address

ADDRESSES_TRIED = 4
# After this long without an acknowledgement the kernel gives a connection up; silence of a peer is found sooner.
USER_TIMEOUT_MS = 20_000
# Who knows where a name led last does not wait longer than this for a name service.
LOOK_UP_AGAIN_MS = 1_000
# Of the kernel's tcp_info: how often in a row TCP has sent again in vain, and how many segments wait for an answer.
_TCP_INFO = struct.Struct("=4xB19xI")
# Each time TCP waits twice as long. One time alone is an ordinary loss; after two it waits for four round trips,
# and 0.8 s at the least.
BACK_OFF_LEAST = 2

Where = tuple[int, tuple[str, int]]  # family and numeric address


async def resolved(address: Address, deadline_ms: int) -> list[Where]:
    """Family and numeric address of a name, in the resolver's order; OSError or TimeoutError if there is none."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(deadline_ms / 1000):
        found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    seen: list[Where] = []
    for family, _, _, _, where in found:
        # As in the configuration: an address that needs an interface named beside it (a scope id) is not taken.
        if "%" in str(where[0]) or (len(where) == 4 and where[3]):
            continue
        entry = (int(family), (str(where[0]), int(where[1])))
        if entry not in seen:
            seen.append(entry)
    return seen


async def _found(address: Address, deadline_ms: int, last: list[Where]) -> list[Where]:
    """Where a name leads now, or where it led last if that cannot be told."""
    try:
        last[:] = await resolved(address, min(deadline_ms, LOOK_UP_AGAIN_MS) if last else deadline_ms)
    except (OSError, TimeoutError):
        if not last:
            raise
    return list(last)


async def connected(address: Address, deadline_ms: int, last: list[Where]) -> socket.socket:
    """A non-blocking TCP connection; tries some of the addresses of a name. OSError or TimeoutError if none answers.

    last is where the name led when somebody could tell; it is kept up to date, and used while the name service is away.
    """
    async with asyncio.timeout(deadline_ms / 1000):
        problem: OSError = OSError("the name has no address")
        for family, where in (await _found(address, deadline_ms, last))[:ADDRESSES_TRIED]:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
            try:
                await asyncio.get_running_loop().sock_connect(sock, where)
                tuned(sock)
            except OSError as error:
                sock.close()
                problem = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise problem


def tuned(sock: socket.socket) -> None:
    """Set what every connection between nodes has."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)


def backs_off(sock: socket.socket) -> bool:
    """Whether TCP has sent again in vain and waits longer and longer, so that nothing more will arrive soon."""
    try:
        times, waiting = _TCP_INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size))
    except OSError:
        return False
    return bool(waiting) and times >= BACK_OFF_LEAST


def reset(sock: socket.socket) -> None:
    """Close at once and tell the peer so. A reset waits for nothing; an orderly end would queue behind the rest."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def listening(address: Address, *, backlog: int = 1024, shared: bool = False) -> socket.socket:
    """A listening socket; shared lets several of them have the same port. OSError if the address is taken."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    host = address.host
    if family is socket.AF_INET and not host.replace(".", "").isdigit():
        # Names in a listener are rare and local: resolving one may block once, at start.
        family, _, _, _, where = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)[0]
        host = str(where[0])
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, address.port))
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock
