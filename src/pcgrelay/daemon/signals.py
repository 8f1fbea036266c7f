"""Signals to a node: noted the moment they come, acted upon by the event loop.

A hand-over holds the loop up from the pause of the workers to its end, and the process exits there without another turn
of it. So a signal that comes meanwhile, or waits for the loop, would be lost with the process. One to stop refuses the
hand-over, as long as it can be refused. What comes after that is sent on to the process that has taken over.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import FrameType

STOPS = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """The signals that this process has got. Make it in the main thread, in the running loop."""

    def __init__(self) -> None:
        self.stopping = asyncio.Semaphore(0)  # counts signals to stop, once the loop has seen them
        self._hangup = asyncio.Event()
        self._stops: list[int] = []
        self._hangups = self._reloads = 0
        loop = asyncio.get_running_loop()
        acts = dict.fromkeys(STOPS, self.stopping.release)
        for number, act in {**acts, signal.SIGHUP: self._hangup.set}.items():
            # The loop acts upon what the interpreter writes to its pipe, whatever this handler does.
            loop.add_signal_handler(number, act)
            signal.signal(number, self._note)
            signal.siginterrupt(number, False)
        # SIGHUP has been blocked since the first statement of this process.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    @property
    def has_stop(self) -> bool:
        """Whether a signal to stop has come, even if the loop has not seen it yet."""
        return bool(self._stops)

    async def reload_on_hangup(self, reload: Callable[[], Awaitable[object]]) -> None:
        """Reload on each SIGHUP; signals during a reload cause one more reload."""
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            hangups = self._hangups
            await reload()
            self._reloads = hangups

    def send_on(self, pid: int) -> None:
        """Send what was not acted upon here to another process."""
        waiting = [signal.SIGHUP] if self._hangups > self._reloads else []
        for number in (*self._stops, *waiting):
            with suppress(OSError):
                os.kill(pid, number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number in STOPS:
            self._stops.append(number)
        else:
            self._hangups += 1
