"""Name resolution on threads of its own, with one look-up for each name at a time.

The system's resolver waits up to half a minute for a name service that does not answer and cannot be interrupted. So it
runs on a limited number of threads, some of which are reserved: targets leave some to links, and names that were slow
last time leave some to those that were not. Concurrent requests for one name share one look-up. An answer that comes
when nobody waits any more is kept for LATE_S for the next request.

Two failures are distinguished as far as the system allows it: that the name does not exist, which is an answer, and
that no service could tell, which is none (RFC 2308, 7).
"""

from __future__ import annotations

import asyncio
import ctypes
import ipaddress
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto

LATE_S = 10.0
SLOW_S = 1.0
# How many look-ups of a rank and all later ranks may run at once: each leaves some threads to the ranks before it.
RUNNING_MOST = (32, 24, 16, 8)
# <netdb.h>: h_errno of gethostbyname2_r. 2 and 3 are failures of the service and say nothing about the name.
HOST_NOT_FOUND, NO_DATA = 1, 4

Found = tuple[tuple[int, str], ...]  # families and numbers, in the resolver's order


class Use(IntEnum):
    """The purpose of a look-up, which is also its rank: links come first."""

    LINK = 0
    TARGET = 2


class Outcome(Enum):
    """The outcome of a look-up."""

    FOUND = auto()
    ABSENT = auto()  # there is no such name, or it has no address
    UNKNOWN = auto()  # no name service could tell


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a look-up."""

    outcome: Outcome
    found: Found = ()


class NameAbsentError(OSError):
    """The name does not exist or has no address."""


@dataclass(eq=False, slots=True)
class _LookUp:
    host: str
    rank: int
    waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[Answer]]] = field(default_factory=list)
    is_running: bool = False


class Resolver:
    """The look-ups of one process. `find` may be called in any event loop."""

    def __init__(self, ask: Callable[[str], Answer]) -> None:
        """ask: looks one name up, blocking for as long as that takes."""
        self._ask = ask
        self._lock = threading.Lock()
        self._look_ups: dict[str, _LookUp] = {}  # waiting or running ones, by name
        self._queues: tuple[deque[_LookUp], ...] = tuple(deque() for _ in RUNNING_MOST)
        self._running = [0] * len(RUNNING_MOST)
        self._slow: set[str] = set()
        self._late: dict[str, tuple[float, Answer]] = {}

    async def find(self, host: str, use: Use) -> Answer:
        """Resolve a name. It may take as long as the system's resolver does; the caller sets the deadline."""
        if number := _number(host):
            return Answer(Outcome.FOUND, (number,))
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        waiter = (loop, future)
        with self._lock:
            late = self._late.pop(host, None)
            if late is not None and time.monotonic() - late[0] < LATE_S:
                return late[1]
            look_up = self._wanted(host, use)
            look_up.waiters.append(waiter)
            self._start()
        try:
            return await future
        finally:
            with self._lock:
                if waiter in look_up.waiters:
                    look_up.waiters.remove(waiter)

    def _wanted(self, host: str, use: Use) -> _LookUp:
        rank = use + (host in self._slow)
        look_up = self._look_ups.get(host)
        if look_up is None:
            look_up = self._look_ups[host] = _LookUp(host, rank)
            self._queues[rank].append(look_up)
        elif not look_up.is_running and rank < look_up.rank:
            # It is queued for a less urgent use.
            self._queues[look_up.rank].remove(look_up)
            look_up.rank = rank
            self._queues[rank].append(look_up)
        return look_up

    def _start(self) -> None:
        """Start the look-ups that may run. The caller holds the lock."""
        for rank, queue in enumerate(self._queues):
            while queue and sum(self._running[rank:]) < RUNNING_MOST[rank]:
                look_up = queue.popleft()
                look_up.is_running = True
                self._running[rank] += 1
                # The resolver cannot be interrupted: as daemon threads they do not delay the end of the process.
                threading.Thread(target=self._run, args=(look_up,), name="resolver", daemon=True).start()

    def _run(self, look_up: _LookUp) -> None:
        began = time.monotonic()
        answer = Answer(Outcome.UNKNOWN)
        try:
            answer = self._ask(look_up.host)
        finally:
            self._ended(look_up, answer, is_slow=time.monotonic() - began > SLOW_S)

    def _ended(self, look_up: _LookUp, answer: Answer, *, is_slow: bool) -> None:
        with self._lock:
            del self._look_ups[look_up.host]
            self._running[look_up.rank] -= 1
            (self._slow.add if is_slow else self._slow.discard)(look_up.host)
            waiters = look_up.waiters
            if not waiters and answer.outcome is not Outcome.UNKNOWN:
                self._late[look_up.host] = (time.monotonic(), answer)
            self._start()
        for loop, future in waiters:
            try:
                loop.call_soon_threadsafe(_settle, future, answer)
            except RuntimeError:
                continue  # that loop is closed


def _settle(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)


def _number(host: str) -> tuple[int, str] | None:
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        return None
    return (socket.AF_INET6 if number.version == 6 else socket.AF_INET), host


def ask_system(host: str) -> Answer:
    """Look a name up with the system's resolver, blocking."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        is_absent = error.errno in (socket.EAI_NONAME, socket.EAI_NODATA) and _is_absent(host)
        return Answer(Outcome.ABSENT if is_absent else Outcome.UNKNOWN)
    except (OSError, UnicodeError):
        return Answer(Outcome.UNKNOWN)
    # As in the configuration: an address that needs an interface (a scope id) is not used.
    seen = dict.fromkeys(
        (int(family), str(where[0]))
        for family, _, _, _, where in found
        if "%" not in str(where[0]) and not (len(where) == 4 and where[3])
    )
    return Answer(Outcome.FOUND if seen else Outcome.ABSENT, tuple(seen))


def _is_absent(host: str) -> bool:
    """Whether both families are known to have no address.

    getaddrinfo also reports that there is none when one family has none and the service failed for the other, and when
    the service does not understand the question. Asking for one family at a time distinguishes these cases.
    """
    gethostbyname2_r = getattr(ctypes.CDLL(None), "gethostbyname2_r", None)
    if gethostbyname2_r is None:
        return True
    entry, found, problem = ctypes.create_string_buffer(256), ctypes.c_void_p(), ctypes.c_int(0)
    buffer = ctypes.create_string_buffer(65_536)
    for family in (socket.AF_INET, socket.AF_INET6):
        gethostbyname2_r(
            host.encode(), int(family), entry, buffer, ctypes.c_size_t(len(buffer)), ctypes.byref(found),
            ctypes.byref(problem),
        )  # fmt: skip
        if found.value or problem.value not in (HOST_NOT_FOUND, NO_DATA):
            return False
    return True


RESOLVER = Resolver(ask_system)
