"""A bad line in user space, as a process of its own: it delays, spreads lanes in time, changes bytes and hangs up.

    bad_line.py [narrow] LISTEN:TARGET...  ports of loopback; it prints a line when it listens; narrow: small buffers

Orders come on standard input, one in JSON for each line: {"delay_ms": at most, "steady_ms": exactly, "kib_a_second":
so much each way, "corrupt": so many pieces of a thousand, "hang_up": 1}.
Each connection and direction has a delay of its own, drawn again with each order, so that lanes overtake each other.
A steady delay is the same for all, and comes on top. All connections of one direction share its rate.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
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
# A line of little capacity holds little itself: what waits does so in the nodes and in their sockets.
BUFFER_BYTES = 32_768
NARROW_PIECE = 4_096


class Line:
    """What befalls all connections now."""

    def __init__(self, seed: int, *, is_narrow: bool) -> None:
        self.is_narrow = is_narrow
        self.limit = BUFFER_BYTES if is_narrow else PIECE
        self.random = random.Random(seed)
        self.delay_s = 0.0
        self.steady_s = 0.0
        self.rate = 0
        self.free_at = [0.0, 0.0]
        self.corrupt = 0
        self.order = 0
        self.writers: set[asyncio.StreamWriter] = set()

    def obey(self, order: dict[str, int]) -> None:
        self.order += 1
        self.delay_s = order.get("delay_ms", 0) / 1000
        self.steady_s = order.get("steady_ms", 0) / 1000
        self.rate = order.get("kib_a_second", 0) << 10
        self.corrupt = order.get("corrupt", 0)
        if order.get("hang_up"):
            for writer in self.writers:
                writer.transport.abort()

    async def pass_narrow(self, way: int, size: int) -> None:
        """Wait until so many bytes may go."""
        now = asyncio.get_running_loop().time()
        self.free_at[way] = max(self.free_at[way], now) + size / self.rate
        await asyncio.sleep(self.free_at[way] - now)

    async def carry(self, way: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
                data = await reader.read(NARROW_PIECE if self.rate else PIECE)
                if data and self.rate:
                    await self.pass_narrow(way, len(data))
                if order != self.order:
                    order, delay_s = self.order, self.random.uniform(0, self.delay_s)
                if data and self.random.randrange(1_000) < self.corrupt:
                    at = self.random.randrange(len(data))
                    data = data[:at] + bytes([data[at] ^ 1 << self.random.randrange(8)]) + data[at + 1 :]
                await under_way.put((loop.time() + delay_s + self.steady_s, data))
                if not data:
                    break
        with suppress(OSError):
            await delivering

    async def connection(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far = await connected(port, is_narrow=self.is_narrow)
            far_reader, far_writer = await asyncio.open_connection(sock=far, limit=self.limit)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self.writers |= ends
        try:
            ways = self.carry(0, reader, far_writer), self.carry(1, far_reader, writer)
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            self.writers -= ends
            for end in ends:
                end.transport.abort()


def made_socket(*, is_narrow: bool) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    if is_narrow:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    return sock


async def connected(port: int, *, is_narrow: bool) -> socket.socket:
    sock = made_socket(is_narrow=is_narrow)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (HOST, port))
    except OSError:
        sock.close()
        raise
    return sock


async def serve(pairs: list[tuple[int, int]], *, is_narrow: bool) -> None:
    line = Line(sum(port for port, _ in pairs), is_narrow=is_narrow)

    for listen, target in pairs:

        async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int = target) -> None:
            await line.connection(target, reader, writer)

        listener = made_socket(is_narrow=is_narrow)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, listen))
        await asyncio.start_server(connection, sock=listener, limit=line.limit)
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
    def between(cls, *pairs: tuple[int, int], is_narrow: bool = False) -> Iterator[Self]:
        """Stand between ports and the ports behind them until the end of the block."""
        words = [*(["narrow"] if is_narrow else []), *(f"{listen}:{target}" for listen, target in pairs)]
        command = [sys.executable, str(Path(__file__)), *words]
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
    words = sys.argv[1:]
    ports = [(int(a), int(b)) for a, _, b in (word.partition(":") for word in words if word != "narrow")]
    uvloop.run(serve(ports, is_narrow="narrow" in words))
