"""Many connections at once from a process of its own: clients or servers that check every byte.

Run as a program, so that a crowd of clients takes neither the interpreter nor the descriptors of the tests. It prints
a line when its connections are there, waits for a line on standard input, and prints what it found as JSON.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import uvloop

PIECE = 4_096
STREAMS_MOST = 1_000
PACE_S = 0.03  # between two pieces of a stream, so that it lasts


async def serve(host: str, port: int) -> None:
    """Send back what comes, until standard input ends."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
            writer.close()
        except OSError:
            writer.close()

    server = await asyncio.start_server(echo, host, port, backlog=4_096)
    print("ready", flush=True)
    async with server:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    sys.stdout.write("{}\n")


def words(number: int, turn: int) -> bytes:
    """What connection so-and-so says in its turn so-and-so; no two say the same."""
    return (b"%08d %08d|" % (number, turn)) * (PIECE // 18)


async def talk(number: int, turns: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    """Say something and hear it back, so many times; answer how often it came back otherwise."""
    wrong = 0
    for turn in range(turns):
        said = words(number, turn)
        writer.write(said)
        wrong += await reader.readexactly(len(said)) != said
    return wrong


async def mixed(host: str, port: int, idle: int, busy: int, turns: int) -> dict[str, Any]:
    """Open idle and busy connections; let all busy ones talk at once, and after them each idle one a word."""
    gate = asyncio.Semaphore(256)

    async def opened(number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        async with gate:
            reader, writer = await asyncio.open_connection(host, port)
            # One word, so that it is known to reach to the far end.
            await talk(number, 1, reader, writer)
            return reader, writer

    pairs = await asyncio.gather(*(opened(number) for number in range(idle + busy)))
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    begun = time.monotonic()
    wrong = sum(await asyncio.gather(*(talk(number, turns, *pairs[number]) for number in range(idle, idle + busy))))
    seconds = time.monotonic() - begun
    wrong += sum(await asyncio.gather(*(talk(number, 1, *pairs[number]) for number in range(idle))))
    for _, writer in pairs:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for _, writer in pairs))
    return {"wrong": wrong, "seconds": seconds}


async def short(host: str, port: int, count: int, at_once: int) -> dict[str, Any]:
    """Connect, say something, hear it, hear the end; so many times, so many at once."""
    left = iter(range(count))
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

    async def one_after_another() -> int:
        wrong = 0
        for number in left:
            said = b"connection %08d" % number
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(said)
            writer.write_eof()
            wrong += await reader.read(-1) != said
            writer.close()
        return wrong

    begun = time.monotonic()
    wrong = sum(await asyncio.gather(*(one_after_another() for _ in range(at_once))))
    return {"wrong": wrong, "seconds": time.monotonic() - begun}


def body(size: int) -> bytes:
    """Bytes of which each stream has its own part."""
    return hashlib.shake_128(b"crowd").digest(size + STREAMS_MOST)


async def give(host: str, port: int, size: int) -> None:
    """Send so many bytes to whoever asks, by the number that it sends, until standard input ends."""
    whole = memoryview(body(size))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = int.from_bytes(await reader.readexactly(4), "big")
        with suppress(OSError):
            for at in range(number, number + size, 65_536):
                writer.write(whole[at : min(at + 65_536, number + size)])
                await writer.drain()
                await asyncio.sleep(PACE_S)
            writer.write_eof()
            await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, host, port, backlog=4_096)
    print("ready", flush=True)
    async with server:
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    sys.stdout.write("{}\n")


async def take(host: str, port: int, count: int, size: int) -> dict[str, Any]:
    """Take so many streams of so many bytes at once; answer how many were not what they should be."""
    whole = memoryview(body(size))
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

    async def one(number: int) -> bool:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(number.to_bytes(4, "big"))
        came = hashlib.sha256()
        while data := await reader.read(1 << 18):
            came.update(data)
        writer.close()
        return came.digest() != hashlib.sha256(whole[number : number + size]).digest()

    begun = time.monotonic()
    ends = await asyncio.gather(*(one(number) for number in range(count)), return_exceptions=True)
    wrong = sum(end is not False for end in ends)
    return {"wrong": wrong, "seconds": time.monotonic() - begun}


class Crowd:
    """A crowd in its process, from the side of the test."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @classmethod
    @contextmanager
    def of(cls, task: str, *arguments: object) -> Iterator[Self]:
        command = [sys.executable, str(Path(__file__)), task, *map(str, arguments)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                # What does not come in time is ended by the timeout of the test.
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                yield cls(process)
            finally:
                if process.poll() is None:
                    process.kill()

    def go(self) -> dict[str, Any]:
        """Let it do its work; answer what it found."""
        self.begin()
        return self.found()

    def begin(self) -> None:
        """Let it do its work."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def is_done(self) -> bool:
        return self._process.poll() is not None

    def found(self, seconds: float = 60) -> dict[str, Any]:
        """Wait until it is done; answer what it found."""
        out, _ = self._process.communicate(timeout=seconds)
        assert self._process.returncode == 0
        found: dict[str, Any] = json.loads(out)
        return found


if __name__ == "__main__":
    task, address, *numbers = sys.argv[1], (sys.argv[2], int(sys.argv[3])), *map(int, sys.argv[4:])
    work = {"serve": serve, "mixed": mixed, "short": short, "give": give, "take": take}[task]
    answer = uvloop.run(work(*address, *numbers))
    if answer is not None:
        print(json.dumps(answer))
