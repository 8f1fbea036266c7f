"""The lanes of a dialled link: each is dialled, and dialled again whenever it is lost."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from pcgrelay.clock import Clock
from pcgrelay.dataplane.api import DataPlaneRefused, LinkPlane
from pcgrelay.net.backoff import STEADY_MS, backoff_ms

LANE_DEADLINE_S = 5.0


class Lanes:
    """The lanes of one link. They are dialled as long as the control connection exists."""

    def __init__(
        self,
        link: int,
        count: int,
        *,
        plane: LinkPlane,
        clock: Clock,
        connect: Callable[[], Awaitable[socket.socket]],
        control_lost: asyncio.Event,
    ) -> None:
        """connect: opens a TCP connection to the neighbour; it may raise OSError or TimeoutError."""
        self._link = link
        self._plane = plane
        self._clock = clock
        self._connect = connect
        self._control_lost = control_lost
        self._ended = [asyncio.Event() for _ in range(count)]

    def ended(self, index: int) -> None:
        """Note that a lane was lost or could not be confirmed."""
        self._ended[index].set()

    async def keep(self, index: int) -> None:
        """Dial one lane, and dial it again whenever it is lost."""
        attempt = 0
        while not self._control_lost.is_set():
            started = self._clock.monotonic_ms()
            if await self._dialled(index):
                await self._ended[index].wait()
                if self._clock.monotonic_ms() - started > STEADY_MS:
                    attempt = 0
            attempt += 1
            await asyncio.sleep(backoff_ms(attempt) / 1000)

    async def _dialled(self, index: int) -> bool:
        sock: socket.socket | None = None
        try:
            async with asyncio.timeout(LANE_DEADLINE_S):
                sock = await self._connect()
                number, preamble = self._plane.lane_dial(self._link, index)
                await asyncio.get_running_loop().sock_sendall(sock, preamble)
            self._ended[index].clear()
            # The core owns the descriptor from here on, whatever happens.
            self._plane.lane_add(self._link, index, number, sock.detach())
        except (OSError, TimeoutError, DataPlaneRefused):
            return False
        finally:
            if sock is not None:
                sock.close()
        return True
