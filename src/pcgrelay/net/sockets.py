"""Sockets of the control plane: resolved, connected and bound with a deadline, and closed on any error."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from itertools import zip_longest
from typing import Any, TypeVar

from pcgrelay.config import Address
from pcgrelay.model import Transport
from pcgrelay.net import resolver
from pcgrelay.net.resolver import NameAbsentError, Outcome, Use

ADDRESSES_TRIED = 8
# If an address has not answered for this long, the next is tried in parallel (RFC 8305, 5).
NEXT_ADDRESS_S = 0.25
BACKLOG = 1024
# What waits in the kernel for a worker that is busy; it gives at most net.core.rmem_max.
DATAGRAM_BUFFER_BYTES = 4 << 20
# TCP_USER_TIMEOUT (RFC 5482): without an acknowledgement for this long the kernel ends a connection. The silence of a
# peer is noticed sooner.
USER_TIMEOUT_MS = 20_000
# With addresses of an earlier look-up at hand, the name service is not waited for longer than this.
LOOK_UP_AGAIN_MS = 1_000
# Two fields of the kernel's tcp_info: retransmissions in a row, and unacknowledged segments.
# Of linux/in.h; not every Python names it.
IP_BIND_ADDRESS_NO_PORT = 24
_TCP_INFO = struct.Struct("=4xB19xI")
# TCP doubles its wait with each retransmission. One alone is an ordinary loss; after two it waits for four round trips,
# at least 0.8 s.
BACK_OFF_LEAST = 2

Where = tuple[int, tuple[str, int]]  # family and numeric address
T = TypeVar("T")


async def resolve(address: Address, deadline_ms: int, use: Use) -> list[Where]:
    """Resolve a name to families and numeric addresses, in the resolver's order.

    Raises NameAbsentError if the name does not exist, TimeoutError or another OSError if no name service could tell.
    """
    async with asyncio.timeout(deadline_ms / 1000):
        answer = await resolver.RESOLVER.find(address.host, use)
    if answer.outcome is Outcome.ABSENT:
        raise NameAbsentError("the name does not exist")
    if answer.outcome is Outcome.UNKNOWN:
        raise OSError("the name service does not say where the name leads")
    return [(family, (host, address.port)) for family, host in answer.found]


async def _found(address: Address, deadline_ms: int, last: list[Where]) -> list[Where]:
    """Resolve a name, or use the addresses in `last` if that fails. The address that answered last comes first."""
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
    """Order addresses with alternating families (RFC 8305, 4), so that a broken family delays only once."""
    first = [where for where in found if where[0] == found[0][0]]
    other = [where for where in found if where[0] != found[0][0]]
    pairs = zip_longest(first, other)
    return [where for pair in pairs for where in pair if where is not None]


async def race_connects(attempts: Iterable[Coroutine[Any, Any, T]], discard: Callable[[T], None]) -> T:
    """Return the result of the first attempt that succeeds (RFC 8305, 5).

    Each attempt begins NEXT_ADDRESS_S after the one before, or when one has failed. If all fail, the exception of the
    last to fail is raised: OSError or TimeoutError. discard: called with the result of another attempt that also
    succeeded.
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


class SourceError(OSError):
    """No address that this machine may connect from fits; the text is a sentence."""


def family_of(host: str) -> socket.AddressFamily:
    """Return the family of a numeric address, or of the path of a unix socket."""
    return socket.AF_UNIX if host.startswith("/") else socket.AF_INET6 if ":" in host else socket.AF_INET


def bind_source(sock: socket.socket, sources: Sequence[str]) -> None:
    """Have a socket connect from the first of these addresses that is of its family; none: the system's choice.

    Raises SourceError if there is none, or if it is no address of this machine.
    """
    if not sources:
        return
    fit = next((source for source in sources if family_of(source) is sock.family), None)
    if fit is None:
        raise SourceError(f"{' and '.join(sources)}: none of these is of the family of the address there.")
    # The port is chosen by connect, which sees that another destination may have the same one.
    sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    try:
        sock.bind((fit, 0))
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        raise SourceError(f"{fit} is no address of this machine.") from None


async def connect(address: Address, deadline_ms: int, last: list[Where], sources: Sequence[str] = ()) -> socket.socket:
    """Open a non-blocking TCP connection to one of the addresses of a name.

    last: the addresses of the latest successful look-up, the one that answered last first. It is updated here, and used
    while the name service does not answer. The deadline covers resolution and all attempts. sources: the addresses to
    connect from, as for `bind_source`. Raises OSError or TimeoutError if no address answers.
    """
    async with asyncio.timeout(deadline_ms / 1000):
        found = (await _found(address, deadline_ms, last))[:ADDRESSES_TRIED]
        where, sock = await race_connects((_connect(where, sources) for where in found), lambda late: late[1].close())
    if where in last:
        last.remove(where)
        last.insert(0, where)
    return sock


async def _connect(where: Where, sources: Sequence[str]) -> tuple[Where, socket.socket]:
    sock = socket.socket(where[0], socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        bind_source(sock, sources)
        await asyncio.get_running_loop().sock_connect(sock, where[1])
        tune_socket(sock)
    except BaseException:
        sock.close()
        raise
    return where, sock


def tune_socket(sock: socket.socket) -> None:
    """Set the socket options of a connection between nodes."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)


def backs_off(sock: socket.socket) -> bool:
    """Whether TCP retransmits without an answer and backs off, so that nothing sent now arrives soon."""
    try:
        times, waiting = _TCP_INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size))
    except OSError:
        return False
    return bool(waiting) and times >= BACK_OFF_LEAST


def reset(sock: socket.socket) -> None:
    """Close the connection by a reset. It is sent at once; an orderly FIN would queue behind unsent data."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def share(sock: socket.socket, shared: bool) -> None:
    """Set SO_REUSEPORT: whether other sockets of this user that set it too may bind the same port."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))


def kind_of(address: Address) -> socket.SocketKind:
    """Return the kind of socket that is bound to such an address, or connected to it."""
    return socket.SOCK_DGRAM if address.transport is Transport.DATAGRAM else socket.SOCK_STREAM


def is_own_address(host: str) -> bool:
    """Whether a numeric address is one of this machine's, at which it could listen."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.bind((host, 0))
        except OSError:
            return False
        return True


def bind_listener(address: Address, *, backlog: int = BACKLOG, shared: bool = False) -> socket.socket:
    """Make a listening socket with `bound`. Raises OSError if the address is in use."""
    sock = bound(address, shared=shared)
    try:
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def bound(address: Address, *, shared: bool = False) -> socket.socket:
    """Make a socket that is bound to the address, and does not listen yet if it is one of TCP.

    shared: several such sockets may bind the same port (SO_REUSEPORT). Raises OSError if the address is in use.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    host, kind = address.host, kind_of(address)
    if family is socket.AF_INET and not host.replace(".", "").isdigit():
        # Names in a listener are rare and local: resolving one may block once, at start.
        family, _, _, _, where = socket.getaddrinfo(host, address.port, type=kind)[0]
        host = str(where[0])
    sock = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        if kind is socket.SOCK_DGRAM:
            # No SO_REUSEADDR: it would give the port of UDP to whoever sets it too.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, DATAGRAM_BUFFER_BYTES)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, address.port))
    except BaseException:
        sock.close()
        raise
    return sock
