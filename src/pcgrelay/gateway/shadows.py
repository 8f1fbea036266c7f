"""Shadows: connections of our own that take one outlet of an import, through the very code that applications take.

The core tells the end of each set-up by the shadow's number. A shadow that is up says the word of the plan, if it has
one, waits for its answer, and ends with a FIN. No application is touched, and no byte of one is copied.

A shadow of datagrams says its word first: it is up when the first answer comes, for UDP sets nothing up. Without a word
there is none, since silence would say nothing.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass

from pcgrelay.clock import Clock
from pcgrelay.dataplane.adapter import Plane
from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.dataplane.events import SetupEnded
from pcgrelay.model import Transport
from pcgrelay.services.services import Imported

# So many at a time, over all services.
SHADOWS_MOST = 256
# For a word and its answer, and for the far side's FIN.
ANSWER_MOST_S = 3.0
END_MOST_S = 0.5
# What a shadow may take to be up, if the core says nothing: more than the core allows any attempt.
SETUP_MOST_S = 12.0
READ_BYTES = 4_096
DATAGRAM_MOST_BYTES = 65_536
# What says nothing of the outlet.
SAYS_NOTHING = frozenset({"away", "local", "left", "lost"})
NUMBER_MOST = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Talk:
    """What a shadow says once it is up, and what it wants to hear; nothing: it ends at once."""

    send: bytes = b""
    expect: bytes = b""

    @property
    def is_exchange(self) -> bool:
        """Whether both are there, without which a datagram would show nothing."""
        return bool(self.send and self.expect)


@dataclass(frozen=True, slots=True)
class ShadowEnd:
    """What came of one shadow."""

    outcome: str  # of OUTCOMES, or "wrong": it was up, and the answer was not what the plan expects
    setup_us: int = 0
    answer_us: int | None = None

    @property
    def is_good(self) -> bool:
        return self.outcome == "up"

    @property
    def says_something(self) -> bool:
        """Whether it says anything of the outlet."""
        return self.outcome not in SAYS_NOTHING


class Shadows:
    """The shadows of one edge."""

    def __init__(self, plane: Plane, clock: Clock) -> None:
        self._plane = plane
        self._clock = clock
        self._number = 0
        self._waiting: dict[int, asyncio.Future[SetupEnded]] = {}

    @property
    def has_room(self) -> bool:
        return len(self._waiting) < SHADOWS_MOST

    def ended(self, event: SetupEnded) -> None:
        """Handle the end of a shadow's set-up."""
        waiting = self._waiting.get(event.shadow)
        if waiting is not None and not waiting.done():
            waiting.set_result(event)

    async def connect(self, imported: Imported, outlet: int, talk: Talk, timeout_s: float = SETUP_MOST_S) -> ShadowEnd:
        """Set one shadow up over one outlet of an import, and end it again.

        After timeout_s it counts as silent; the core ends it when its own patience is over.
        """
        of_datagrams = imported.settings.transport is Transport.DATAGRAM
        if not self.has_room or (of_datagrams and not talk.is_exchange):
            return ShadowEnd("local")
        # The core knows one of datagrams by the kind of its socket.
        mine, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET if of_datagrams else socket.SOCK_STREAM)
        try:
            mine.setblocking(False)
            if of_datagrams:
                mine.send(talk.send)
            return await self._connect(imported.number, outlet, talk, timeout_s, mine, theirs)
        except OSError:
            return ShadowEnd("local")
        finally:
            mine.close()
            theirs.close()

    async def _connect(
        self, number: int, outlet: int, talk: Talk, timeout_s: float, mine: socket.socket, theirs: socket.socket
    ) -> ShadowEnd:
        shadow = self._next()
        waiting = self._waiting[shadow] = asyncio.get_running_loop().create_future()
        try:
            theirs.setblocking(False)
            try:
                self._plane.import_connect(number, theirs.detach(), outlet, shadow)
            except DataPlaneRefused:
                return ShadowEnd("local")
            try:
                event = await asyncio.wait_for(waiting, timeout_s)
            except TimeoutError:
                return ShadowEnd("silent")
        finally:
            del self._waiting[shadow]
        if event.outcome != "up":
            return ShadowEnd(event.outcome, event.elapsed_us)
        if mine.type == socket.SOCK_SEQPACKET:
            return await _answered(mine, talk, event.elapsed_us)
        answer = await self._talk(mine, talk)
        return ShadowEnd("up" if answer is not None else "wrong", event.elapsed_us, answer or None)

    async def _talk(self, mine: socket.socket, talk: Talk) -> int | None:
        """Say the word and wait for its answer; its time in us, 0 without a word, nothing if it is not as expected."""
        loop = asyncio.get_running_loop()
        took_us: int | None = 0
        if talk.send or talk.expect:
            began_ms = self._clock.monotonic_ms()
            took_us = None
            with suppress(TimeoutError, OSError):
                async with asyncio.timeout(ANSWER_MOST_S):
                    # A far side that has answered and gone already may still be heard.
                    with suppress(OSError):
                        await loop.sock_sendall(mine, talk.send)
                    if await _heard(loop, mine, talk.expect):
                        took_us = max(1, 1_000 * (self._clock.monotonic_ms() - began_ms))
        with suppress(TimeoutError, OSError):
            mine.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(END_MOST_S):
                while await loop.sock_recv(mine, READ_BYTES):
                    pass
        return took_us

    def _next(self) -> int:
        while True:
            self._number = self._number % NUMBER_MOST + 1
            if self._number not in self._waiting:
                return self._number


async def _answered(sock: socket.socket, talk: Talk, elapsed_us: int) -> ShadowEnd:
    """What the first answer says, which has set the shadow up."""
    data = b""
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(END_MOST_S):
            data = await asyncio.get_running_loop().sock_recv(sock, DATAGRAM_MOST_BYTES)
    return ShadowEnd("up" if talk.expect in data else "wrong", elapsed_us, elapsed_us)


async def _heard(loop: asyncio.AbstractEventLoop, sock: socket.socket, expect: bytes) -> bool:
    """Whether the answer begins as expected; without an expectation, whether there is one."""
    heard = b""
    while len(heard) < max(1, len(expect)):
        data = await loop.sock_recv(sock, READ_BYTES)
        if not data:
            return False
        heard += data
    return heard.startswith(expect)
