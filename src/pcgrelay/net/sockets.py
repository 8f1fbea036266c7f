"""Sockets of our own: resolved, connected and bound with a deadline, and closed when anything goes wrong."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from itertools import zip_longest
from typing import Any, TypeVar

from pcgrelay.config import Address
from pcgrelay.net import resolver
from pcgrelay.net.resolver import NameAbsentError, Outcome, Use

ADDRESSES_TRIED = 8
# An address that is silent for this long is left to answer, and the next is tried beside it (RFC 8305, 5).
NEXT_ADDRESS_S = 0.25
BACKLOG = 1024
# After this long without an acknowledgement the kernel gives a connection up; silence of a peer is found sooner.
USER_TIMEOUT_MS = 20_000
# Who knows where a name led last does not wait longer than this for a name service.
LOOK_UP_AGAIN_MS = 1_000
# Of the kernel's tcp_info: retransmissions in a row, and segments that are not acknowledged.
_TCP_INFO = struct.Struct("=4xB19xI")
# Each time TCP waits twice as long. One time alone is an ordinary loss; after two it waits for four round trips,
# and 0.8 s at the least.
BACK_OFF_LEAST = 2

Where = tuple[int, tuple[str, int]]  # family and numeric address
T = TypeVar("T")


async def resolve(address: Address, deadline_ms: int, use: Use) -> list[Where]:
    """Family and numeric address of a name, in the resolver's order.

    NameAbsentError if there is none; TimeoutError, or another OSError, if nobody could say.
    """
    async with asyncio.timeout(deadline_ms / 1000):
        answer = await resolver.RESOLVER.find(address.host, use)
    if answer.outcome is Outcome.ABSENT:
        raise NameAbsentError("the name does not exist")
    if answer.outcome is Outcome.UNKNOWN:
        raise OSError("the name service does not say where the name leads")
    return [(family, (host, address.port)) for family, host in answer.found]


async def _found(address: Address, deadline_ms: int, last: list[Where]) -> list[Where]:
    """Where a name leads now, or where it led last if that cannot be told. What answered last comes first."""
    try:
        found = await resolve(address, min(deadline_ms, LOOK_UP_AGAIN_MS) if last else deadline_ms, Use.LINK)
    except (OSError, TimeoutError):
        if not last:
            raise
    else:
        answered = last[:1]
        last[:] = sorted(interleave(found), key=lambda where: where not in answered)
    return list(last)


def interleave(found: Sequence[Where]) -> list[Where]:
    """The families in turn, that of the first address first (RFC 8305, 4): one that is broken delays once."""
    first = [where for where in found if where[0] == found[0][0]]
    other = [where for where in found if where[0] != found[0][0]]
    pairs = zip_longest(first, other)
    return [where for pair in pairs for where in pair if where is not None]


async def race_connects(attempts: Iterable[Coroutine[Any, Any, T]], discard: Callable[[T], None]) -> T:
    """The outcome of the first attempt that succeeds; each begins a moment after the one before, or when one failed.

    OSError or TimeoutError of the last to fail, if all do. discard is given what comes of another attempt meanwhile.
    """
    waiting = deque(attempts)
    running: set[asyncio.Task[T]] = set()
    problem: BaseException = OSError("the name has no address")
    winner: asyncio.Task[T] | None = None
    try:
        while winner is None and (waiting or running):
            if waiting:
                running.add(asyncio.create_task(waiting.popleft()))
            timeout = NEXT_ADDRESS_S if waiting else None
            done, _ = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is None:
                    winner = task
                else:
                    running.discard(task)
                    problem = error
        if winner is None:
            raise problem
        return winner.result()
    finally:
        for coroutine in waiting:
            coroutine.close()
        for task in running:
            task.cancel()
        for outcome in await asyncio.gather(*(task for task in running if task is not winner), return_exceptions=True):
            if not isinstance(outcome, BaseException):
                discard(outcome)


async def connect(address: Address, deadline_ms: int, last: list[Where]) -> socket.socket:
    """A non-blocking TCP connection to one of the addresses of a name. OSError or TimeoutError if none answers.

    last is where the name led when somebody could tell, what answered last first; it is kept up to date, and used while
    the name service is away. The deadline is for all of it.
    """
    async with asyncio.timeout(deadline_ms / 1000):
        found = (await _found(address, deadline_ms, last))[:ADDRESSES_TRIED]
        where, sock = await race_connects((_connect(where) for where in found), lambda late: late[1].close())
    if where in last:
        last.remove(where)
        last.insert(0, where)
    return sock


async def _connect(where: Where) -> tuple[Where, socket.socket]:
    sock = socket.socket(where[0], socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        await asyncio.get_running_loop().sock_connect(sock, where[1])
        tune_socket(sock)
    except BaseException:
        sock.close()
        raise
    return where, sock


def tune_socket(sock: socket.socket) -> None:
    """Set what every connection between nodes has."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)


def backs_off(sock: socket.socket) -> bool:
    """Whether TCP retransmits without an answer and backs off, so that nothing more will arrive soon."""
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


def share(sock: socket.socket, shared: bool) -> None:
    """Let others of this user, which say the same, have its port as well; or not."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))


def bind_listener(address: Address, *, backlog: int = BACKLOG, shared: bool = False) -> socket.socket:
    """A socket that `bound` made, and that listens. OSError if the address is taken."""
    sock = bound(address, shared=shared)
    try:
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def bound(address: Address, *, shared: bool = False) -> socket.socket:
    """A socket that has the address and gets nothing yet; shared lets several of them have the same port."""
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
    except BaseException:
        sock.close()
        raise
    return sock
