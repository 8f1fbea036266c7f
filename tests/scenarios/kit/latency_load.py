"""Many connections that all the time say something and hear it back, in a process of its own, and how long they wait.

Run as a program. It prints a line when its connections are there; for each line on standard input one of JSON with what
was seen since the last; at the end of standard input it ends all of them in order and says so.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, cast

import uvloop

PIECE = 1_024
# Each connection speaks again so long after it was answered.
PAUSE_S = 0.2
AT_ONCE = 128


class Window:
    """What was seen since the last look, over all connections."""

    def __init__(self) -> None:
        self.exchanges = 0
        self.wrong = 0
        self.resets = 0
        self.worst_s = 0.0


class Pulse(asyncio.Protocol):
    """One connection."""

    def __init__(self, number: int, window: Window) -> None:
        self._number = number
        self.window = window
        self._turn = 0
        self._said = b""
        self._heard = bytearray()
        self._began = 0.0
        self._ending = False
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no instances of the class that they stand for.
        self._transport = cast(asyncio.Transport, transport)
        self._speak()

    def _speak(self) -> None:
        if self.ended.done():
            return
        if self._ending:
            self._transport.write_eof()
            return
        self._turn += 1
        self._said = (b"%08d %08d|" % (self._number, self._turn) * (PIECE // 18 + 1))[:PIECE]
        self._began = time.monotonic()
        self._transport.write(self._said)

    def data_received(self, data: bytes) -> None:
        self._heard += data
        if len(self._heard) < PIECE:
            return
        self.window.worst_s = max(self.window.worst_s, time.monotonic() - self._began)
        self.window.exchanges += 1
        self.window.wrong += self._heard != self._said
        self._heard.clear()
        if not self.answered.done():
            self.answered.set_result(None)
        asyncio.get_running_loop().call_later(PAUSE_S, self._speak)

    def finish(self) -> None:
        self._ending = True

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None or not self._ending:
            self.window.resets += 1
        if not self.answered.done():
            self.answered.set_result(None)
        self.ended.set_result(None)


async def pulse(host: str, port: int, count: int) -> None:
    loop = asyncio.get_running_loop()
    gate = asyncio.Semaphore(AT_ONCE)
    window = Window()

    async def opened(number: int) -> Pulse:
        async with gate:
            _, protocol = await loop.create_connection(lambda: Pulse(number, window), host, port)
            await protocol.answered
            return protocol

    pulses = await asyncio.gather(*(opened(number) for number in range(count)))
    print("ready", flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(vars(window)), flush=True)
        window = Window()
        for each in pulses:
            each.window = window
    for each in pulses:
        each.finish()
    await asyncio.gather(*(each.ended for each in pulses))
    print(json.dumps(vars(window)), flush=True)


class Crowd:
    """Such a crowd, from the side of the test."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @classmethod
    @contextmanager
    def of(cls, address: tuple[str, int], count: int) -> Iterator[Self]:
        command = [sys.executable, str(Path(__file__)), address[0], str(address[1]), str(count)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                # What does not come in time is ended by the timeout of the test.
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                yield cls(process)
            finally:
                if process.poll() is None:
                    process.kill()

    def look(self) -> dict[str, Any]:
        """What was seen since the last look."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def end(self) -> dict[str, Any]:
        """End all connections in order; what was seen since the last look."""
        out, _ = self._process.communicate(timeout=30)
        assert self._process.returncode == 0
        found: dict[str, Any] = json.loads(out)
        return found


if __name__ == "__main__":
    uvloop.run(pulse(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
