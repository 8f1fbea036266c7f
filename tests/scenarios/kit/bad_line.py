"""A bad line in user space, as a process of its own: it delays, spreads lanes in time, changes bytes and hangs up.

    bad_line.py LISTEN:TARGET...           ports of loopback; it prints a line when it listens

Orders come on standard input, one in JSON for each line: {"delay_ms": at most, "corrupt": so many pieces of a
thousand, "hang_up": 1}.
Each connection and direction has a delay of its own, drawn again with each order, so that lanes overtake each other.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import uvloop

HOST = "127.0.0.1"
PIECE = 65_536
# What may be under way in one direction; who fills it waits, as on any line.
UNDER_WAY = 64


class Line:
    """What befalls all connections now."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.delay_s = 0.0
        self.corrupt = 0
        self.order = 0
        self.writers: set[asyncio.StreamWriter] = set()

    def obey(self, order: dict[str, int]) -> None:
        self.order += 1
        self.delay_s = order.get("delay_ms", 0) / 1000
        self.corrupt = order.get("corrupt", 0)
        if order.get("hang_up"):
            for writer in self.writers:
                writer.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction of one connection, in order."""
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(UNDER_WAY)

        async def deliver() -> None:
            while True:
                due, data = await under_way.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if not data:
                    writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()

        delivering = asyncio.create_task(deliver())
        order, delay_s = -1, 0.0
        with suppress(OSError):
            while True:
                data = await reader.read(PIECE)
                if order != self.order:
                    order, delay_s = self.order, self.random.uniform(0, self.delay_s)
                if data and self.random.randrange(1_000) < self.corrupt:
                    at = self.random.randrange(len(data))
                    data = data[:at] + bytes([data[at] ^ 1 << self.random.randrange(8)]) + data[at + 1 :]
                await under_way.put((loop.time() + delay_s, data))
                if not data:
                    break
        with suppress(OSError):
            await delivering

    async def connection(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, port)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self.writers |= ends
        try:
            await asyncio.gather(self.carry(reader, far_writer), self.carry(far_reader, writer), return_exceptions=True)
        finally:
            self.writers -= ends
            for end in ends:
                end.transport.abort()


async def serve(pairs: list[tuple[int, int]]) -> None:
    line = Line(sum(port for port, _ in pairs))

    for listen, target in pairs:

        async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int = target) -> None:
            await line.connection(target, reader, writer)

        await asyncio.start_server(connection, HOST, listen)
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while order := await loop.run_in_executor(None, sys.stdin.readline):
        line.obey(json.loads(order))


class Middleman:
    """The line from the side of the test."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @classmethod
    @contextmanager
    def between(cls, *pairs: tuple[int, int]) -> Iterator[Self]:
        """Stand between ports and the ports behind them until the end of the block."""
        command = [sys.executable, str(Path(__file__)), *(f"{listen}:{target}" for listen, target in pairs)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                yield cls(process)
            finally:
                process.kill()

    def order(self, **order: int) -> None:
        """Do this from now on; nothing said means a good line."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()


if __name__ == "__main__":
    uvloop.run(serve([(int(a), int(b)) for a, _, b in (word.partition(":") for word in sys.argv[1:])]))
